"""Bulk renewals as pages show them: how far, and what came of which account."""

from __future__ import annotations

import uuid
from typing import Any

from django.db.models import Case, QuerySet, Value, When
from django.shortcuts import get_object_or_404

from access.models import User
from integrations.models import (
    IntegrationQuerySet,
    JobProgress,
    RenewalJob,
    RenewalJobItem,
    progress_of,
)

NEWEST = 50
MOST_ITEMS = 200
MOST_RENEWED = 50
# What somebody has to look at comes first.
_ORDER = Case(
    *(
        When(outcome=outcome, then=Value(place))
        for place, outcome in enumerate(
            (RenewalJobItem.FAILED, RenewalJobItem.SKIPPED, RenewalJobItem.CANCELLED)
        )
    ),
    default=Value(3),
)


def newest_jobs(user: User) -> list[tuple[RenewalJob, JobProgress]]:
    jobs = list(RenewalJob.objects.visible_to(user).order_by("-created_at")[:NEWEST])
    progress = progress_of(jobs)
    return [(job, progress[job.pk]) for job in jobs]


def get_job(user: User, pk: uuid.UUID) -> RenewalJob:
    """Errors: Http404."""
    return get_object_or_404(RenewalJob.objects.visible_to(user), pk=pk)


def items_to_look_at(job: RenewalJob) -> list[RenewalJobItem]:
    """The accounts of a job that were not renewed, those that failed first."""
    rows = _items(job).exclude(outcome=RenewalJobItem.RENEWED)
    return list(rows.order_by(_ORDER, "pk")[:MOST_ITEMS])


def failed_of(job: RenewalJob, rows: IntegrationQuerySet) -> IntegrationQuerySet:
    """Return those of the installs that failed in the job."""
    failed = job.items.filter(outcome=RenewalJobItem.FAILED)
    return rows.renewable().filter(pk__in=failed.values("integration_id"))


def newest_renewed(job: RenewalJob) -> list[RenewalJobItem]:
    """Those renewed last: the accounts of a job are taken in the order of their items."""
    rows = _items(job).filter(outcome=RenewalJobItem.RENEWED)
    return list(rows.order_by("-pk")[:MOST_RENEWED])


def _items(job: RenewalJob) -> QuerySet[RenewalJobItem]:
    rows = job.items.select_related("integration")
    return rows.defer("integration__access_token_encrypted", "integration__refresh_token_encrypted")


def context(job: RenewalJob) -> dict[str, Any]:
    return {
        "job": job,
        "progress": job.progress(),
        "items": items_to_look_at(job),
        "renewed": newest_renewed(job),
    }
