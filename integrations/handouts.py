"""Who got which token: counted exactly, and what is unusual about it.

count        in the way of each answer; when it fails there is no token
watch        each minute: adds the hour up for each key and raises alerts
holders_of   "who has my token?"
reads_of     "what did this key read?"
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.models import Avg, Count, F, Max, Min, Q, Sum
from django.utils import timezone

from access.models import ApiKey, KeyAlert
from access.times import hour_of
from integrations.errors import ApiError
from integrations.models import GoHighLevelIntegration, HandOut, KeyHour

NOT_COUNTED_RETRY_AFTER_S = 5
SWEEP_WITHIN = timedelta(minutes=10)
# In a small shop a back end that reads all three accounts is nothing unusual.
SWEEP_LEAST = 10
USUAL_OVER = timedelta(days=7)
# So many hours with use must be known before one of them can be unusual, and so many uses be in it.
USUAL_LEAST_HOURS = 12
TEN_TIMES_LEAST = 100
SAME_ALERT_AFTER = timedelta(days=1)


def count(
    key: ApiKey, install_id: uuid.UUID, address: str | None, *, passed_on: bool = False
) -> None:
    """Count one token handed out, or (`passed_on`) one call that is passed on with it.

    Call it last before the answer, outside of any transaction: it is committed when it returns.
    Errors: ApiError 503, and then nobody may get the token.
    """
    now = timezone.now()
    column = "calls" if passed_on else "tokens"
    hour = hour_of(now)
    this_hour = HandOut.objects.filter(integration_id=install_id, key=key, hour=hour)
    one_more = {column: F(column) + 1, "last_at": now, "last_address": address}
    try:
        if this_hour.update(**one_more):
            return
        try:
            with transaction.atomic():
                HandOut.objects.create(
                    integration_id=install_id,
                    key=key,
                    hour=hour,
                    first_at=now,
                    first_address=address,
                    last_at=now,
                    last_address=address,
                    **{column: 1},
                )
        except IntegrityError:  # another call began the hour at the same moment
            if not this_hour.update(**one_more):
                raise
    except DatabaseError:
        raise ApiError(
            "hand_out_not_recorded", 503, retry_after_s=NOT_COUNTED_RETRY_AFTER_S
        ) from None


# --- Looking ---


@dataclass(frozen=True)
class Reads:
    """What one key had of one install. `other`: the key, or the install."""

    other: Any
    tokens: int
    calls: int
    first_at: datetime
    last_at: datetime
    addresses: tuple[str, ...]


def holders_of(install_id: uuid.UUID, since: datetime) -> list[Reads]:
    """The keys that had this install's token, the latest first. Two queries."""
    rows = HandOut.objects.filter(integration_id=install_id, hour__gte=hour_of(since))
    return _reads(rows, "key_id", ApiKey.objects.all())


def reads_of(key: ApiKey, since: datetime, installs: Any, *, most: int) -> list[Reads]:
    """The installs that this key read, the latest first; those of the queryset `installs` alone.
    Two queries."""
    rows = HandOut.objects.filter(key=key, hour__gte=hour_of(since))
    return _reads(rows, "integration_id", installs, most=most)


def _reads(rows: Any, by: str, others: Any, *, most: int = 100) -> list[Reads]:
    grouped = list(
        rows.filter(**{f"{by}__in": others.values("pk")})
        .values(by)
        .annotate(
            token_sum=Sum("tokens"),
            call_sum=Sum("calls"),
            first=Min("first_at"),
            last=Max("last_at"),
            an_address=Min("last_address"),
            another=Max("last_address"),
        )
        .order_by("-last")[:most]
    )
    known = others.in_bulk([row[by] for row in grouped])
    return [
        Reads(
            other=known[row[by]],
            tokens=row["token_sum"],
            calls=row["call_sum"],
            first_at=row["first"],
            last_at=row["last"],
            addresses=tuple(dict.fromkeys(filter(None, (row["an_address"], row["another"])))),
        )
        for row in grouped
        if row[by] in known
    ]


# --- Watching ---


def watch(now: datetime) -> int:
    """Add up this hour (and the one before, which may just have ended) for each key, and alert
    on what is unusual. Return how many alerts were new. The queries do not grow with the keys."""
    hours = [hour_of(now - timedelta(hours=1)), hour_of(now)]
    added_up = (
        HandOut.objects.filter(hour__in=hours)
        .values("key_id", "hour")
        .annotate(uses=Sum(F("tokens") + F("calls")), installs=Count("pk"))
        .order_by()
    )
    latest = [KeyHour(**row) for row in added_up]
    KeyHour.objects.bulk_create(
        latest,
        update_conflicts=True,
        update_fields=["uses", "installs"],
        **_unique_fields(["key", "hour"]),
    )
    current = [row for row in latest if row.hour == hours[-1]]
    if not current:
        return 0
    found = [*_ten_times(current), *_sweeps(now)]
    return _alert(found, now)


def _ten_times(current: list[KeyHour]) -> Iterable[tuple[uuid.UUID, str, dict[str, Any]]]:
    busy = {row.key_id: row for row in current if row.uses >= TEN_TIMES_LEAST}
    if not busy:
        return
    hour = current[0].hour
    usual = (
        KeyHour.objects.filter(key_id__in=busy, hour__lt=hour, hour__gte=hour - USUAL_OVER)
        .values("key_id")
        .annotate(hours=Count("pk"), mean=Avg("uses"))
        .filter(hours__gte=USUAL_LEAST_HOURS)
        .order_by()
    )
    for row in usual:
        uses = busy[row["key_id"]].uses
        if uses > 10 * row["mean"]:
            yield row["key_id"], KeyAlert.TEN_TIMES, {"uses": uses, "usual": round(row["mean"])}


def _sweeps(now: datetime) -> Iterable[tuple[uuid.UUID, str, dict[str, Any]]]:
    since = now - SWEEP_WITHIN
    swept = (
        HandOut.objects.filter(hour__gte=hour_of(since), last_at__gte=since)
        .values("key_id")
        .annotate(installs=Count("integration_id", distinct=True))
        .filter(installs__gte=SWEEP_LEAST)
        .order_by()
    )
    found = {row["key_id"]: row["installs"] for row in swept}
    if not found:
        return
    total = GoHighLevelIntegration.objects.renewable().count()
    for key_id, installs in found.items():
        if installs * 2 > total:
            yield key_id, KeyAlert.SWEEP, {"installs": installs, "of": total}


def _alert(found: list[tuple[uuid.UUID, str, dict[str, Any]]], now: datetime) -> int:
    """Store those that are new: not raised within a day, and no sweep that somebody expects."""
    known = set(
        KeyAlert.objects.filter(key_id__in=[key_id for key_id, _kind, _details in found])
        .filter(
            Q(at__gt=now - SAME_ALERT_AFTER) | Q(kind=KeyAlert.SWEEP, accepted_at__isnull=False)
        )
        .values_list("key_id", "kind")
    )
    new = [
        KeyAlert(key_id=key_id, kind=kind, at=now, details=details)
        for key_id, kind, details in found
        if (key_id, kind) not in known
    ]
    KeyAlert.objects.bulk_create(new)
    return len(new)


def _unique_fields(names: list[str]) -> dict[str, Any]:
    """MariaDB finds the conflict by itself, the others want to be told."""
    takes_target = connection.features.supports_update_conflicts_with_target
    return {"unique_fields": names} if takes_target else {}
