"""A sign of life to a monitoring service outside, which alerts when it stays away."""

from __future__ import annotations

import logging

import requests
from django.conf import settings

from alerts.kinds import OPERATORS
from alerts.models import Incident

logger = logging.getLogger(__name__)
TIMEOUT_S = 10


def is_well() -> bool:
    """Whether nothing is wrong that whoever runs WhatReach mends."""
    return not Incident.objects.open().filter(kind__in=OPERATORS, calm_since=None).exists()


def ping(*, well: bool) -> None:
    """Call HEARTBEAT_PING_URL, with /fail at its end when something stands still."""
    if not settings.HEARTBEAT_PING_URL:
        return
    url = settings.HEARTBEAT_PING_URL.rstrip("/")
    try:
        answer = requests.get(
            url if well else f"{url}/fail", timeout=TIMEOUT_S, allow_redirects=False
        )
        if not answer.ok:
            logger.warning("The heartbeat was answered %d", answer.status_code)
    except requests.RequestException as error:
        logger.warning("The heartbeat did not arrive: %s", type(error).__name__)
