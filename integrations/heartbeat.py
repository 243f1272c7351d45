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


def read_all() -> dict[str, datetime]:
    """Return when each of them last showed itself."""
    return dict(Heartbeat.objects.values_list("name", "at"))


def read() -> datetime | None:
    """Return since when not both have shown themselves; None when neither ever did.

    A worker whose scheduler stands still renews nothing by itself, so the older sign counts.
    """
    return min(read_all().values(), default=None)


def is_alive(last: datetime | None, now: datetime) -> bool:
    return last is not None and now - last < STALE_AFTER
