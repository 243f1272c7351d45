"""System checks of what HighLevel's events need."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

from webhooks.signatures import load_keys


@register()
def check_public_keys(**_: Any) -> list[CheckMessage]:
    try:
        load_keys(
            tuple(settings.GHL_WEBHOOK_PUBLIC_KEYS), tuple(settings.GHL_WEBHOOK_RSA_PUBLIC_KEYS)
        )
    except ValueError as error:
        return [
            Error(
                f"A public key of HighLevel's cannot be read: {error}",
                hint="Mend GHL_WEBHOOK_PUBLIC_KEYS or GHL_WEBHOOK_RSA_PUBLIC_KEYS, or leave them "
                "out: HighLevel's published keys are the default.",
                id="webhooks.E001",
            )
        ]
    return []
