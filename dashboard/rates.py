"""How much was done lately, by everything together: the last full hour and what came since."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Q, Sum

from access.times import hour_of
from integrations.models import KeyHour, RefreshAttempt
from webhooks.models import AnswerCount, Outcome


@dataclass(frozen=True)
class Rates:
    """`handed_out`: tokens given to other back ends and calls passed on, as of the last minute."""

    since: datetime
    renewed: int
    not_renewed: int
    events: int
    handed_out: int


def read_rates(now: datetime) -> Rates:
    """Three queries over indexes and counters, whatever is stored."""
    since = hour_of(now - timedelta(hours=1))
    ended = [RefreshAttempt.FAILED, RefreshAttempt.REFUSED, RefreshAttempt.CUT_OFF]
    renewals = RefreshAttempt.objects.filter(
        outcome__in=[RefreshAttempt.RENEWED, *ended], started_at__gte=since
    ).aggregate(
        renewed=Count("pk", filter=Q(outcome=RefreshAttempt.RENEWED)),
        not_renewed=Count("pk", filter=Q(outcome__in=ended)),
    )
    events = AnswerCount.objects.filter(hour__gte=since, outcome=Outcome.STORED)
    hours = KeyHour.objects.filter(hour__gte=since)
    return Rates(
        since,
        **renewals,
        events=events.aggregate(n=Sum("count"))["n"] or 0,
        handed_out=hours.aggregate(n=Sum("uses"))["n"] or 0,
    )
