"""Health of one install, from plain facts and a point in time.

Pure: no database, no HTTP, no settings. `states.py` says the same in SQL; a test holds the
two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

# A click whose renewal has not begun after this long is no longer shown as "Refreshing": the
# worker is not there, and the page must not promise what does not happen.
REQUEST_SHOWN_FOR = timedelta(seconds=90)


class Status(StrEnum):
    """What we last learned about an install. It changes by events, never by the clock."""

    ACTIVE = "active"
    WAITING = "waiting"
    PAUSED = "paused"
    REFUSED = "refused"
    DAMAGED = "damaged"
    UNINSTALLED = "uninstalled"
    DEACTIVATED = "deactivated"


OFF = (Status.UNINSTALLED, Status.DEACTIVATED)


class State(StrEnum):
    HEALTHY = "healthy"
    REFRESHING = "refreshing"
    RETRYING = "retrying"
    EXPIRING = "expiring"
    EXPIRED = "expired"
    NEEDS_RECONNECT = "needs_reconnect"
    PAUSED = "paused"
    WAITING = "waiting"
    UNINSTALLED = "uninstalled"
    DAMAGED = "damaged"


# From worst to best: a group shows its worst member, lists begin with what needs somebody.
WORST_FIRST = [
    State.NEEDS_RECONNECT,
    State.DAMAGED,
    State.EXPIRED,
    State.EXPIRING,
    State.RETRYING,
    State.REFRESHING,
    State.WAITING,
    State.PAUSED,
    State.HEALTHY,
    State.UNINSTALLED,
]

_STATE_OF_STATUS = {
    Status.WAITING: State.WAITING,
    Status.PAUSED: State.PAUSED,
    Status.REFUSED: State.NEEDS_RECONNECT,
    Status.DAMAGED: State.DAMAGED,
}


@dataclass(frozen=True)
class Facts:
    """What the state depends on. Times are aware UTC; None where there is none."""

    status: Status
    expires_at: datetime | None = None
    failures: int = 0
    lease_until: datetime | None = None
    requested_at: datetime | None = None


def state_of(facts: Facts, now: datetime, margin: timedelta) -> State:
    """Return the state of an install. `margin`: a token needs renewal this long before its end."""
    if facts.status in OFF:
        return State.UNINSTALLED
    if is_refreshing(facts, now):
        return State.REFRESHING
    if facts.status != Status.ACTIVE:
        return _STATE_OF_STATUS[facts.status]
    if is_expired(facts.expires_at, now):
        return State.EXPIRED
    if needs_refresh(facts.expires_at, now, margin):
        return State.EXPIRING
    return State.RETRYING if facts.failures else State.HEALTHY


def is_refreshing(facts: Facts, now: datetime) -> bool:
    claimed = facts.lease_until is not None and facts.lease_until > now
    asked = facts.requested_at is not None and facts.requested_at > now - REQUEST_SHOWN_FOR
    return claimed or asked


def is_expired(expires_at: datetime | None, now: datetime) -> bool:
    return expires_at is None or expires_at <= now


def needs_refresh(expires_at: datetime | None, now: datetime, margin: timedelta) -> bool:
    return expires_at is None or expires_at <= now + margin
