"""How many renewals ended how, and how long they took, since the first look at /metrics.

The journal (RefreshAttempt) is the truth, whichever process or host renewed. To count it whole at
each look would cost more each day, and rows may be deleted some day while a counter must not go
back. So what is settled is added up in Counter rows now and then, and a look adds the few entries
that are younger.
"""

from __future__ import annotations

from collections import Counter as Counting
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from django.db import transaction
from django.db.models import (
    Case,
    Count,
    DurationField,
    ExpressionWrapper,
    F,
    FloatField,
    Sum,
    Value,
    When,
)
from django.utils import timezone

from integrations.models import RefreshAttempt
from operations.models import Counter

# Upper bounds of the duration buckets, in seconds; above the last one is infinity.
BUCKETS_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0)
INFINITE = float("inf")
# An entry is written with the present time of its host, whose clock may be a little off.
SETTLED_AFTER = timedelta(minutes=3)
ADD_UP_AFTER = timedelta(minutes=10)
_MARK = "renewals counted until (microseconds since 1970)"
_ENDED = (
    RefreshAttempt.RENEWED,
    RefreshAttempt.FAILED,
    RefreshAttempt.REFUSED,
    RefreshAttempt.CUT_OFF,
)


class Kind(NamedTuple):
    """`bucket`: the smallest bound, in seconds, that the renewals of this kind were not above."""

    way: str
    outcome: str
    bucket: float

    @property
    def key(self) -> str:
        return f"renewals {self.way} {self.outcome} {self.bucket:g}"


class Tally(NamedTuple):
    number: int
    microseconds: int


def read(now: datetime | None = None) -> dict[Kind, Tally]:
    """Return what was counted, exact to this moment. Adds up first what has long been settled."""
    now = now or timezone.now()
    stored = _stored()
    if _MARK not in stored:
        _begin(now)
        stored = _stored()
    if moment_of(stored[_MARK]) < now - ADD_UP_AFTER:
        _add_up(stored, now)
        stored = _stored()
    # Mark and counts came in one statement: whatever is added up meanwhile is not in them yet.
    tallies = _unpack(stored)
    for kind, tally in _count(since=moment_of(stored[_MARK])).items():
        known = tallies.get(kind, Tally(0, 0))
        tallies[kind] = Tally(known.number + tally.number, known.microseconds + tally.microseconds)
    return tallies


def _stored() -> dict[str, int]:
    return dict(Counter.objects.values_list("key", "value"))


def _begin(now: datetime) -> None:
    """Count from here on: a long journal of earlier days is left alone."""
    Counter.objects.get_or_create(
        key=_MARK, defaults={"value": microseconds_of(now - SETTLED_AFTER)}
    )


def _add_up(stored: dict[str, int], now: datetime) -> None:
    """Move the mark, and add to the counts what it passes; one process wins, the others do not."""
    mark = stored[_MARK]
    with transaction.atomic():
        running = RefreshAttempt.objects.filter(outcome=RefreshAttempt.RUNNING)
        oldest = running.order_by("started_at").values_list("started_at", flat=True).first()
        # An entry that is still open will end in a kind that nobody knows yet.
        before_it = oldest - timedelta(microseconds=1) if oldest else now
        until = min(now - SETTLED_AFTER, before_it)
        if until <= moment_of(mark):
            return
        mine = Counter.objects.filter(key=_MARK, value=mark)
        if not mine.update(value=microseconds_of(until)):
            return
        rows = {row.key: row for row in Counter.objects.all()}
        added: Counting[str] = Counting()
        for kind, tally in _count(since=moment_of(mark), until=until).items():
            added[kind.key] += tally.number
            added[f"{kind.key} us"] += tally.microseconds
        for key in added.keys() & rows.keys():
            rows[key].value += added[key]
        Counter.objects.bulk_update([rows[k] for k in added.keys() & rows.keys()], ["value"])
        Counter.objects.bulk_create(
            [Counter(key=key, value=added[key]) for key in added.keys() - rows.keys()]
        )


def _count(*, since: datetime, until: datetime | None = None) -> dict[Kind, Tally]:
    """Count the ended entries that began in (since, until]: the index on (outcome, started_at)."""
    took = ExpressionWrapper(F("ended_at") - F("started_at"), output_field=DurationField())
    bounds = [When(took__lte=timedelta(seconds=bound), then=Value(bound)) for bound in BUCKETS_S]
    entries = RefreshAttempt.objects.filter(outcome__in=_ENDED, started_at__gt=since)
    if until is not None:
        entries = entries.filter(started_at__lte=until)
    rows = (
        entries.annotate(took=took)
        .annotate(bucket=Case(*bounds, default=Value(-1.0), output_field=FloatField()))
        .values_list("way", "outcome", "bucket")
        .annotate(n=Count("pk"), total=Sum("took"))
        .order_by()
    )
    return {
        Kind(way, outcome, bucket if bucket >= 0 else INFINITE): Tally(n, _microseconds(total))
        for way, outcome, bucket, n, total in rows
    }


def _unpack(stored: dict[str, int]) -> dict[Kind, Tally]:
    tallies = {}
    for key, value in stored.items():
        match key.split(" "):
            case ["renewals", way, outcome, bucket]:
                total = stored.get(f"{key} us", 0)
                tallies[Kind(way, outcome, float(bucket))] = Tally(value, total)
    return tallies


def _microseconds(duration: timedelta | None) -> int:
    return (duration or timedelta()) // timedelta(microseconds=1)


def microseconds_of(moment: datetime) -> int:
    """Return a moment as counters keep it; `moment_of` makes it one again."""
    return (moment - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)


def moment_of(number: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=number)
