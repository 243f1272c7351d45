"""The states of installs in SQL: for counting, filtering and sorting.

`health.state_of` says which state an install is in; here the same is worked out by the database,
row by row. That is too much for a million rows when a few are wanted. So each install is also in
one of three parts that indexes find: the unwell, the well and the ended. Most are well, and of
these nobody needs to know more. A test holds all this and `state_of` together.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import (
    BooleanField,
    Case,
    ExpressionWrapper,
    IntegerField,
    Q,
    TextField,
    Value,
    When,
)

from integrations import health
from integrations.health import OFF, REQUEST_SHOWN_FOR, State, Status

FEW = 0.001


def state_expression(now: datetime) -> Case:
    """`health.state_of` in SQL."""
    return _by_state(now, {state: state.value for state in State}, TextField())


def severity_expression(now: datetime) -> Case:
    """0 for the worst state, growing to the best."""
    return _by_state(now, {s: n for n, s in enumerate(health.WORST_FIRST)}, IntegerField())


class Expected(ExpressionWrapper):
    """A condition, and the `share` of all rows that SQLite is told to expect to meet it. The other
    databases know how many rows have which value; SQLite takes all values for equally frequent,
    and would read all rows for the few that are not active, or sort all by name that are well. So
    the share says which index is to find the rows: that of the condition with the smallest."""

    def __init__(self, share: float, **condition: Any) -> None:
        super().__init__(Q(**condition), BooleanField())
        self.share = share

    def as_sqlite(self, compiler: Any, connection: Any) -> tuple[str, Any]:
        sql, params = self.as_sql(compiler, connection)
        return f"likelihood({sql}, {self.share})", params


def refreshing(now: datetime) -> Q:
    return Q(lease_until__gt=now) | Q(requested_at__gt=now - REQUEST_SHOWN_FOR)


def near_end(now: datetime) -> Q:
    """Those that should work and whose token has ended, ends soon, or was never there."""
    # Each with its status: SQLite finds both by an index so, whatever statistics it has.
    ends = Q(Expected(FEW, expires_at__lte=now + settings.REFRESH_MARGIN), status=Status.ACTIVE)
    return ends | Q(Expected(FEW, expires_at=None), status=Status.ACTIVE)


def unwell(now: datetime) -> Q:
    """Neither well nor ended: those that show another state than "healthy" or "uninstalled", and
    those of them that are being renewed."""
    # A range, which SQLite finds by an index; "active" is the first of all by alphabet.
    not_working = Q(Expected(FEW, status__gt=Status.ACTIVE)) & ~ended()
    failing = Q(Expected(FEW, failures__gt=0), status=Status.ACTIVE)
    return not_working | near_end(now) | failing


def well(now: datetime) -> Q:
    """Healthy, or being renewed without need."""
    lasts = Q(expires_at__gt=now + settings.REFRESH_MARGIN)
    # The index that has them by name, unless an agency's finds fewer.
    return lasts & Q(Expected(0.05, failures=0), status=Status.ACTIVE)


def ended() -> Q:
    return Q(Expected(FEW, status__in=OFF))


def _by_state(now: datetime, values: Mapping[State, Any], kind: models.Field[Any, Any]) -> Case:
    expired = Q(expires_at=None) | Q(expires_at__lte=now)
    return Case(
        When(status__in=OFF, then=Value(values[State.UNINSTALLED])),
        When(refreshing(now), then=Value(values[State.REFRESHING])),
        When(status=Status.WAITING, then=Value(values[State.WAITING])),
        When(status=Status.PAUSED, then=Value(values[State.PAUSED])),
        When(status=Status.REFUSED, then=Value(values[State.NEEDS_RECONNECT])),
        When(status=Status.DAMAGED, then=Value(values[State.DAMAGED])),
        When(expired, then=Value(values[State.EXPIRED])),
        When(expires_at__lte=now + settings.REFRESH_MARGIN, then=Value(values[State.EXPIRING])),
        When(failures__gt=0, then=Value(values[State.RETRYING])),
        default=Value(values[State.HEALTHY]),
        output_field=kind,
    )
