"""All installs in a few numbers: what the first screen, the badges and the metrics show.

Counting a million rows takes longer than a page may. So each tick counts once and keeps the
result; pages count for themselves only while there are few (LIVE_UP_TO) or for somebody who sees
a part of them. Above that the numbers are as old as the last tick, which the page says.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db import transaction
from django.db.models import BooleanField, Case, Count, Max, Min, Value, When
from django.db.models.functions import TruncHour

from access.models import User
from integrations.health import State, Status
from integrations.models import (
    GoHighLevelIntegration,
    HealthDay,
    IntegrationQuerySet,
    state_expression,
)

LIVE_UP_TO = 5_000
RECOVERING = "recovering"  # a renewal in flight after failures
AHEAD = timedelta(hours=24)
# A look may take this part of the worker's time at most.
REST_FACTOR = 30


@dataclass(frozen=True)
class Snapshot:
    """`counts`: {state or RECOVERING: installs}. `due`, `ends`: {full hour (UTC): installs}, of
    the coming AHEAD. `first_end`, `last_end`: when access tokens end that nobody renews."""

    taken_at: datetime
    counts: dict[str, int]
    due: dict[datetime, int]
    ends: dict[datetime, int]
    first_end: datetime | None
    last_end: datetime | None

    @property
    def total(self) -> int:
        return sum(self.counts.values())


def current(user: User, now: datetime) -> Snapshot:
    """The numbers as this person may see them."""
    return _kept(user) or take(GoHighLevelIntegration.objects.visible_to(user), now)


def counts(user: User, now: datetime) -> dict[str, int]:
    """Only how many are in which state."""
    kept = _kept(user)
    return kept.counts if kept else count(GoHighLevelIntegration.objects.visible_to(user), now)


def counts_of_agency(company_id: str, now: datetime) -> dict[str, int]:
    """How many of an agency's installs are in which state; without an id, of all."""
    if company_id:
        return count(GoHighLevelIntegration.objects.filter(company_id=company_id), now)
    kept = _newest()
    return kept.counts if kept else count(GoHighLevelIntegration.objects.all(), now)


def _kept(user: User) -> Snapshot | None:
    return None if user.agencies else _newest()


def _newest() -> Snapshot | None:
    """The last tick's numbers, where there are too many installs to count them for each page."""
    newest = HealthDay.objects.order_by("-day").first()
    if newest is None or sum(newest.counts.values()) <= LIVE_UP_TO:
        return None
    return _read(newest)


def take(rows: IntegrationQuerySet, now: datetime) -> Snapshot:
    """Count these installs, in four queries."""
    working = rows.filter(status=Status.ACTIVE, expires_at__gt=now)
    edges = working.aggregate(first=Min("expires_at"), last=Max("expires_at"))
    return Snapshot(
        taken_at=now,
        counts=count(rows, now),
        due=_by_hour(rows.filter(renew_at__lte=now + AHEAD), "renew_at"),
        ends=_by_hour(working.filter(expires_at__lte=now + AHEAD), "expires_at"),
        first_end=edges["first"],
        last_end=edges["last"],
    )


def record(now: datetime) -> None:
    """Keep the numbers of this moment, unless the last look took long and was not long ago."""
    newest = HealthDay.objects.order_by("-day").only("taken_at", "took_ms").first()
    if newest and now - newest.taken_at < timedelta(milliseconds=newest.took_ms * REST_FACTOR):
        return
    started = time.monotonic()
    seen = take(GoHighLevelIntegration.objects.all(), now)
    took_ms = round((time.monotonic() - started) * 1000)
    with transaction.atomic():
        row, _new = HealthDay.objects.select_for_update().get_or_create(
            day=now.astimezone(UTC).date(), defaults={"taken_at": now}
        )
        row.taken_at, row.took_ms, row.counts = now, took_ms, seen.counts
        row.due, row.ends = _as_text(seen.due), _as_text(seen.ends)
        row.first_end, row.last_end = seen.first_end, seen.last_end
        row.sums = {
            state: row.sums.get(state, 0) + seen.counts.get(state, 0)
            for state in {*row.sums, *seen.counts}
        }
        row.looks += 1
        row.save()


def count(rows: IntegrationQuerySet, now: datetime) -> dict[str, int]:
    """Return {state or RECOVERING: installs}, in one query."""
    in_trouble = Case(
        When(failures__gt=0, then=Value(True)), default=Value(False), output_field=BooleanField()
    )
    stated = rows.annotate(state_now=state_expression(now), in_trouble=in_trouble).order_by()
    counts: dict[str, int] = {}
    for state, trouble, n in stated.values_list("state_now", "in_trouble").annotate(n=Count("pk")):
        name = RECOVERING if state == State.REFRESHING and trouble else state
        counts[name] = counts.get(name, 0) + n
    return counts


def _by_hour(rows: IntegrationQuerySet, field: str) -> dict[datetime, int]:
    hours = rows.annotate(hour=TruncHour(field, tzinfo=UTC)).order_by().values_list("hour")
    return dict(hours.annotate(n=Count("pk")))


def _as_text(hours: dict[datetime, int]) -> dict[str, int]:
    return {hour.isoformat(): n for hour, n in hours.items()}


def _read(row: HealthDay) -> Snapshot:
    return Snapshot(
        taken_at=row.taken_at,
        counts=row.counts,
        due={datetime.fromisoformat(hour): n for hour, n in row.due.items()},
        ends={datetime.fromisoformat(hour): n for hour, n in row.ends.items()},
        first_end=row.first_end,
        last_end=row.last_end,
    )
