"""Entry points of the queue."""

from __future__ import annotations

import uuid

from integrations.schedules import ensure_minutely
from webhooks import processing

SWEEP = "whatreach: events"


def process(pk: str) -> str:
    return processing.process_event(uuid.UUID(pk))


def sweep() -> int:
    return processing.sweep()


def ensure_sweep(**_: object) -> None:
    ensure_minutely(SWEEP, "webhooks.tasks.sweep")
