"""Signs of life of the worker and the scheduler, in the database where every process sees them."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.utils import timezone

from integrations.models import Heartbeat

WORKER, SCHEDULER = "worker", "scheduler"
# The tick comes each minute, and the scheduler looks about every 30 s.
STALE_AFTER = timedelta(seconds=150)


def beat(name: str) -> None:
    Heartbeat.objects.update_or_create(name=name, defaults={"at": timezone.now()})


def read(name: str = WORKER) -> datetime | None:
    """Return when the worker or the scheduler last showed itself; None when it never did."""
    return Heartbeat.objects.filter(name=name).values_list("at", flat=True).first()


def is_alive(last: datetime | None, now: datetime) -> bool:
    return last is not None and now - last < STALE_AFTER
