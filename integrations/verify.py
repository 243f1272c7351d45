"""Asks HighLevel now and then whether a stored token works: "verified", not only stored.

One cheap call for each install every VERIFY_EVERY_S seconds, spread by a fifth: with the default
four a day, of the 200,000 that HighLevel allows. A token that turns out dead is renewed.
"""

from __future__ import annotations

import uuid

from django.conf import settings
from django.utils import timezone

from integrations import pacing
from integrations.crypto import DecryptError
from integrations.health import Status
from integrations.highlevel import Contact, HighLevel, HighLevelError
from integrations.models import GoHighLevelIntegration
from integrations.refresh import call_with_token


def due(limit: int) -> list[uuid.UUID]:
    """Return which installs are to be checked, the longest waiting first."""
    rows = GoHighLevelIntegration.objects.filter(verify_at__lte=timezone.now())
    return list(rows.order_by("verify_at").values_list("pk", flat=True)[:limit])


def verify(pk: uuid.UUID) -> bool:
    """Check one install's token, if its time has come; whether HighLevel accepted it.

    A token that is past its end or whose renewal fails is the engine's business, not ours.
    """
    now = timezone.now()
    same = GoHighLevelIntegration.objects.filter(pk=pk)
    # Two ticks at the same moment make one check.
    if not same.filter(verify_at__lte=now).update(
        verify_at=pacing.next_check(now, settings.VERIFY_EVERY)
    ):
        return False
    row = same.get()
    if row.status != Status.ACTIVE:
        same.update(verify_at=None)  # the next stored token sets it
        return False
    if row.is_expired(now) or not settings.VERIFY_EVERY:
        return False
    try:
        call_with_token(row, lambda token: _ask(row, token))
    except (HighLevelError, DecryptError) as error:
        same.update(verify_cause=getattr(error, "cause", "token_damaged"))
        return False
    return bool(same.update(verified_at=timezone.now(), verify_cause=""))


def _ask(row: GoHighLevelIntegration, token: str) -> Contact:
    client = HighLevel.from_settings()
    if row.is_agency:
        return client.installation_details(token)
    return client.location(token, row.resource_id)
