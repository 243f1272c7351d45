"""Looks whether WhatReach does its work, from outside of the queue; cron or systemd runs it.

It does what the minutely task does, in its own process: looks, tells, and tries again what could
not be told. When the database itself does not answer, who is to be told stands in WATCHDOG_URLS,
and what was told in a small file. A full one can still be read, so its channels are told as well.
"""

from __future__ import annotations

import json
import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from django.conf import settings
from django.db import Error as DatabaseFault

from alerts import delivery, incidents, messages, ping, sending, watch
from alerts.kinds import ABOUT, Kind
from alerts.models import Channel, Incident
from integrations import database_faults, heartbeat
from integrations.database_faults import AWAY, FULL

logger = logging.getLogger(__name__)

# A database that is blocked answers nothing, not even no.
PATIENCE_S = 30
# What a database needs at most that answers at all.
ANSWER_S = 5
REMIND_EVERY = timedelta(hours=24)
# The database answers, and yet the look ends with a fault. An upgrade takes no longer.
FAILS = "the look does not work"
_PASSES_WITHIN = timedelta(minutes=10)
_STATE_BYTES = 2000


@dataclass
class Report:
    """What stands still, in words; and how many messages were sent. `database`: whether it
    answered within PATIENCE_S seconds, and takes what is written."""

    database: bool = True
    standing_still: list[str] = field(default_factory=list)
    told: int = 0

    @property
    def is_fine(self) -> bool:
        return self.database and not self.standing_still


class TooLong(Exception):
    """The database took longer than it may."""


def run(now: datetime) -> Report:
    """Look, and tell those who are to know."""
    try:
        with _at_most(PATIENCE_S):
            report = _look(now)
    except (DatabaseFault, TooLong) as error:
        return _without_a_look(error, now)
    report.told += _tell_of_database("", now) + delivery.deliver_due(now)["sent"]
    if not report.is_fine:
        ping.ping(well=False)
    return report


def _without_a_look(error: Exception, now: datetime) -> Report:
    """Tell of the database if it is to blame. Else the next look may work: new code, for example,
    looks before `migrate` has run. That is told when it lasts."""
    fault = _what_ails_the_database(error) or FAILS
    why = f"{fault.capitalize()} ({type(error).__name__})"
    logger.error(why)
    told = _tell_of_database(fault, now)
    if fault == FAILS:
        return Report(standing_still=[f"{why}: is a migrate due?"], told=told)
    ping.ping(well=False)
    return Report(database=False, standing_still=[fault.capitalize()], told=told)


def _what_ails_the_database(error: Exception) -> str:
    try:
        with _at_most(ANSWER_S):
            return database_faults.find_out(error)
    except TooLong:
        return AWAY


def _look(now: datetime) -> Report:
    database_faults.try_to_write()
    heartbeat.beat(heartbeat.WATCHDOG)
    incidents.look(now)
    still = watch.standstill(now)
    return Report(standing_still=[f"{t.subject} {ABOUT[t.kind].title}" for t in still])


@dataclass(frozen=True)
class _Words:
    """`text` takes since when, `over` how long."""

    text: str
    recovered: str
    over: str


_WORDS = {
    AWAY: _Words(
        "WhatReach's database has not answered since {}. No token is handed out or renewed. "
        "Whoever runs WhatReach acts: start the database.",
        "The database answers again",
        "It did not answer for {}.",
    ),
    FULL: _Words(
        "WhatReach's database has been full since {}. A renewed token cannot be stored, so none is "
        "renewed. Whoever runs WhatReach acts: make room on the database's disk.",
        "The database has room again",
        "It was full for {}.",
    ),
    FAILS: _Words(
        "WhatReach has not been able to look at itself since {}, so it makes no alerts. Whoever "
        "runs WhatReach acts: python manage.py doctor says more.",
        "WhatReach looks at itself again",
        "It could not for {}.",
    ),
}


def _tell_of_database(fault: str, now: datetime) -> int:
    """Tell once what the database suffers from, each day that it still does, and when it is over;
    whom that did not reach, at the next look again, for a day. Return how many were told. `fault`:
    AWAY, FULL, FAILS, or empty."""
    file = Path(settings.WATCHDOG_STATE_FILE)
    before = _read(file)
    state = _follow(before, fault, now)
    if state.get("left"):
        return _tell(file, state)
    if state != before or not file.exists():
        _write(file, state)
    return 0


def _follow(state: dict[str, Any], fault: str, now: datetime) -> dict[str, Any]:
    """Return what the file is to say: the fault, since when, when it is over, when it is to be told
    (again), and who is left to be told."""
    known = "" if "over_at" in state else state.get("fault", "")
    if fault == FAILS and known in (AWAY, FULL):
        return state  # whether that is over, a look says that works
    if fault and fault != known:
        tell_at = now + (_PASSES_WITHIN if fault == FAILS else timedelta())
        state = {"fault": fault, "since": now.isoformat(), "tell_at": tell_at.isoformat()}
    elif known and not fault:
        if "left" not in state:  # nobody has heard of it
            return {}
        over = {"over_at": now.isoformat(), "tell_at": now.isoformat()}
        state = {"fault": known, "since": state["since"], **over}
    if not state or now < datetime.fromisoformat(state["tell_at"]):
        return state
    if "over_at" in state and "left" in state:  # tried for a day
        return {}
    again = (now + REMIND_EVERY).isoformat()
    return state | {"tell_at": again, "left": list(_recipients(state["fault"]))}


def _tell(file: Path, state: dict[str, Any]) -> int:
    """Tell those who are left, and note who is left then."""
    tell = _recipients(state["fault"])
    asked = [name for name in state["left"] if name in tell]
    _write(file, state)  # for the case that this process is killed
    message = _message(state)
    outcomes = {name: tell[name](message) for name in asked}
    for outcome in outcomes.values():
        if outcome.error:
            logger.error("Somebody was not told: %s", outcome.error)
    left = [name for name in asked if outcomes[name].error]
    _write(file, {} if "over_at" in state and not left else state | {"left": left})
    return len(asked) - len(left)


def _message(state: dict[str, Any]) -> messages.Message:
    fault, since = state["fault"], datetime.fromisoformat(state["since"])
    words = _WORDS[fault]
    if "over_at" not in state:
        text = words.text.format(messages.clock(since))
        return messages.standstill_message(fault.capitalize(), text)
    lasted = messages.span(datetime.fromisoformat(state["over_at"]) - since)
    return messages.standstill_message(words.recovered, words.over.format(lasted))


def _recipients(fault: str) -> dict[str, Callable[[messages.Message], sending.Outcome]]:
    """Return what tells each of them, by a name that the file may hold: an address is secret."""
    tell: dict[str, Callable[[messages.Message], sending.Outcome]] = {
        f"url {number}": partial(sending.send_by_apprise, url)
        for number, url in enumerate(settings.WATCHDOG_URLS)
    }
    if fault == FULL:
        tell |= {str(channel.pk): partial(sending.send, channel) for channel in _channels()}
    return tell


def _channels() -> list[Channel]:
    """Those that want to know of a full disk; none when it gets worse and nothing can be read."""
    about = Incident(kind=Kind.DISK)
    with suppress(DatabaseFault):
        return [c for c in Channel.objects.working().select_related("owner") if c.wants(about)]
    return []


def _read(file: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return state if "tell_at" in state else {}


def _write(file: Path, state: dict[str, Any]) -> None:
    """Over what is there, in the same length: a full disk takes that, and nothing new."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("r+" if file.exists() else "w") as there:
            there.write(json.dumps(state).ljust(_STATE_BYTES))
    except OSError as error:  # then it is told each time
        logger.error("%s cannot be written: %s", file, error.strerror)


@contextmanager
def _at_most(seconds: int) -> Iterator[None]:
    """Raise TooLong within, after so many seconds."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
