"""Optional: faults are reported to Sentry where SENTRY_DSN is set and its package is installed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from config import __version__
from config.logs import Redactor


def begin(dsn: str, secrets: Iterable[str | None]) -> bool:
    """Report faults from now on; False when the package sentry-sdk is not installed.

    What is sent has neither bodies, cookies and variables, nor anything that looks like a secret.
    """
    try:
        import sentry_sdk
    except ImportError:
        return False
    redact = Redactor(secrets)

    def clean(event: Any, _hint: Any) -> Any:
        request = event.get("request", {})
        for part in ("query_string", "cookies", "data", "env"):
            request.pop(part, None)
        return redact.value(event)

    sentry_sdk.init(
        dsn=dsn,
        release=f"whatreach@{__version__}",
        send_default_pii=False,
        include_local_variables=False,
        max_request_body_size="never",
        max_breadcrumbs=20,
        traces_sample_rate=0,
        before_send=clean,
        before_breadcrumb=clean,
    )
    return True
