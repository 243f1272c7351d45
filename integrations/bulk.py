"""Renewals of many installs at once, as a job whose items tell what came of each.

A job is done in batches, by the worker or by whoever has the time to wait. A batch may run twice,
or stop half-way: what is done is in its items, and a renewal since the job began counts as its own.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import chain, islice
from typing import TypeVar

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone
from django_q.tasks import async_task

from integrations.models import GoHighLevelIntegration, RenewalJob, RenewalJobItem
from integrations.refresh import Outcome, RefreshResult, refresh_integration

# Large: at the end of each batch some threads wait for the slowest.
BATCH = 200
LOOK_EVERY_S = 1.0
T = TypeVar("T")
R = TypeVar("R")

_ITEM_OUTCOME = {
    Outcome.RENEWED: RenewalJobItem.RENEWED,
    Outcome.FAILED: RenewalJobItem.FAILED,
    Outcome.SKIPPED: RenewalJobItem.SKIPPED,
    # Somebody else is renewing it at this moment.
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
        parts = [pool.submit(work_through) for _ in range(threads)]
    done = dict(chain.from_iterable(part.result() for part in parts))
    return [done[number] for number in range(len(things))]


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
    ids = job.items.order_by("pk").values_list("integration_id", flat=True)
    with transaction.atomic():
        for batch in batches(ids.iterator()):
            async_task("integrations.tasks.renew_batch", str(job.pk), [str(pk) for pk in batch])


def run_batch(
    job: RenewalJob, ids: Sequence[uuid.UUID], *, must_stop: Callable[[], bool] = lambda: False
) -> bool:
    """Renew what is still open of this batch; whether all of it is done.

    Nothing new is begun once `must_stop` says so, or the job is cancelled.
    """
    open_items = job.items.filter(integration_id__in=ids, outcome=RenewalJobItem.PENDING)
    is_cancelled = _watch_cancel(job)

    def renew(item: RenewalJobItem) -> bool:
        if must_stop() or is_cancelled():
            return False
        _renew_item(item, since=job.created_at, caller=job.caller)
        return True

    return all(side_by_side(renew, list(open_items)))


def cancel(job: RenewalJob) -> int:
    """Begin nothing more of the job; return how many installs it leaves as they are."""
    now = timezone.now()
    RenewalJob.objects.filter(pk=job.pk, cancelled_at=None).update(cancelled_at=now)
    return job.items.filter(outcome=RenewalJobItem.PENDING).update(
        outcome=RenewalJobItem.CANCELLED, ended_at=now
    )


def batches(ids: Iterable[uuid.UUID]) -> Iterator[list[uuid.UUID]]:
    rest = iter(ids)
    while batch := list(islice(rest, BATCH)):
        yield batch


def _watch_cancel(job: RenewalJob) -> Callable[[], bool]:
    """Return whether the job is cancelled, as seen at most LOOK_EVERY_S ago."""
    seen, look_at = False, -math.inf

    def is_cancelled() -> bool:
        nonlocal seen, look_at
        now = time.monotonic()
        if now >= look_at:
            look_at = now + LOOK_EVERY_S
            seen = RenewalJob.objects.filter(pk=job.pk).exclude(cancelled_at=None).exists()
        return seen

    return is_cancelled


def _renew_item(item: RenewalJobItem, *, since: datetime, caller: str) -> None:
    try:
        result = refresh_integration(
            item.integration_id, trigger="bulk", caller=caller, asked_at=since
        )
    except GoHighLevelIntegration.DoesNotExist:
        result = RefreshResult(Outcome.SKIPPED)
    RenewalJobItem.objects.filter(pk=item.pk).update(
        outcome=_ITEM_OUTCOME[result.outcome], cause=result.cause, ended_at=timezone.now()
    )
