"""A sign of life of the worker, in the database where every process can see it."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.utils import timezone

from integrations.models import Heartbeat

TICK = "tick"
# The tick comes each minute, and the scheduler looks about every 30 s.
STALE_AFTER = timedelta(seconds=150)


def beat() -> None:
    Heartbeat.objects.update_or_create(name=TICK, defaults={"at": timezone.now()})


def read() -> datetime | None:
    """Return when the worker last ticked; None when it never did."""
    return Heartbeat.objects.filter(name=TICK).values_list("at", flat=True).first()


def is_alive(last: datetime | None, now: datetime) -> bool:
    return last is not None and now - last < STALE_AFTER
