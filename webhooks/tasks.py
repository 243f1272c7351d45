"""Entry points of the queue."""

from __future__ import annotations

import time

from integrations.schedules import ensure_minutely
from webhooks import processing

SWEEP = "whatreach: events"


def sweep(until: float = 0) -> int:
    """Process the events that are due, and those that come until then (seconds of the epoch)."""
    return processing.sweep(look_for_s=until - time.time())


def ensure_sweep(**_: object) -> None:
    ensure_minutely(SWEEP, "webhooks.tasks.sweep")
