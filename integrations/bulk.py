"""Renewals of many installs at once, as a job whose items tell what came of each.

A job is done in batches, by the worker or by whoever has the time to wait. A batch may run twice,
or stop half-way: what is done is in its items, and a renewal since the job began counts as its own.
Results are written a few at a time, so a batch that was killed leaves some done items open; those
cost no second renewal when it runs again.
"""

from __future__ import annotations

import logging
import math
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import datetime, timedelta
from itertools import chain, islice
from threading import Lock
from typing import TypeVar

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import Max
from django.utils import timezone
from django_q.tasks import async_task

from integrations import journal, outage
from integrations.deadlocks import atomically
from integrations.models import (
    GoHighLevelIntegration,
    RefreshAttempt,
    RenewalJob,
    RenewalJobItem,
)
from integrations.refresh import CALL_S, LEASE, Outcome, RefreshResult, refresh_integration

logger = logging.getLogger(__name__)

# Large: at the end of each batch some threads wait for the slowest.
BATCH = 500
LOOK_EVERY_S = 1.0
WRITE_EVERY, WRITE_EVERY_S = 20, 1.0
# A job of which nothing ended for so long has lost its worker: a renewal and its lease are over.
STANDS_STILL = LEASE + timedelta(seconds=30)
T = TypeVar("T")
R = TypeVar("R")

_ITEM_OUTCOME = {
    Outcome.RENEWED: RenewalJobItem.RENEWED,
    Outcome.FAILED: RenewalJobItem.FAILED,
    Outcome.HELD_BACK: RenewalJobItem.FAILED,
    Outcome.SKIPPED: RenewalJobItem.SKIPPED,
    # Somebody else is at it for longer than we wait.
    Outcome.BUSY: RenewalJobItem.SKIPPED,
}


def side_by_side(work: Callable[[T], R], things: Sequence[T]) -> list[R]:
    """Do the work for all things on RENEWAL_THREADS threads; return the results in their order.

    A thread keeps its database connection until nothing is left: a new one for each thing took
    a fifth of the CPU of a renewal.
    """
    if settings.RENEWAL_THREADS == 1:
        return [work(thing) for thing in things]
    todo = iter(enumerate(things))

    def work_through() -> list[tuple[int, R]]:
        try:
            return [(number, work(thing)) for number, thing in todo]
        finally:
            connection.close()

    threads = min(settings.RENEWAL_THREADS, len(things))
    with ThreadPoolExecutor(max_workers=threads or 1) as pool:
        # Each thread in a copy of our context: its log lines bear the same request's id.
        parts = [pool.submit(copy_context().run, work_through) for _ in range(threads)]
    done = dict(chain.from_iterable(part.result() for part in parts))
    return [done[number] for number in range(len(things))]


def guarded(work: Callable[[T], R], otherwise: R) -> Callable[[T], R]:
    """Return the work with `otherwise` as what comes of a thing at which it breaks: a fault that
    nobody foresaw is logged, and keeps no other thing from its turn.

    Errors: OperationalError, InterfaceError: while the database is away, no thing can be done.
    """

    def try_it(thing: T) -> R:
        try:
            return work(thing)
        except (OperationalError, InterfaceError):
            raise
        except Exception:
            logger.exception("An unexpected fault with %s", getattr(thing, "pk", thing))
            return otherwise

    return try_it


def create_job(ids: Iterable[uuid.UUID], *, caller: str) -> RenewalJob:
    """Note which installs are to be renewed. Nothing is begun."""
    with transaction.atomic():
        job = RenewalJob.objects.create(caller=caller)
        for batch in batches(ids):
            job.total += len(batch)
            RenewalJobItem.objects.bulk_create(
                RenewalJobItem(job=job, integration_id=pk) for pk in batch
            )
        job.save(update_fields=["total"])
    return job


def hand_to_worker(job: RenewalJob) -> None:
    """Ring for each batch of the job."""
    with transaction.atomic():
        RenewalJob.objects.filter(pk=job.pk).update(rung_at=timezone.now())
        _ring(job)


def _ring(job: RenewalJob) -> None:
    open_items = job.items.filter(outcome=RenewalJobItem.PENDING).order_by("pk")
    for batch in batches(open_items.values_list("integration_id", flat=True)):
        async_task("integrations.tasks.renew_batch", str(job.pk), [str(pk) for pk in batch])


def ring_again(now: datetime) -> int:
    """Ring once more for the open items of jobs that stand still: their worker was killed, and the
    queue hands a batch out again only after ten minutes. Return how many jobs there were."""
    stand_still = 0
    for job in RenewalJob.objects.filter(rung_at__lt=now - STANDS_STILL):
        ended = job.items.aggregate(last=Max("ended_at"))["last"]
        moved_at = max(filter(None, [ended, job.rung_at]))
        is_open = job.items.filter(outcome=RenewalJobItem.PENDING).exists()
        stands_still = is_open and moved_at < now - STANDS_STILL
        rung_at = (now if stands_still else moved_at) if is_open else None
        with transaction.atomic():
            # Two ticks at the same moment ring once.
            same = RenewalJob.objects.filter(pk=job.pk, rung_at=job.rung_at)
            if same.update(rung_at=rung_at) and stands_still:
                stand_still += 1
                _ring(job)
    return stand_still


def run_batch(
    job: RenewalJob,
    ids: Sequence[uuid.UUID],
    *,
    must_stop: Callable[[], bool] = lambda: False,
    even_in_outage: bool = False,
) -> bool:
    """Renew what is still open of this batch; whether all of it is done.

    Nothing new is begun once `must_stop` says so, or the job is cancelled. In an outage of
    HighLevel one is tried when it is time for that; while it lasts the others are held back.
    """
    todo = list(job.items.filter(integration_id__in=ids, outcome=RenewalJobItem.PENDING))
    is_cancelled = seen_lately(
        RenewalJob.objects.filter(pk=job.pk).exclude(cancelled_at=None).exists
    )
    is_outage = seen_lately(lambda: not even_in_outage and outage.current() is not None)
    results = _Results()

    # Read in one go, not one by one; the engine sees when one has changed since.
    rows = GoHighLevelIntegration.objects.in_bulk(ids)

    def renew(item: RenewalJobItem) -> RefreshResult:
        row = None if is_outage() else rows.pop(item.integration_id, None)
        return _renew_item(item, row, job, results)

    renew_safely = guarded(renew, RefreshResult(Outcome.FAILED))

    def work(item: RenewalJobItem) -> bool:
        if must_stop() or is_cancelled():
            return False
        results.add(item, renew_safely(item))
        return True

    try:
        # In an outage the first one goes alone: with its success the others may go too.
        alone = todo[:1] if is_outage() else []
        done = all(work(item) for item in alone)
        results.write()
        return done and all(side_by_side(work, todo[len(alone) :]))
    finally:
        results.write()


def cancel(job: RenewalJob) -> int:
    """Begin nothing more of the job; return how many installs it leaves as they are."""
    now = timezone.now()
    RenewalJob.objects.filter(pk=job.pk, cancelled_at=None).update(cancelled_at=now)
    return job.items.filter(outcome=RenewalJobItem.PENDING).update(
        outcome=RenewalJobItem.CANCELLED, ended_at=now
    )


def batches(things: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(things)
    while batch := list(islice(rest, BATCH)):
        yield batch


def deadline(after_s: float) -> Callable[[], bool]:
    """Return whether so many seconds have passed since this call."""
    stop_at = time.monotonic() + after_s
    return lambda: time.monotonic() >= stop_at


def seen_lately(look: Callable[[], bool]) -> Callable[[], bool]:
    """Return `look`'s answer, as given at most LOOK_EVERY_S ago."""
    seen, look_at = False, -math.inf
    lock = Lock()

    def answer() -> bool:
        nonlocal seen, look_at
        with lock:  # no thread goes on before the first one has looked
            if time.monotonic() >= look_at:
                seen = look()
                look_at = time.monotonic() + LOOK_EVERY_S
            return seen

    return answer


def _renew_item(
    item: RenewalJobItem, row: GoHighLevelIntegration | None, job: RenewalJob, results: _Results
) -> RefreshResult:
    try:
        return refresh_integration(
            item.integration_id,
            trigger="bulk",
            caller=job.caller,
            asked_at=job.created_at,
            wait_s=CALL_S,
            row=row,
            note_renewed=results.note_renewed,
        )
    except GoHighLevelIntegration.DoesNotExist:
        return RefreshResult(Outcome.SKIPPED)


class _Results:
    """What came of items, written down a few at a time together with the ends of their journal
    entries: a commit for each of the two took a third of the time of a renewal."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._ended: dict[tuple[str, str], list[int]] = {}
        self._renewed: list[RefreshAttempt] = []
        self._count = 0
        self._written_at = time.monotonic()

    def note_renewed(self, attempt: RefreshAttempt, trace_id: str) -> None:
        journal.mark_renewed(attempt, trace_id)
        with self._lock:
            self._renewed.append(attempt)

    def add(self, item: RenewalJobItem, result: RefreshResult) -> None:
        held_back = result.outcome is Outcome.HELD_BACK
        with self._lock:
            key = _ITEM_OUTCOME[result.outcome], "held_back" if held_back else result.cause
            self._ended.setdefault(key, []).append(item.pk)
            self._count += 1
            waited_s = time.monotonic() - self._written_at
            if self._count < WRITE_EVERY and waited_s < WRITE_EVERY_S:
                return
        self.write()

    def write(self) -> None:
        """Also end an outage, if one of the successes may."""
        with self._lock:
            ended, self._ended, self._count = self._ended, {}, 0
            renewed, self._renewed = self._renewed, []
            self._written_at = time.monotonic()
        _write_results(ended, renewed)
        if renewed:
            outage.end(begun_at=max(attempt.started_at for attempt in renewed))


@atomically
def _write_results(
    ended: Mapping[tuple[str, str], list[int]], renewed: list[RefreshAttempt]
) -> None:
    # One that was cancelled while it was being renewed is renewed. What another run of the
    # batch wrote stays.
    unwritten = (RenewalJobItem.PENDING, RenewalJobItem.CANCELLED)
    journal.save_renewed(renewed)
    for (outcome, cause), pks in ended.items():
        RenewalJobItem.objects.filter(pk__in=pks, outcome__in=unwritten).update(
            outcome=outcome, cause=cause, ended_at=timezone.now()
        )
