"""Proof that it is still the same person: what is dangerous is done only within a quarter of an
hour after somebody signed in or confirmed who they are (allauth's re-authentication)."""

from __future__ import annotations

import time

from allauth.account.internal.flows.login import get_authentication_records
from django.conf import settings
from django.http import HttpRequest


def is_confirmed(request: HttpRequest) -> bool:
    """Whether the person of this session gave a password or a second factor a short time ago."""
    records = get_authentication_records(request, request.user)
    newest = max((record["at"] for record in records), default=0.0)
    return time.time() - newest < settings.ACCOUNT_REAUTHENTICATION_TIMEOUT
