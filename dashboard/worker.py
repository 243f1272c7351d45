"""Whether renewals go on by themselves, from facts that the database holds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from integrations import heartbeat
from integrations.models import GoHighLevelIntegration

# What mends a standing worker; `make run` starts it with the rest.
COMMAND = "python manage.py qcluster"


@dataclass(frozen=True)
class Worker:
    """`last_tick`: None when it never ran. `next_renewal`: None when there is nothing to renew."""

    last_tick: datetime | None
    is_running: bool
    next_renewal: datetime | None
    command: str = COMMAND


def read_worker(now: datetime) -> Worker:
    last_tick = heartbeat.read()
    planned = GoHighLevelIntegration.objects.filter(renew_at__isnull=False).order_by("renew_at")
    return Worker(
        last_tick=last_tick,
        is_running=heartbeat.is_alive(last_tick, now),
        next_renewal=planned.values_list("renew_at", flat=True).first(),
    )
