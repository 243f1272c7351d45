"""The schedules, as rows of the queue. An operator may change or remove the three regular ones."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, time, timedelta
from typing import Any

from django.db.migrations import Migration
from django.utils import timezone
from django_q.models import Schedule

from access.times import hour_of

# What the product cannot do without: due renewals are found by the first.
TICK = "whatreach: tick"
CLEAN_UP = "whatreach: nightly clean-up"
PULSE = "whatreach: pulse"
# Seconds come last. Due again at each look of the scheduler, which is about every 30 s.
EACH_LOOK = "* * * * * */10"
LIFE = "whatreach: waiting installs and comparisons"
RECONCILE = "whatreach: nightly comparison"
KEY_WATCH = "whatreach: unusual use of API keys"
# The three of the contract: hourly renewal, daily health check 02:00, bulk renewal Sundays 03:00.
REGULAR: dict[str, dict[str, Any]] = {
    "whatreach: hourly renewal": {
        "func": "integrations.tasks.renew_needing",
        "schedule_type": Schedule.HOURLY,
    },
    "whatreach: daily health check": {
        "func": "integrations.tasks.check_health",
        "schedule_type": Schedule.CRON,
        "cron": "0 2 * * *",
    },
    "whatreach: bulk renewal on Sundays": {
        "func": "integrations.tasks.renew_needing",
        "schedule_type": Schedule.CRON,
        "cron": "0 3 * * 0",
    },
}


def ensure_minutely(name: str, func: str) -> None:
    """Have one schedule row of this name that runs `func` each minute."""
    _ensure(name, {"func": func, "schedule_type": Schedule.MINUTES, "minutes": 1})


def ensure_nightly(name: str, func: str, cron: str) -> None:
    """Have one schedule row of this name that runs `func` at a time of night, as "40 3 * * *"."""
    _ensure(name, {"func": func, "schedule_type": Schedule.CRON, "cron": cron})


def ensure_at_each_look(name: str, func: str) -> None:
    """Have one schedule row of this name that runs `func` whenever the scheduler looks."""
    _ensure(name, {"func": func, "schedule_type": Schedule.CRON, "cron": EACH_LOOK})


def _ensure(name: str, schedule: dict[str, Any]) -> None:
    rows = Schedule.objects.filter(name=name).order_by("pk")
    if not rows.exists():
        _create(name, schedule)
    # Several workers may have found none at the same moment: the first row stays.
    rows.exclude(pk=rows.values_list("pk", flat=True).first()).delete()


def ensure_schedules(plan: Iterable[tuple[Migration, bool]] = (), **_: object) -> None:
    """At each migrate and each start of a worker: the tick. After the very first migrate: the
    regular three too, so that what an operator changes or removes later stays as they left it."""
    ensure_minutely(TICK, "integrations.tasks.scheduled_tick")
    ensure_at_each_look(PULSE, "integrations.pulse.show")
    ensure_nightly(CLEAN_UP, "integrations.tasks.clean_up", "40 3 * * *")
    ensure_minutely(LIFE, "integrations.tasks.watch_life")
    ensure_minutely(KEY_WATCH, "integrations.tasks.watch_keys")
    ensure_nightly(RECONCILE, "integrations.reconcile.nightly", "20 2 * * *")
    if any((m.app_label, m.name) == ("integrations", "0001_initial") for m, _back in plan):
        add_regular()


def add_regular() -> list[str]:
    """Add those of the three that are missing; return their names."""
    present = set(regular().values_list("name", flat=True))
    missing = [name for name in REGULAR if name not in present]
    for name in missing:
        _create(name, REGULAR[name])
    return missing


def remove_regular() -> int:
    deleted, _ = regular().delete()
    return deleted


def regular() -> Any:
    return Schedule.objects.filter(name__in=REGULAR).order_by("name")


def _create(name: str, schedule: dict[str, Any]) -> None:
    next_run = _first_run(schedule, timezone.now())
    Schedule.objects.create(name=name, next_run=next_run, repeats=-1, **schedule)


def _first_run(schedule: dict[str, Any], now: datetime) -> datetime:
    """The next full hour, 02:00, or Sunday 03:00: adding a schedule must not set it off at once."""
    if schedule["schedule_type"] == Schedule.MINUTES or schedule.get("cron") == EACH_LOOK:
        return now
    if schedule["schedule_type"] == Schedule.HOURLY:
        return hour_of(now) + timedelta(hours=1)
    minute, hour, _day, _month, weekday = schedule["cron"].split()
    run = datetime.combine(now.date(), time(int(hour), int(minute)), tzinfo=now.tzinfo)
    # cron counts Sunday as 0, isoweekday as 7
    while run <= now or (weekday != "*" and run.isoweekday() % 7 != int(weekday)):
        run += timedelta(days=1)
    return run
