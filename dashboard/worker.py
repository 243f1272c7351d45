"""Whether renewals go on by themselves, from facts that the database holds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.conf import settings

from integrations import heartbeat
from integrations.models import GoHighLevelIntegration

_SENTENCES = {
    (heartbeat.WORKER, heartbeat.SCHEDULER): (
        "The worker is not running: renewals stand still.",
        "Start it with",
    ),
    (heartbeat.WORKER,): (
        "The worker takes no tasks: renewals stand still.",
        "Stop it and start it again with",
    ),
    (heartbeat.SCHEDULER,): (
        "The worker's scheduler stands still: nothing is renewed by itself.",
        "Stop the worker and start it again with",
    ),
}


@dataclass(frozen=True)
class Worker:
    """`last_tick`: when those that stand still last showed themselves, else the older of the two
    signs; None when there was none. `next_renewal`: None when there is nothing to renew.
    """

    last_tick: datetime | None
    standing_still: tuple[str, ...]
    next_renewal: datetime | None

    @property
    def is_running(self) -> bool:
        return not self.standing_still

    @property
    def sentence(self) -> str:
        return _SENTENCES[self.standing_still][0]

    @property
    def advice(self) -> str:
        return _SENTENCES[self.standing_still][1]

    @property
    def command(self) -> str:
        """What mends it."""
        return settings.WORKER_RESTART_COMMAND


def read_worker(now: datetime) -> Worker:
    seen = heartbeat.read_all()
    standing_still = tuple(n for n in heartbeat.PARTS if not heartbeat.is_alive(seen.get(n), now))
    signs = [seen[name] for name in standing_still or heartbeat.PARTS if name in seen]
    planned = GoHighLevelIntegration.objects.filter(renew_at__isnull=False).order_by("renew_at")
    return Worker(
        last_tick=min(signs, default=None),
        standing_still=standing_still,
        next_renewal=planned.values_list("renew_at", flat=True).first(),
    )
