"""The journal of renewals: written before HighLevel is called, ended with what came of it."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from integrations.highlevel import HighLevelError, Refused
from integrations.models import GoHighLevelIntegration, RefreshAttempt


class LeaseLost(Exception):
    """Too little of the lease is left to begin a call; another one may soon claim the row."""


def begin(
    attempt: RefreshAttempt, *, lease_id: uuid.UUID, needs_s: float, sent_at: datetime | None
) -> None:
    """Commit what is about to be done, while at least `needs_s` seconds of the lease are left.

    `sent_at`: since when the refresh token is on its way to HighLevel, with no answer known.
    Errors: LeaseLost.
    """
    mine = GoHighLevelIntegration.objects.filter(
        pk=attempt.integration_id,
        lease_id=lease_id,
        lease_until__gt=Now() + timedelta(seconds=needs_s),
    )
    with transaction.atomic():
        if not mine.update(sent_at=sent_at):
            raise LeaseLost
        attempt.save(force_insert=True)


def end(attempt: RefreshAttempt, error: HighLevelError) -> None:
    refused = isinstance(error, Refused)
    attempt.outcome = RefreshAttempt.REFUSED if refused else RefreshAttempt.FAILED
    attempt.cause = error.cause
    attempt.http_status = error.http_status
    attempt.trace_id = error.trace_id
    attempt.detail = error.detail
    attempt.ended_at = timezone.now()
    attempt.save()


def close_cut_off(lease: timedelta) -> int:
    """End the entries of those who died at work, whose lease is over; return how many.

    What became of their tokens is the row's matter: the tick finds it due.
    """
    now = timezone.now()
    open_ones = RefreshAttempt.objects.filter(
        outcome=RefreshAttempt.RUNNING, started_at__lt=now - lease
    )
    return open_ones.update(outcome=RefreshAttempt.CUT_OFF, ended_at=now)
