from __future__ import annotations

from django.conf import settings
from django.core.management.base import CommandError


def require_app() -> None:
    """Refuse a command that calls HighLevel where no app is set up.

    `make run` points its own processes at the sandbox; from here the demo's tokens would go to
    HighLevel.
    """
    if not settings.GHL_CLIENT_ID:
        raise CommandError(
            "No HighLevel app is set up: GHL_CLIENT_ID is empty. Nothing was sent. "
            "The demo's accounts renew themselves, and by the buttons of their pages.",
            returncode=2,
        )
