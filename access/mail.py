from __future__ import annotations

from django.conf import settings


def has_mail_server() -> bool:
    """Whether mails go anywhere: the console's backend would write their links into the log."""
    return not settings.EMAIL_BACKEND.endswith("console.EmailBackend")
