"""Bulk renewals as pages show them: how far, and what came of which account."""

from __future__ import annotations

from typing import Any

from integrations.models import RenewalJob, RenewalJobItem

NEWEST = 50
MOST_ITEMS = 200
# What somebody has to look at comes first.
_ORDER = (
    RenewalJobItem.FAILED,
    RenewalJobItem.SKIPPED,
    RenewalJobItem.CANCELLED,
    RenewalJobItem.PENDING,
)


def newest_jobs() -> list[RenewalJob]:
    return list(RenewalJob.objects.order_by("-created_at")[:NEWEST])


def items_to_look_at(job: RenewalJob) -> list[RenewalJobItem]:
    """The accounts of a job that were not renewed, those that failed first."""
    rows = job.items.exclude(outcome=RenewalJobItem.RENEWED).select_related("integration")
    rows = rows.defer("integration__access_token_encrypted", "integration__refresh_token_encrypted")
    found = list(rows.order_by("-outcome", "pk")[:MOST_ITEMS])
    return sorted(found, key=lambda item: _ORDER.index(item.outcome))


def context(job: RenewalJob) -> dict[str, Any]:
    return {"job": job, "progress": job.progress(), "items": items_to_look_at(job)}
