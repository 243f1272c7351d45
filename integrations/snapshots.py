"""All installs in a few numbers: what the first screen, the badges and the metrics show.

Counting a million rows takes longer than a page may. So each tick counts once and keeps the
result; pages count for themselves only while there are few (LIVE_UP_TO). Of many they count the
unwell, which indexes find, at that moment, unless these are many too; how many there are in all,
how many of them ended or are well, and the pictures are as old as the last look.
"""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.cache import cache
from django.db import transaction
from django.db.models import (
    Case,
    Count,
    DateTimeField,
    Func,
    Max,
    Min,
    Q,
    TextField,
    Value,
    When,
)

from access.models import User
from access.times import hour_of
from integrations import models
from integrations.health import State, Status
from integrations.models import GoHighLevelIntegration, HealthDay, IntegrationQuerySet
from integrations.states import ended, refreshing, state_expression, unwell

LIVE_UP_TO = 5_000
# Parts of states that are counted apart: those with a renewal in flight after failures, and those
# that wait for an install that nobody finished.
RECOVERING = "recovering"
UNFINISHED = "unfinished"
HOURS_AHEAD = 25  # the pictures' 24, and one more for those who look when the hour is over
# A look may take this part of the worker's time at most.
REST_FACTOR = 30
# How long a page's look at many installs of some agencies serves the next ones, in seconds.
SAMPLE_S = 60
_LATER = "later"


@dataclass(frozen=True)
class Snapshot:
    """`counts`: {state, RECOVERING or UNFINISHED: installs}; some who are being renewed count as
    healthy. `due`, `ends`: {full hour (UTC): installs}, of the coming HOURS_AHEAD; what was due
    before is in the first hour. `first_end`, `last_end`: when access tokens end that nobody
    renews."""

    taken_at: datetime
    counts: dict[str, int]
    due: dict[datetime, int]
    ends: dict[datetime, int]
    first_end: datetime | None
    last_end: datetime | None

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def is_of_many(self) -> bool:
        return self.total > LIVE_UP_TO


def current(user: User, now: datetime) -> Snapshot:
    """The numbers as this person may see them."""
    return _look(user.agencies, now)


def counts(user: User, now: datetime) -> dict[str, int]:
    """Only how many are in which state, which is less work where there are few."""
    return _look(user.agencies, now, pictures=False).counts


def counts_of_agency(company_id: str, now: datetime) -> dict[str, int]:
    """How many of an agency's installs are in which state; without an id, of all."""
    return _look([company_id] if company_id else [], now, pictures=False).counts


def _look(agencies: list[str], now: datetime, *, pictures: bool = True) -> Snapshot:
    """The numbers of these agencies, or without any of all; three queries at most, however many
    there are."""
    rows = GoHighLevelIntegration.objects.all()
    if agencies:
        rows = rows.filter(company_id__in=agencies)
    kept = _sample_of(agencies) if agencies else _newest()
    if kept and kept.is_of_many:
        return _of_now(kept, rows, now)
    if not pictures:
        counted = Snapshot(now, count(rows, now), {}, {}, None, None)
        if not (agencies and counted.is_of_many):
            return counted
    seen = take(rows, now)
    if agencies and seen.is_of_many:
        cache.set(_sample_key(agencies), seen, SAMPLE_S)
    return seen


def _newest() -> Snapshot | None:
    newest = HealthDay.objects.order_by("-day").first()
    return _read(newest) if newest else None


def _sample_of(agencies: list[str]) -> Snapshot | None:
    """What a page took of these agencies within the last minute: no tick looks at them apart."""
    sample: Snapshot | None = cache.get(_sample_key(agencies))
    return sample


def _sample_key(agencies: list[str]) -> str:
    return "snapshot-" + hashlib.sha256(repr(sorted(agencies)).encode()).hexdigest()


def _of_now(kept: Snapshot, rows: IntegrationQuerySet, now: datetime) -> Snapshot:
    """Count the unwell anew: they are what somebody may have to see to, and the clock alone makes
    some unwell. Should very many be, as in an outage, the last look has to do."""
    ended_then = kept.counts.get(State.UNINSTALLED, 0)
    if kept.total - ended_then - kept.counts.get(State.HEALTHY, 0) > LIVE_UP_TO:
        return kept
    seen = count(rows.filter(unwell(now)), now)
    healthy = max(kept.total - ended_then - sum(seen.values()), 0)
    return replace(
        kept, counts=seen | {State.HEALTHY.value: healthy, State.UNINSTALLED.value: ended_then}
    )


class _HourNumber(Func):
    """The number of the hour that a time is in; the first one has all before it too.

    As TruncHour, which SQLite works out in Python, row by row; and as a Case of so many hours,
    which takes Django longer to write down than the database to answer.
    """

    output_field = TextField()

    def __init__(self, column: str, hours: list[datetime]) -> None:
        super().__init__(column)
        self.hours = hours

    def as_sql(self, compiler: Any, connection: Any, *_: Any, **__: Any) -> Any:
        column, params = compiler.compile(self.get_source_expressions()[0])
        adapt = connection.ops.adapt_datetimefield_value
        whens, values = [], []
        for number, hour in enumerate(self.hours):
            whens.append(f"WHEN {column} < %s THEN '{number}'")
            values += [*params, adapt(hour + timedelta(hours=1))]
        return f"CASE {' '.join(whens)} ELSE '{_LATER}' END", values


def take(rows: IntegrationQuerySet, now: datetime) -> Snapshot:
    """Count these installs, in one query of parts that indexes answer."""
    first_hour = hour_of(now.astimezone(UTC))
    hours = [first_hour + timedelta(hours=n) for n in range(HOURS_AHEAD)]
    working = rows.filter(status=Status.ACTIVE, expires_at__gt=now)
    due = rows.filter(renew_at__lt=hours[-1] + timedelta(hours=1))
    # With times first: PostgreSQL takes the types of the columns from it.
    parts = _counted(working, "ends", _HourNumber("expires_at", hours), ends="expires_at").union(
        _counted(due, "due", _HourNumber("renew_at", hours)),
        _counted(rows.filter(unwell(now) | ended()), "state", _counted_state(now)),
        _counted(rows, "total", Value("")),
        all=True,
    )
    found: dict[str, dict[str, int]] = {"ends": {}, "due": {}, "state": {}, "total": {}}
    edges: list[datetime] = []
    for part, key, n, first, last in parts:
        found[part][key] = n
        edges += [first, last] if first else []
    well = sum(found["total"].values()) - sum(found["state"].values())
    return Snapshot(
        taken_at=now,
        counts=found["state"] | ({State.HEALTHY.value: well} if well else {}),
        due=_by_hour(found["due"], hours),
        ends=_by_hour(found["ends"], hours),
        first_end=min(edges, default=None),
        last_end=max(edges, default=None),
    )


def _counted(rows: IntegrationQuerySet, part: str, key: Any, *, ends: str = "") -> Any:
    """Return (part, key, how many, first end, last end) for each key."""
    no_time = Value(None, DateTimeField())
    keyed: Any = rows.order_by().annotate(part=Value(part, TextField()), key=key)
    return keyed.values_list("part", "key").annotate(
        n=Count("*"),
        first=Min(ends) if ends else no_time,
        last=Max(ends) if ends else no_time,
    )


def _by_hour(found: dict[str, int], hours: list[datetime]) -> dict[datetime, int]:
    return {hours[int(n)]: found[n] for n in found if n != _LATER}


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


def by_state(counts: dict[str, int]) -> dict[str, int]:
    """Return the counts of the states alone."""
    whole = dict(counts)
    for part, state in ((RECOVERING, State.REFRESHING), (UNFINISHED, State.WAITING)):
        if n := whole.pop(part, 0):
            whole[state] = whole.get(state, 0) + n
    return whole


def count(rows: IntegrationQuerySet, now: datetime) -> dict[str, int]:
    """Return {state, RECOVERING or UNFINISHED: installs}, in one query."""
    keyed: Any = rows.annotate(key=_counted_state(now)).order_by()
    return dict(keyed.values_list("key").annotate(n=Count("pk")))


def count_by_agency(rows: IntegrationQuerySet, now: datetime) -> dict[str, dict[str, int]]:
    """Return {agency id: {state, RECOVERING or UNFINISHED: installs}}, in one query."""
    keyed: Any = rows.annotate(key=_counted_state(now)).order_by()
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    for company_id, key, n in keyed.values_list("company_id", "key").annotate(n=Count("pk")):
        counts[company_id][key] = n
    return counts


def _counted_state(now: datetime) -> Case:
    recovering = refreshing(now) & ~ended() & Q(failures__gt=0)
    unfinished = Q(status=Status.WAITING, cause=models.UNFINISHED) & ~refreshing(now)
    return Case(
        When(recovering, then=Value(RECOVERING)),
        When(unfinished, then=Value(UNFINISHED)),
        default=state_expression(now),
        output_field=TextField(),
    )


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
