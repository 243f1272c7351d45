"""Entry points of the queue: ids in, small results out, safe to run twice.

The queue keeps arguments and results in the database for anyone to read: no token may pass here.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from functools import partial

from django.utils import timezone
from django_q.tasks import async_task

from integrations import bulk, heartbeat, install, journal
from integrations.models import GoHighLevelIntegration, RenewalJob
from integrations.refresh import LEASE, Outcome, refresh_integration

TICK_BATCH = 50
# After this long a task begins nothing new. What it has begun may take minutes when HighLevel is
# silent and the agency has to be asked too: the queue's time-out for a task is well above that.
BUDGET_S = 25


def scheduled_tick() -> dict[str, int]:
    """The tick as the schedule rings it: a sign of life of the scheduler too."""
    heartbeat.beat(heartbeat.SCHEDULER)
    return tick()


def tick() -> dict[str, int]:
    """Renew whatever is due, the longest overdue first; what is left rings for the next tick."""
    heartbeat.beat(heartbeat.WORKER)
    journal.close_cut_off(LEASE)
    bulk.side_by_side(install.finish_install, install.unfinished(TICK_BATCH))
    must_stop = _budget()
    outcomes: Counter[Outcome] = Counter()
    while ids := _due_ids():
        if must_stop():
            async_task("integrations.tasks.tick")
            break
        outcomes.update(bulk.side_by_side(partial(_renew_due, must_stop=must_stop), ids))
        if len(ids) < TICK_BATCH:
            break
    return {
        "renewed": outcomes[Outcome.RENEWED],
        "failed": outcomes[Outcome.FAILED],
        "skipped": outcomes[Outcome.SKIPPED] + outcomes[Outcome.BUSY],
    }


def _budget() -> Callable[[], bool]:
    """Return whether BUDGET_S has passed since this call."""
    stop_at = time.monotonic() + BUDGET_S
    return lambda: time.monotonic() >= stop_at


def _renew_due(pk: uuid.UUID, *, must_stop: Callable[[], bool]) -> Outcome:
    if must_stop():
        return Outcome.BUSY  # it stays due
    try:
        return refresh_integration(pk, trigger="schedule").outcome
    except GoHighLevelIntegration.DoesNotExist:
        return Outcome.SKIPPED


def _due_ids() -> list[uuid.UUID]:
    due = GoHighLevelIntegration.objects.due(timezone.now())
    return list(due.values_list("pk", flat=True)[:TICK_BATCH])


def refresh_one(pk: str, trigger: str, caller: str, asked_at: str) -> str:
    result = refresh_integration(
        uuid.UUID(pk), trigger=trigger, caller=caller, asked_at=datetime.fromisoformat(asked_at)
    )
    return result.outcome.value


def renew_batch(job_id: str, ids: list[str]) -> None:
    """Renew a batch of a job; what is not begun in time is rung for again."""
    heartbeat.beat(heartbeat.WORKER)  # the tick may have to wait behind a large job
    job = RenewalJob.objects.get(pk=job_id)
    if not bulk.run_batch(job, [uuid.UUID(pk) for pk in ids], must_stop=_budget()):
        async_task("integrations.tasks.renew_batch", job_id, ids)


def renew_needing() -> str:
    """The hourly and the weekly renewal of the schedule: a job over all that need one."""
    needing = GoHighLevelIntegration.objects.needing_refresh(timezone.now())
    if not needing.exists():
        return "nothing due"
    job = bulk.create_job(needing.values_list("pk", flat=True).iterator(), caller="schedule")
    bulk.hand_to_worker(job)
    return str(job.pk)


def check_health() -> dict[str, int]:
    """The daily health check: how many installs are in each state."""
    counted = GoHighLevelIntegration.objects.count_by_state(timezone.now())
    return {state.value: n for state, n in counted.items()}


def finish_install(pk: str) -> int:
    return install.finish_install(uuid.UUID(pk))
