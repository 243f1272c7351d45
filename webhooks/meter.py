"""How HighLevel sees our answers: the share of deliveries that we accepted lately."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Q, Sum

from webhooks.models import AnswerCount, Outcome

# HighLevel's webhook guide: over three days, more than 10,000 deliveries and fewer than 90 %
# answered 2xx, and it pauses the app's events until somebody switches them on again.
DAYS = 3
PAUSE_BELOW = 90
PAUSE_FROM = 10_000
# People are told before it comes to that; a handful of deliveries tells nothing.
WARN_BELOW = 95
WARN_FROM = 100


@dataclass(frozen=True)
class Meter:
    """How HighLevel sees our answers; deliveries without a signature are not its own."""

    answered: int
    total: int

    @property
    def percentage(self) -> float | None:
        """Cut, not rounded: 89.99 is below the line."""
        return self.answered * 1000 // self.total / 10 if self.total else None

    @property
    def width(self) -> int:
        """On a canvas of a thousand."""
        return round((self.percentage or 0) * 10)

    @property
    def is_below(self) -> bool:
        return self.percentage is not None and self.percentage < PAUSE_BELOW

    @property
    def is_in_danger(self) -> bool:
        return self.is_below and self.total > PAUSE_FROM

    @property
    def is_falling(self) -> bool:
        if self.percentage is None:
            return False
        return self.percentage < WARN_BELOW and self.total >= WARN_FROM


def begin(now: datetime) -> datetime:
    """Return the hour before which deliveries do not count any more."""
    return now - timedelta(days=DAYS, hours=1)


def of(rows: Iterable[AnswerCount]) -> Meter:
    """Return the meter of these counts."""
    signed = [row for row in rows if row.outcome != Outcome.UNSIGNED]
    answered = sum(row.count for row in signed if row.status < 300)
    return Meter(answered, sum(row.count for row in signed))


def read(now: datetime) -> Meter:
    """Return the present meter, added up by the database."""
    told = (
        AnswerCount.objects.filter(hour__gt=begin(now))
        .exclude(outcome=Outcome.UNSIGNED)
        .aggregate(answered=Sum("count", filter=Q(status__lt=300)), total=Sum("count"))
    )
    return Meter(told["answered"] or 0, told["total"] or 0)
