"""System checks: what would make a running service lose or leak a token is said before it runs."""

from __future__ import annotations

import math
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.core.exceptions import ImproperlyConfigured

from integrations.crypto import Keyring
from integrations.refresh import CALL_S, LEASE

_HIGHLEVEL_HOSTS = ("gohighlevel.com", "leadconnectorhq.com")


@register()
def check_encryption_keys(**_: Any) -> list[CheckMessage]:
    try:
        Keyring.parse(settings.TOKEN_ENCRYPTION_KEYS)
    except ImproperlyConfigured as error:
        return [Error(str(error), id="integrations.E001")]
    return []


@register()
def check_lease(**_: Any) -> list[CheckMessage]:
    if LEASE.total_seconds() <= 4 * CALL_S:
        return [
            Error(
                "The lease is shorter than the calls made under it.",
                hint="Raise LEASE in integrations/refresh.py.",
                id="integrations.E002",
            )
        ]
    return []


@register()
def check_queue(**_: Any) -> list[CheckMessage]:
    queue = settings.Q_CLUSTER
    waiting = 1 + math.ceil((queue["queue_limit"] + 1) / queue["workers"])
    if queue["retry"] <= queue["timeout"] * waiting:
        return [
            Error(
                "Q_CLUSTER: a task would run again while it still runs.",
                hint=f"Set retry above {queue['timeout'] * waiting}.",
                id="integrations.E003",
            )
        ]
    return []


@register(deploy=True)
def check_highlevel_hosts(**_: Any) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    for name in ("GHL_API_BASE_URL", "GHL_MARKETPLACE_URL"):
        url = urlsplit(getattr(settings, name))
        if url.scheme != "https" or not _is_highlevel(url.hostname or ""):
            found.append(
                Warning(
                    f"{name} is not HighLevel's address: tokens are sent to {url.netloc}.",
                    id="integrations.W001",
                )
            )
    return found


def _is_highlevel(host: str) -> bool:
    return any(host == domain or host.endswith(f".{domain}") for domain in _HIGHLEVEL_HOSTS)
