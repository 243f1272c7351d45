"""Pictures as plain numbers: bars and lines on a fixed canvas, drawn as SVG by the templates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from access.times import hour_of
from dashboard.sentences import Tone
from dashboard.summary import OFF, TILES, summarise
from integrations.models import HealthDay
from integrations.snapshots import Snapshot

WIDTH, HEIGHT = 720, 120
HOURS = 24
DAYS = 30


@dataclass(frozen=True)
class Bar:
    """One upright bar; `css` is the class that colours it, `label` says in words what it stands
    for."""

    x: float
    y: float
    width: float
    height: float
    css: str
    label: str


@dataclass(frozen=True)
class Ahead:
    """The next 24 hours: a bar for each hour's renewals, and a line of how many accounts would
    still work if renewals stopped now."""

    bars: list[Bar]
    line: str
    most: int
    hours: list[tuple[float, datetime]]
    first_end: datetime | None
    last_end: datetime | None
    rows: list[tuple[datetime, int, int]]


@dataclass(frozen=True)
class Day:
    """A day's shares of health, one above the other; no bars for a day without data."""

    day: date
    bars: list[Bar]
    percentage: int | None


def next_hours(seen: Snapshot, now: datetime) -> Ahead:
    """Lay out what comes due, from the snapshot's counts by hour."""
    start = hour_of(now.astimezone(UTC))
    hours = [start + timedelta(hours=n) for n in range(HOURS)]
    due = _overdue_first(seen.due, hours)
    ends = [seen.ends.get(hour, 0) for hour in hours]
    working = sum(seen.ends.values()) + _beyond(seen)
    alive, left = [], working
    for n in ends:
        left -= n
        alive.append(left)
    most = max(due, default=0)
    step = WIDTH / HOURS
    bars = [
        Bar(
            x=round(n * step + 3, 1),
            width=round(step - 6, 1),
            **_upright(count, most),
            css=f"fill-{Tone.BLUE}",
            label=f"{count} due",
        )
        for n, count in enumerate(due)
        if count
    ]
    return Ahead(
        bars=bars,
        line=_steps([working, *alive], step),
        most=most,
        hours=[(n * step, hour) for n, hour in enumerate(hours) if n % 4 == 0],
        first_end=seen.first_end,
        last_end=seen.last_end,
        rows=list(zip(hours, due, alive, strict=True)),
    )


def last_days(now: datetime) -> list[Day]:
    """Return the last 30 days, the oldest first, in one query."""
    today = now.astimezone(UTC).date()
    first = today - timedelta(days=DAYS - 1)
    rows = HealthDay.objects.filter(day__gte=first).values_list("day", "sums")
    sums = dict(rows)
    step = WIDTH / DAYS
    days = (first + timedelta(days=n) for n in range(DAYS))
    return [_day(day, sums.get(day, {}), n * step, step) for n, day in enumerate(days)]


def _day(day: date, sums: Mapping[str, int], x: float, step: float) -> Day:
    summary = summarise(sums)
    total = summary.live
    if not total:
        return Day(day, [], None)
    bars, y = [], float(HEIGHT)
    for tile in reversed(TILES):
        n = summary.counts[tile.group]
        if tile.group == OFF or not n:
            continue
        height = max(n / total * HEIGHT, 2)
        y -= height
        bars.append(
            Bar(
                x=round(x + 2, 1),
                y=round(max(y, 0), 1),
                width=round(step - 4, 1),
                height=round(height, 1),
                css=f"fill-{tile.tone}",
                label=f"{tile.label}: {n * 100 // total} %",
            )
        )
    return Day(day, bars, summary.percentage)


def _overdue_first(due: Mapping[datetime, int], hours: list[datetime]) -> list[int]:
    """What was due before counts for this hour."""
    overdue = sum(n for hour, n in due.items() if hour < hours[0])
    return [due.get(hour, 0) + (overdue if n == 0 else 0) for n, hour in enumerate(hours)]


def _beyond(seen: Snapshot) -> int:
    """How many tokens live longer than the picture reaches."""
    return max(0, _working(seen) - sum(seen.ends.values()))


def _working(seen: Snapshot) -> int:
    working = ("healthy", "refreshing", "recovering", "retrying", "expiring")
    return sum(seen.counts.get(state, 0) for state in working)


def _upright(count: int, most: int) -> dict[str, float]:
    height = round(max(count / most * (HEIGHT - 10), 3), 1) if most else 0.0
    return {"y": round(HEIGHT - height, 1), "height": height}


def _steps(values: Iterable[int], step: float) -> str:
    """Return the path of a line that falls in steps, its first value at the top."""
    values = list(values)
    top = values[0] or 1
    points = []
    for n, value in enumerate(values):
        y = round(HEIGHT - value / top * (HEIGHT - 10), 1)
        points.append(f"H{round(n * step, 1)}V{y}" if n else f"M0 {y}")
    return "".join(points)
