"""How many calls a minute: by an API key, and by an address that sends keys which open nothing.

The counters are rows, so that all processes and hosts share them. A process takes the calls of a
busy key a few at a time and hands them out by itself: one write for up to 20 calls. So no more
than the limit is ever let through; the last few of a minute may stay untaken in some process.
"""

from __future__ import annotations

import threading
import time
import uuid

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import BigIntegerField, Case, F, IntegerField, Q, When
from django.utils import timezone

from access.models import CallWindow

MOST_AT_ONCE = 20
KEEP_MINUTES = 60


class _Taken:
    """Calls that this process has taken of a key's present minute, or that there are no more."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._left: dict[uuid.UUID, tuple[int, int]] = {}

    def use_one(self, key_id: uuid.UUID, minute: int) -> bool | None:
        """True: there was one; False: there are no more this minute; None: not known."""
        taken_in, left = self._left.get(key_id, (0, 0))
        if taken_in != minute:
            return None
        if left > 0:
            self._left[key_id] = minute, left - 1
            return True
        return False if left < 0 else None

    def put(self, key_id: uuid.UUID, minute: int, more: int) -> None:
        """Add calls of this minute; -1: there are no more. Threads may take some at once."""
        if len(self._left) > 10_000:
            self._left.clear()
        taken_in, left = self._left.get(key_id, (0, 0))
        if taken_in == minute and left > 0:
            more = left + max(more, 0)
        self._left[key_id] = minute, more


_taken = _Taken()


def wait_of_key(key_id: uuid.UUID) -> int | None:
    """Count one call of the key; return the seconds to wait when it has had its share."""
    limit = settings.API_RATE_PER_MINUTE
    if not limit:
        return None
    now = timezone.now().timestamp()
    minute = int(now // 60)
    with _taken.lock:
        allowed = _taken.use_one(key_id, minute)
    if allowed is None:
        allowed = _take(key_id, minute, limit)
    return None if allowed else _until_next(now)


def wait_of_address(address: str | None) -> int | None:
    """Count one key that opened nothing; return the seconds to wait when there were too many."""
    limit = settings.API_FAILED_KEYS_PER_MINUTE
    if not limit:
        return None
    now = timezone.now().timestamp()
    allowed = _count(f"address:{address or ''}", int(now // 60), 1, limit)
    return None if allowed else _until_next(now)


def forget_old() -> int:
    """Drop the counters of addresses and keys that were quiet for an hour."""
    oldest = int(time.time() // 60) - KEEP_MINUTES
    deleted, _ = CallWindow.objects.filter(minute__lt=oldest).delete()
    return deleted


def _take(key_id: uuid.UUID, minute: int, limit: int) -> bool:
    several = max(1, min(MOST_AT_ONCE, limit // 50))
    # Near the limit one by one, so that it is reached.
    for count in sorted({several, 1}, reverse=True):
        if _count(f"key:{key_id}", minute, count, limit):
            with _taken.lock:
                _taken.put(key_id, minute, count - 1)
            return True
    with _taken.lock:
        _taken.put(key_id, minute, -1)
    return False


def _count(name: str, minute: int, count: int, limit: int) -> bool:
    """Add to the name's counter of this minute if the limit leaves room; whether it did."""
    if _add(name, minute, count, limit):
        return True
    if CallWindow.objects.filter(pk=name).exists():
        return False
    try:
        with transaction.atomic():
            CallWindow.objects.create(name=name, minute=minute, taken=count)
    except IntegrityError:  # another process made the row at the same moment
        return _add(name, minute, count, limit)
    return True


def _add(name: str, minute: int, count: int, limit: int) -> bool:
    """A host whose clock is behind counts in the newer minute, and does not begin its own."""
    is_over = Q(minute__lt=minute)
    rows = CallWindow.objects.filter(pk=name).filter(is_over | Q(taken__lte=limit - count))
    # In this order: MariaDB shows the new value of a column to the ones after it.
    changed = rows.update(
        taken=Case(
            When(is_over, then=count), default=F("taken") + count, output_field=IntegerField()
        ),
        minute=Case(
            When(is_over, then=minute), default=F("minute"), output_field=BigIntegerField()
        ),
    )
    return bool(changed)


def _until_next(now: float) -> int:
    return 60 - int(now % 60)
