"""What is too old to be asked for is deleted, a few rows at a time so that nobody waits for it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.sessions.models import Session
from django.db.models import Exists, OuterRef
from django_q.models import Task

from access.models import AuditEvent, KeyAddress, KeyAlert
from integrations.deadlocks import despite_deadlocks
from integrations.models import HandOut, KeyHour, RefreshAttempt, RenewalJob, StateChange

BATCH = 500
# What the queue notes of its tasks is for finding faults, not history.
KEEP_TASKS = timedelta(days=14)


def clean_up(now: datetime) -> dict[str, int]:
    """Delete history older than HISTORY_KEEP_DAYS, the audit trail older than AUDIT_KEEP_DAYS (0:
    keep all), old notes of the queue, and sessions that are over.

    The newest renewal of an install stays, however old. Returns how many rows of each kind went.
    """
    deleted = {
        "tasks": delete_in_batches(Task.objects.filter(stopped__lt=now - KEEP_TASKS)),
        "sessions": delete_in_batches(Session.objects.filter(expire_date__lt=now)),
    }
    if settings.AUDIT_KEEP_DAYS:
        too_old = now - timedelta(days=settings.AUDIT_KEEP_DAYS)
        deleted["audit"] = AuditEvent.objects.all().purge(too_old)
    if settings.HISTORY_KEEP_DAYS:
        too_old = now - timedelta(days=settings.HISTORY_KEEP_DAYS)
        deleted |= {
            "renewals": delete_in_batches(_old_attempts(too_old)),
            "changes": delete_in_batches(StateChange.objects.filter(at__lt=too_old)),
            "jobs": delete_in_batches(RenewalJob.objects.filter(created_at__lt=too_old)),
            "hand_outs": delete_in_batches(HandOut.objects.filter(hour__lt=too_old)),
            "hours_of_keys": delete_in_batches(KeyHour.objects.filter(hour__lt=too_old)),
            "addresses_of_keys": delete_in_batches(KeyAddress.objects.filter(last_at__lt=too_old)),
            "alerts_of_keys": delete_in_batches(KeyAlert.objects.filter(at__lt=too_old)),
        }
    return deleted


def _old_attempts(too_old: datetime) -> Any:
    newer = RefreshAttempt.objects.filter(
        integration=OuterRef("integration"), started_at__gt=OuterRef("started_at")
    )
    ended = [outcome for outcome, _ in RefreshAttempt.OUTCOMES if outcome != RefreshAttempt.RUNNING]
    return RefreshAttempt.objects.filter(Exists(newer), outcome__in=ended, started_at__lt=too_old)


def delete_in_batches(rows: Any) -> int:
    """Delete the rows of a queryset, a few at a time; return how many."""
    deleted = 0
    while ids := list(rows.order_by().values_list("pk", flat=True)[:BATCH]):
        despite_deadlocks(rows.model.objects.filter(pk__in=ids).delete)
        deleted += len(ids)
    return deleted
