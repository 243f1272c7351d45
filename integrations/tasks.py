"""Entry points of the queue: ids in, small results out, safe to run twice.

The queue keeps arguments and results in the database for anyone to read: no token may pass here.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable
from datetime import datetime

from django.utils import timezone
from django_q.tasks import async_task

from access import limits
from integrations import (
    bulk,
    cleanup,
    ending,
    handouts,
    heartbeat,
    install,
    journal,
    outage,
    reconcile,
    rotation,
    snapshots,
    verify,
)
from integrations.health import Status
from integrations.models import GoHighLevelIntegration, KeyRotation, RenewalJob
from integrations.refresh import LEASE, Outcome, refresh_integration

TICK_BATCH = 200
VERIFY_BATCH = 50
# After this long a task begins nothing new. What it has begun may take minutes when HighLevel is
# silent and the agency has to be asked too: the queue's time-out for a task is well above that.
BUDGET_S = 25
# Installs that failed before come after the others, and get less time: each may take long.
FAILING_BUDGET_S = 5
FINISH_BUDGET_S = VERIFY_BUDGET_S = 5


def scheduled_tick() -> dict[str, int]:
    """The tick as the schedule rings it: a sign of life of the scheduler too."""
    heartbeat.beat(heartbeat.SCHEDULER)
    outcomes = tick()
    rotation.ring_if_stalled()
    snapshots.record(timezone.now())
    return outcomes


def tick() -> dict[str, int]:
    """Renew whatever is due, the longest overdue first; what is left rings for the next tick."""
    heartbeat.beat(heartbeat.WORKER)
    journal.close_cut_off(LEASE)
    bulk.ring_again(timezone.now())
    outcomes: Counter[Outcome] = Counter()
    if outage.current():
        outcomes.update(_try_for_all())
    else:
        _spend(FINISH_BUDGET_S, install.finish_install, install.unfinished(TICK_BATCH))
        outcomes.update(_renew_due(BUDGET_S, failures=0))
        outcomes.update(_renew_due(FAILING_BUDGET_S, failures__gt=0))
        if not outage.current():
            _spend(VERIFY_BUDGET_S, verify.verify, verify.due(VERIFY_BATCH))
    return {
        "renewed": outcomes[Outcome.RENEWED],
        "failed": outcomes[Outcome.FAILED],
        "skipped": sum(
            outcomes[kind] for kind in (Outcome.SKIPPED, Outcome.BUSY, Outcome.HELD_BACK)
        ),
    }


def _renew_due(budget_s: float, **which: int) -> list[Outcome]:
    """Renew those due that are so, batch by batch; what is left in the end rings for a tick if it
    looks as if that would help."""
    is_over, is_outage = (
        bulk.deadline(budget_s),
        bulk.seen_lately(lambda: outage.current() is not None),
    )
    outcomes: list[Outcome] = []

    def renew(row: GoHighLevelIntegration) -> Outcome:
        if is_over() or is_outage():
            return Outcome.BUSY  # it stays due
        return _renew(row.pk, row)

    while rows := _read_due(which):
        if is_over():
            if not outcomes or Outcome.RENEWED in outcomes:
                async_task("integrations.tasks.tick")
            break
        outcomes += bulk.side_by_side(bulk.guarded(renew, Outcome.FAILED), rows)
        if is_outage() or len(rows) < TICK_BATCH:
            break
    return outcomes


def _read_due(which: dict[str, int]) -> list[GoHighLevelIntegration]:
    return list(GoHighLevelIntegration.objects.due(timezone.now()).filter(**which)[:TICK_BATCH])


def _spend(budget_s: float, work: Callable[[uuid.UUID], object], installs: list[uuid.UUID]) -> None:
    """Do the work for as many of the installs as can be begun in that time."""
    is_over = bulk.deadline(budget_s)
    bulk.side_by_side(bulk.guarded(lambda pk: is_over() or work(pk), None), installs)


def _try_for_all() -> list[Outcome]:
    """In an outage: renew the one whose renewal comes next, if it is time to try."""
    rows = GoHighLevelIntegration.objects.filter(status=Status.ACTIVE, renew_at__isnull=False)
    first = rows.order_by("renew_at").values_list("pk", flat=True).first()
    return [_renew(first)] if first else []


def _renew(pk: uuid.UUID, row: GoHighLevelIntegration | None = None) -> Outcome:
    try:
        return refresh_integration(pk, trigger="schedule", row=row).outcome
    except GoHighLevelIntegration.DoesNotExist:
        return Outcome.SKIPPED


def refresh_one(pk: str, trigger: str, caller: str, asked_at: str) -> str:
    result = refresh_integration(
        uuid.UUID(pk), trigger=trigger, caller=caller, asked_at=datetime.fromisoformat(asked_at)
    )
    return result.outcome.value


def renew_batch(job_id: str, ids: list[str]) -> None:
    """Renew a batch of a job; what is not begun in time is rung for again."""
    heartbeat.beat(heartbeat.WORKER)  # the tick may have to wait behind a large job
    job = RenewalJob.objects.get(pk=job_id)
    if not bulk.run_batch(job, [uuid.UUID(pk) for pk in ids], must_stop=bulk.deadline(BUDGET_S)):
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


def clean_up() -> dict[str, int]:
    now = timezone.now()
    return cleanup.clean_up(now) | {"tokens": ending.purge(now)}


def watch_life() -> dict[str, int]:
    """Each minute: installs that nobody finished, comparisons that stand still."""
    return {
        "given_up": install.give_up_waiting(timezone.now()),
        "comparisons": reconcile.sweep(),
    }


def watch_keys() -> dict[str, int]:
    """Each minute: unusual use of API keys, counters of calls that nobody needs any more."""
    return {"alerts": handouts.watch(timezone.now()), "counters": limits.forget_old()}


def rotate_keys(pk: int) -> bool:
    """Re-encrypt for a while; what is left is rung for again."""
    done = rotation.run(KeyRotation.objects.get(pk=pk), must_stop=bulk.deadline(BUDGET_S))
    if not done:
        async_task("integrations.tasks.rotate_keys", pk)
    return done


def finish_install(pk: str) -> int:
    return install.finish_install(uuid.UUID(pk))
