"""How deliveries were answered, counted by hour.

Counted in the memory of each web process and written about once a second by a thread of its own,
so that an answer waits for no counter. A process that is killed loses the last second's counts;
one that ends writes them. What cannot be written is kept and tried again.
"""

from __future__ import annotations

import atexit
import logging
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import Error as DatabaseFault
from django.db import connection
from django.db.models import Case, F, IntegerField, Value, When
from django.utils import timezone

from access.times import hour_of
from webhooks.models import AnswerCount, Outcome

logger = logging.getLogger(__name__)

# As many different counters wait to be written at most: types are the sender's own words.
MOST_WAITING = 500
KEEP = timedelta(days=90)


@dataclass
class _Tally:
    count: int
    total_ms: int
    slowest_ms: int
    last_at: datetime
    last_address: str

    def add(self, other: _Tally) -> None:
        self.count += other.count
        self.total_ms += other.total_ms
        self.slowest_ms = max(self.slowest_ms, other.slowest_ms)
        if other.last_at > self.last_at:
            self.last_at, self.last_address = other.last_at, other.last_address


# (hour, status, outcome, type)
_Key = tuple[datetime, int, str, str]
_lock = threading.Lock()
_waiting: dict[_Key, _Tally] = {}
_timer: threading.Timer | None = None


def count(status: int, outcome: Outcome, kind: str, took_ms: int, address: str) -> None:
    """Count one answer. `kind`: the type of a stored event, else empty."""
    global _timer
    now = timezone.now()
    hour = hour_of(now)
    one = _Tally(1, took_ms, took_ms, now, address)
    with _lock:
        key = (hour, status, outcome.value, kind)
        if key not in _waiting and len(_waiting) >= MOST_WAITING:
            key = (hour, status, outcome.value, "")
        _note(key, one)
        if _timer is None and settings.WEBHOOK_COUNT_EVERY_S:
            _timer = threading.Timer(settings.WEBHOOK_COUNT_EVERY_S, _write_in_a_thread)
            _timer.daemon = True
            _timer.start()


def write() -> None:
    """Write what was counted so far. Errors: a fault of the database; then nothing is forgotten."""
    with _lock:
        taken = dict(_waiting)
        _waiting.clear()
    try:
        _ensure_rows(taken)
        while taken:
            key, tally = next(iter(taken.items()))
            _add_to_row(key, tally)
            del taken[key]
    finally:
        with _lock:
            for key, tally in taken.items():
                _note(key, tally)


def purge(now: datetime) -> int:
    deleted, _by_model = AnswerCount.objects.filter(hour__lt=now - KEEP).delete()
    return deleted


def _note(key: _Key, tally: _Tally) -> None:
    if key in _waiting:
        _waiting[key].add(tally)
    else:
        _waiting[key] = tally


def _ensure_rows(tallies: dict[_Key, _Tally]) -> None:
    rows = [
        AnswerCount(hour=hour, status=status, outcome=outcome, type=kind, last_at=tally.last_at)
        for (hour, status, outcome, kind), tally in tallies.items()
    ]
    AnswerCount.objects.bulk_create(rows, ignore_conflicts=True)


def _add_to_row(key: _Key, tally: _Tally) -> None:
    hour, status, outcome, kind = key
    slower = When(slowest_ms__lt=tally.slowest_ms, then=Value(tally.slowest_ms))
    rows = AnswerCount.objects.filter(hour=hour, outcome=outcome, status=status, type=kind)
    rows.update(
        count=F("count") + tally.count,
        total_ms=F("total_ms") + tally.total_ms,
        slowest_ms=Case(slower, default=F("slowest_ms"), output_field=IntegerField()),
        last_at=tally.last_at,
        last_address=tally.last_address,
    )


def _write_in_a_thread() -> None:
    global _timer
    with _lock:
        _timer = None
    try:
        write()
    except DatabaseFault as error:
        logger.warning("Counts of answers could not be written yet: %s", type(error).__name__)
    finally:
        connection.close()


@atexit.register
def _write_at_the_end() -> None:
    if _waiting and settings.WEBHOOK_COUNT_EVERY_S:
        _write_in_a_thread()
