"""Entry points of the queue: ids in, small results out, safe to run twice.

The queue keeps arguments and results in the database for anyone to read: no token may pass here.
"""

from __future__ import annotations

import time
import uuid
from datetime import datetime

from django.utils import timezone
from django_q.tasks import async_task

from integrations import bulk, heartbeat, install
from integrations.models import GoHighLevelIntegration
from integrations.refresh import close_cut_off, refresh_integration

TICK_BATCH = 50
# After this long a task begins nothing new. What it has begun may take minutes when HighLevel is
# silent and the agency has to be asked too: the queue's time-out for a task is well above that.
BUDGET_S = 25


def tick() -> dict[str, int]:
    """Renew whatever is due, the longest overdue first; what is left rings for the next tick."""
    heartbeat.beat()
    close_cut_off()
    install.finish_due()
    counted = {"renewed": 0, "failed": 0, "skipped": 0}
    stop_at = time.monotonic() + BUDGET_S
    while ids := _due_ids():
        if time.monotonic() >= stop_at:
            async_task("integrations.tasks.tick")
            break
        results = bulk.renew_many(ids, trigger="schedule", stop_at=stop_at)
        for name, n in bulk.count_outcomes(result for _pk, result in results).items():
            counted[name] += n
        if len(ids) < TICK_BATCH:
            break
    return counted


def _due_ids() -> list[uuid.UUID]:
    due = GoHighLevelIntegration.objects.due(timezone.now())
    return list(due.values_list("pk", flat=True)[:TICK_BATCH])


def refresh_one(pk: str, trigger: str, caller: str, asked_at: str) -> str:
    result = refresh_integration(
        uuid.UUID(pk), trigger=trigger, caller=caller, asked_at=datetime.fromisoformat(asked_at)
    )
    return result.outcome.value


def renew_batch(job_id: str, ids: list[str]) -> None:
    heartbeat.beat()  # the tick may have to wait behind a large job
    stop_at = time.monotonic() + BUDGET_S
    bulk.run_batch(uuid.UUID(job_id), [uuid.UUID(pk) for pk in ids], stop_at=stop_at)


def renew_needing(caller: str = "schedule") -> str:
    """The hourly and the weekly renewal of the schedule: a job over all that need one."""
    needing = GoHighLevelIntegration.objects.needing_refresh(timezone.now())
    ids = list(needing.values_list("pk", flat=True))
    return str(bulk.start_job(ids, caller=caller).pk) if ids else "nothing due"


def check_health() -> dict[str, int]:
    """The daily health check: how many installs are in each state."""
    counted = GoHighLevelIntegration.objects.count_by_state(timezone.now())
    return {state.value: n for state, n in counted.items()}


def finish_install(pk: str) -> int:
    return install.finish_install(uuid.UUID(pk))
