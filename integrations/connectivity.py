"""Whether the services that WhatReach needs can be reached, and how fast they answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import requests
from django.conf import settings
from django.db import DatabaseError, connection

from integrations import highlevel


@dataclass(frozen=True)
class ServiceReach:
    name: str
    reachable: bool
    latency_ms: int | None
    error: str | None


def check_services() -> list[ServiceReach]:
    """Return one entry for each service; any HTTP answer at all counts as reachable."""
    return [
        _timed("HighLevel API", lambda: _ask(settings.GHL_API_BASE_URL)),
        _timed("HighLevel marketplace", lambda: _ask(settings.GHL_MARKETPLACE_URL)),
        _timed("Database", _query),
    ]


def _timed(name: str, call: Callable[[], None]) -> ServiceReach:
    started = time.monotonic()
    try:
        call()
    except (requests.RequestException, DatabaseError) as error:
        return ServiceReach(name, False, None, f"No answer ({type(error).__name__}).")
    return ServiceReach(name, True, round((time.monotonic() - started) * 1000), None)


def _ask(url: str) -> None:
    timeouts = (highlevel.CONNECT_TIMEOUT_S, 5)
    highlevel.SESSION.get(url, timeout=timeouts, allow_redirects=False, stream=True).close()


def _query() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
