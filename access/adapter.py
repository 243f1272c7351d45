from __future__ import annotations

import logging
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core import context
from django.conf import settings
from django.http import HttpRequest
from django.shortcuts import resolve_url

from access.mail import has_mail_server
from access.sudo import is_confirmed

logger = logging.getLogger(__name__)


class StaffAccountAdapter(DefaultAccountAdapter):
    """Nobody signs up by themselves: whoever belongs here is let in by an owner."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Send none without a mail server. Who asks is told the same whether it went or not."""
        if not has_mail_server():
            return
        try:
            super().send_mail(template_prefix, email, context)
        except OSError as error:  # SMTPException is one, and so are time-outs
            logger.warning("A mail could not be sent: %s", type(error).__name__)

    def get_password_change_redirect_url(self, request: HttpRequest) -> str:
        return resolve_url(settings.LOGIN_REDIRECT_URL)

    def is_reauthentication_required(self, *, app: str, **kwargs: object) -> bool:
        """The same rule as for our own pages: a fresh sign-in is proof enough."""
        return not is_confirmed(context.request)
