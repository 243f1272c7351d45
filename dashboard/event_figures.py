"""What is known of all events together: how many, how answered, how long they waited, what is kept.

Read from counters of a fixed number of hours, so that it costs the same however many come.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.conf import settings

from access.models import User
from access.times import hour_of
from dashboard.charts import Bar
from dashboard.times import span
from integrations.models import GoHighLevelIntegration
from webhooks import meter, processing, rhythm
from webhooks.models import AnswerCount, Backlog, EventStock, Outcome

WIDTH, HEIGHT = 720, 120
HOURS = 24
# A type of its own colour each; the rest is one.
OWN_COLOURS = 5
OTHERS = "others"
MOST_SILENT = 20

REFUSED = [outcome for outcome in Outcome if outcome not in (Outcome.STORED, Outcome.DUPLICATE)]


@dataclass(frozen=True)
class Series:
    """One colour of a chart: its class, its name, and its number in each hour."""

    css: str
    name: str
    values: list[int]

    @property
    def total(self) -> int:
        return sum(self.values)


@dataclass(frozen=True)
class Chart:
    """Bars of the last hours, one series on the other; `most` is the highest bar's number. `say`
    puts such a number into words."""

    hours: list[datetime]
    series: list[Series]
    bars: list[Bar]
    most: int
    say: Callable[[int], str] = str

    @property
    def most_in_words(self) -> str:
        return self.say(self.most)

    @property
    def marks(self) -> list[tuple[float, datetime]]:
        step = WIDTH / len(self.hours)
        return [(n * step, hour) for n, hour in enumerate(self.hours) if n % 4 == 0]

    @property
    def table(self) -> list[tuple[datetime, list[str]]]:
        """The newest hour first."""
        rows = [(h, [self.say(s.values[n]) for s in self.series]) for n, h in enumerate(self.hours)]
        return rows[::-1]


@dataclass(frozen=True)
class Refusals:
    outcome: Outcome
    count: int
    last_at: datetime
    last_address: str


@dataclass(frozen=True)
class Figures:
    """`longest_wait`: in words, empty when nothing waits. `mean_ms`, `slowest_ms`: of the last
    day's answers, None without any."""

    by_type: Chart
    by_answer: Chart
    backlog: Chart
    longest_wait: str
    meter: meter.Meter
    refused: list[Refusals]
    mean_ms: int | None
    slowest_ms: int | None
    stock: list[EventStock]

    @property
    def kept_characters(self) -> int:
        return sum(row.characters for row in self.stock)

    @property
    def kept(self) -> int:
        return sum(row.count for row in self.stock)


@dataclass(frozen=True)
class SilentAccount:
    install: GoHighLevelIntegration
    last_at: datetime
    sentence: str


def read_figures(now: datetime) -> Figures:
    """Return the figures of the last day and of the meter's three days, in four queries."""
    this_hour = hour_of(now.astimezone(UTC))
    hours = [this_hour - timedelta(hours=n) for n in reversed(range(HOURS))]
    rows = list(AnswerCount.objects.filter(hour__gt=meter.begin(now)))
    of_the_day = [row for row in rows if row.hour >= hours[0]]
    answers = sum(row.count for row in of_the_day)
    wait = processing.longest_wait(now)
    return Figures(
        by_type=_by_type(of_the_day, hours),
        by_answer=_by_answer(of_the_day, hours),
        backlog=_backlog(hours, now, wait),
        longest_wait=span(wait) if wait else "",
        meter=meter.of(rows),
        refused=_refusals(rows),
        mean_ms=sum(row.total_ms for row in of_the_day) // answers if answers else None,
        slowest_ms=max((row.slowest_ms for row in of_the_day), default=None),
        stock=list(EventStock.objects.order_by("-characters")),
    )


def silent_accounts(user: User, now: datetime) -> list[SilentAccount]:
    visible = GoHighLevelIntegration.objects.visible_to(user)
    return [
        SilentAccount(s.install, s.last_at, _silence(s, now))
        for s in rhythm.silent(now, among=visible, most=MOST_SILENT)
    ]


def keep_rules() -> list[tuple[str, int]]:
    """Return the types with a time of their own and their days, then the rest's."""
    by_type = sorted(settings.WEBHOOK_KEEP_DAYS_BY_TYPE.items())
    return [*by_type, ("all others", settings.WEBHOOK_KEEP_DAYS)]


def _silence(silence: rhythm.Silence, now: datetime) -> str:
    usual = span(timedelta(seconds=silence.usual_s))
    longest = span(timedelta(seconds=silence.longest_s))
    quiet = span(now - silence.last_at)
    return f"No event for {quiet}; usually every {usual}, and of late never {longest} without one."


def _by_type(rows: Sequence[AnswerCount], hours: Sequence[datetime]) -> Chart:
    stored = [row for row in rows if row.outcome == Outcome.STORED]
    totals: Counter[str] = Counter()
    for row in stored:
        totals[row.type] += row.count
    own = [kind for kind, _n in totals.most_common(OWN_COLOURS)]
    css = {kind: f"fill-kind-{n}" for n, kind in enumerate(own, start=1)}
    names = own + ([OTHERS] if len(totals) > len(own) else [])

    def name(row: AnswerCount) -> str:
        return row.type if row.type in css else OTHERS

    series = [
        Series(css.get(kind, "fill-grey"), kind or "(no type)", _hourly(stored, hours, kind, name))
        for kind in names
    ]
    return _stacked(hours, series)


def _by_answer(rows: Sequence[AnswerCount], hours: Sequence[datetime]) -> Chart:
    def name(row: AnswerCount) -> str:
        if row.status < 300:
            return "accepted (200)"
        return "put off (429)" if row.status == 429 else "refused (4xx)"

    kinds = (
        ("fill-green", "accepted (200)"),
        ("fill-amber", "refused (4xx)"),
        ("fill-red", "put off (429)"),
    )
    return _stacked(hours, [Series(css, k, _hourly(rows, hours, k, name)) for css, k in kinds])


def _backlog(hours: Sequence[datetime], now: datetime, wait: timedelta) -> Chart:
    """The longest wait of each hour, in seconds: as the sweeps noted it, or as what waits at
    present tells. A worker that stands still notes nothing."""
    noted = dict(Backlog.objects.filter(hour__gte=hours[0]).values_list("hour", "oldest_s"))
    since = now - wait

    def longest(hour: datetime) -> int:
        had_waited = min(now, hour + timedelta(hours=1)) - since
        return max(noted.get(hour, 0), int(had_waited.total_seconds()))

    waits = [longest(hour) for hour in hours]
    return _stacked(hours, [Series("fill-blue", "waited by the oldest event", waits)], _length)


def _length(seconds: int) -> str:
    return span(timedelta(seconds=seconds)) if seconds else "none"


def _refusals(rows: Sequence[AnswerCount]) -> list[Refusals]:
    found = []
    for outcome in REFUSED:
        of_it = [row for row in rows if row.outcome == outcome and row.count]
        if of_it:
            last = max(of_it, key=lambda row: row.last_at)
            total = sum(row.count for row in of_it)
            found.append(Refusals(outcome, total, last.last_at, last.last_address))
    return found


def _hourly(
    rows: Iterable[AnswerCount],
    hours: Sequence[datetime],
    kind: str,
    name: Callable[[AnswerCount], str],
) -> list[int]:
    counted: Counter[datetime] = Counter()
    for row in rows:
        if name(row) == kind:
            counted[row.hour] += row.count
    return [counted[hour] for hour in hours]


def _stacked(
    hours: Sequence[datetime], series: Sequence[Series], say: Callable[[int], str] = str
) -> Chart:
    most = max((sum(s.values[n] for s in series) for n in range(len(hours))), default=0)
    step = WIDTH / len(hours)
    bars = []
    for n in range(len(hours)):
        y = float(HEIGHT)
        for s in series:
            if not s.values[n]:
                continue
            height = max(s.values[n] / most * (HEIGHT - 10), 2)
            y = max(y - height, 0)
            x, width = round(n * step + 3, 1), round(step - 6, 1)
            label = f"{say(s.values[n])} {s.name}"
            bars.append(Bar(x, round(y, 1), width, round(height, 1), s.css, label))
    return Chart(list(hours), list(series), bars, most, say)
