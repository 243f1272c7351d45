"""Renewals of many installs: a few at once here and now, more of them as a job of the worker."""

from __future__ import annotations

import math
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F
from django_q.tasks import async_task

from integrations.models import GoHighLevelIntegration, RenewalJob
from integrations.refresh import Outcome, RefreshResult, refresh_integration

BATCH = 50


def renew_many(
    ids: Sequence[uuid.UUID], *, trigger: str, caller: str = "", stop_at: float = math.inf
) -> list[tuple[uuid.UUID, RefreshResult | None]]:
    """Renew these installs side by side and return each one's result, in their order.

    One that is gone counts as skipped; one that fails never stops the others. None stands for one
    that was not begun, since `stop_at` (of time.monotonic) had passed.
    """
    renew = partial(_renew_one, trigger=trigger, caller=caller, stop_at=stop_at)
    if settings.RENEWAL_THREADS == 1:
        return list(zip(ids, map(renew, ids), strict=True))
    with ThreadPoolExecutor(max_workers=settings.RENEWAL_THREADS) as pool:
        renew_in_thread = partial(_and_close_connection, renew)
        return list(zip(ids, pool.map(renew_in_thread, ids), strict=True))


def start_job(ids: Sequence[uuid.UUID], *, caller: str) -> RenewalJob:
    """Hand a bulk renewal to the worker, in batches; the job counts what was done."""
    with transaction.atomic():
        job = RenewalJob.objects.create(total=len(ids), caller=caller)
        for start in range(0, len(ids), BATCH):
            batch = [str(pk) for pk in ids[start : start + BATCH]]
            async_task("integrations.tasks.renew_batch", str(job.pk), batch)
    return job


def run_batch(job_id: uuid.UUID, ids: Sequence[uuid.UUID], *, stop_at: float) -> None:
    """Renew a batch of a job and count it; what was not begun in time is a batch of its own."""
    job = RenewalJob.objects.get(pk=job_id)
    results = renew_many(ids, trigger="bulk", caller=job.caller, stop_at=stop_at)
    counted = count_outcomes(result for _pk, result in results)
    left = [str(pk) for pk, result in results if result is None]
    with transaction.atomic():
        RenewalJob.objects.filter(pk=job_id).update(
            renewed=F("renewed") + counted["renewed"],
            failed=F("failed") + counted["failed"],
            skipped=F("skipped") + counted["skipped"],
        )
        if left:
            async_task("integrations.tasks.renew_batch", str(job_id), left)


def count_outcomes(results: Iterable[RefreshResult | None]) -> dict[str, int]:
    """Return {"renewed": n, "failed": n, "skipped": n}; one in other hands counts as skipped."""
    counted = Counter(result.outcome for result in results if result is not None)
    return {
        "renewed": counted[Outcome.RENEWED],
        "failed": counted[Outcome.FAILED],
        "skipped": counted[Outcome.SKIPPED] + counted[Outcome.BUSY],
    }


def _renew_one(pk: uuid.UUID, *, trigger: str, caller: str, stop_at: float) -> RefreshResult | None:
    if time.monotonic() >= stop_at:
        return None
    try:
        return refresh_integration(pk, trigger=trigger, caller=caller)
    except GoHighLevelIntegration.DoesNotExist:
        return RefreshResult(Outcome.SKIPPED)


def _and_close_connection(
    renew: partial[RefreshResult | None], pk: uuid.UUID
) -> RefreshResult | None:
    try:
        return renew(pk)
    finally:
        connection.close()
