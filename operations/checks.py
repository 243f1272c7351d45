"""System checks: what an operator set and does not get."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register


@register()
def check_optional_packages(**_: Any) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    if settings.SENTRY_DSN and find_spec("sentry_sdk") is None:
        found.append(
            Warning(
                "SENTRY_DSN is set, but the package sentry-sdk is not installed: nothing is sent.",
                hint="pip install sentry-sdk",
                id="operations.W001",
            )
        )
    if settings.REDIS_URL and find_spec("redis") is None:
        found.append(
            Error(
                "REDIS_URL is set, but the package redis is not installed.",
                hint="pip install --require-hashes -r requirements-redis.txt",
                id="operations.E001",
            )
        )
    return found
