"""When an install is renewed next. Pure but for the dice."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

from integrations.health import Status

# The schedule is looked at about every 30 s, and rings each minute.
TICK_COMES_WITHIN = timedelta(seconds=120)
BACKOFF_FIRST, BACKOFF_LONGEST = timedelta(seconds=30), timedelta(hours=1)
RECONNECT_EVERY = timedelta(hours=1)
PAUSE_PROBES = timedelta(hours=1), timedelta(hours=4), timedelta(days=1)


def next_renewal(
    now: datetime, expires_at: datetime, *, margin: timedelta, jitter: timedelta
) -> datetime:
    """When a token that was just stored is renewed: before the margin, spread by the jitter, with
    enough of it left for the tick to come round before the margin begins.

    Never in the first half of its life, so that short-lived tokens are not renewed on and on.
    """
    least = min(TICK_COMES_WITHIN, jitter)
    spread = least + random.random() * (jitter - least)  # noqa: S311
    return max(expires_at - margin - spread, now + (expires_at - now) / 2)


def next_check(now: datetime, every: timedelta) -> datetime | None:
    """When HighLevel is asked next whether a token works, give or take a fifth; None: never."""
    if not every:
        return None
    return now + every * random.uniform(0.8, 1.2)  # noqa: S311


def next_try(
    now: datetime,
    verdict: Status | None,
    failures: int,
    *,
    asked_for_s: float = 0,
    reconnect: bool = False,
) -> datetime | None:
    """When to try again after so many failures in a row; None where only a person can help.

    `verdict`: what HighLevel's clear answer made of the install; None after a passing fault.
    `asked_for_s`: the wait that HighLevel asked for, in seconds. `reconnect`: its reconnect call
    is switched on.
    """
    if verdict in (Status.REFUSED, Status.DAMAGED):
        return now + RECONNECT_EVERY if reconnect else None
    if verdict == Status.PAUSED:
        return now + PAUSE_PROBES[min(failures, len(PAUSE_PROBES)) - 1]
    return now + max(_backoff(failures), timedelta(seconds=asked_for_s))


def _backoff(failures: int) -> timedelta:
    """30 s doubling to 1 h, give or take 20 %."""
    pause = min(BACKOFF_FIRST * 2 ** min(failures - 1, 10), BACKOFF_LONGEST)
    return pause * random.uniform(0.8, 1.2)  # noqa: S311
