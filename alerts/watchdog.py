"""Looks whether WhatReach does its work, from outside of the queue; cron or systemd runs it.

It does what the minutely task does, in its own process: looks, tells, and tries again what could
not be told. When the database itself does not answer, who is to be told stands in WATCHDOG_URLS,
and what was told in a small file.
"""

from __future__ import annotations

import json
import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Any

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection

from alerts import delivery, incidents, messages, ping, sending, watch
from alerts.kinds import ABOUT

logger = logging.getLogger(__name__)

# A database that is blocked answers nothing, not even no.
PATIENCE_S = 30
REMIND_EVERY = timedelta(hours=24)


@dataclass
class Report:
    """What stands still, in words; and how many messages were sent. `database`: whether it
    answered within PATIENCE_S seconds."""

    database: bool = True
    standing_still: list[str] = field(default_factory=list)
    told: int = 0

    @property
    def is_fine(self) -> bool:
        return self.database and not self.standing_still


class TooLong(Exception):
    """The database took longer than PATIENCE_S."""


def run(now: datetime) -> Report:
    """Look, and tell those who are to know."""
    try:
        with _at_most(PATIENCE_S):
            report = _look(now)
    except (DatabaseError, InterfaceError, TooLong) as error:
        logger.error("The database does not answer: %s", type(error).__name__)
        report = Report(database=False, standing_still=["The database does not answer"])
    report.told += _tell_of_database(report.database, now)
    if report.database:
        report.told += delivery.deliver_due(now)["sent"]
    if not report.is_fine:
        ping.ping(well=False)
    return report


def _look(now: datetime) -> Report:
    connection.ensure_connection()
    incidents.look(now)
    still = watch.standstill(now)
    return Report(standing_still=[f"{t.subject} {ABOUT[t.kind].title}" for t in still])


def _tell_of_database(answers: bool, now: datetime) -> int:
    """Tell WATCHDOG_URLS once that the database is away, each day that it still is, and when it
    is back; return how many were told."""
    file = Path(settings.WATCHDOG_STATE_FILE)
    state = _read(file)
    since = state.get("since")
    if answers:
        if since is None:
            return 0
        with suppress(OSError):
            file.unlink()
        lasted = messages.span(now - datetime.fromisoformat(since))
        return _tell("The database answers again", f"It did not answer for {lasted}.")
    told_at = state.get("told_at")
    if told_at and now - datetime.fromisoformat(told_at) < REMIND_EVERY:
        return 0
    _write(file, {"since": since or now.isoformat(), "told_at": now.isoformat()})
    text = (
        f"WhatReach's database has not answered since "
        f"{messages.clock(datetime.fromisoformat(since) if since else now)}. "
        "No token is handed out or renewed. Whoever runs WhatReach acts: start the database."
    )
    return _tell("The database does not answer", text)


def _tell(title: str, text: str) -> int:
    message = messages.standstill_message(title, text)
    told = 0
    for url in settings.WATCHDOG_URLS:
        outcome = sending.send_by_apprise(url, message)
        told += not outcome.error
        if outcome.error:
            logger.error("Nobody was told by one of WATCHDOG_URLS: %s", outcome.error)
    return told


def _read(file: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return state


def _write(file: Path, state: dict[str, str]) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(state))
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
