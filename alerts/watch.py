"""What is wrong now, from what the database and the disk say. Nothing here changes anything.

Each question is one query over an index, whatever the number of installs: it looks at those that
are in trouble, not at all of them.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.db import connection
from django.db.models import Count, Exists, Min, OuterRef, Q, Sum

from access.models import KeyAlert
from access.times import hour_of
from alerts.kinds import ACCESS, Kind
from alerts.messages import span
from alerts.models import Channel, Incident
from integrations import heartbeat, outage
from integrations.health import OFF, Status
from integrations.models import (
    PASSING_CAUSES,
    GoHighLevelIntegration,
    IntegrationQuerySet,
    Outage,
    RefreshAttempt,
)
from webhooks import meter, rhythm
from webhooks.models import AnswerCount, Endpoint, EventRhythm, GoHighLevelWebhook, Outcome

# Of one kind so many accounts at a time: the rest is found by the next look.
MOST = 5_000
# An ended token that was not tried yet: after a start, and after an outage, the worker needs a
# moment to renew them.
GRACE = timedelta(minutes=5)
# Ended longer ago than this: nothing new.
LOOK_BACK = timedelta(days=30)
OVERDUE = timedelta(minutes=10)
# HighLevel: a refresh token lives one year, or until it is used (OAuth 2.0 guide).
SHORT_RUNWAY = timedelta(days=365 - 30)
# Why an install may go without a renewal for so long and still be alive.
IDLE_CAUSES = (*PASSING_CAUSES, "location_inactive", "rate_limited")
_CREDENTIALS = "our_credentials"
ANSWERS_OF = timedelta(minutes=30)
FEW_LOST, FEW_UNSIGNED = 5, 10


@dataclass(frozen=True)
class Trouble:
    """One thing that is wrong. `since`: None when that is not known."""

    key: str
    kind: Kind
    subject: str
    since: datetime | None = None
    detail: str = ""
    cause: str = ""
    company_id: str = ""
    integration_id: uuid.UUID | None = None


def troubles(now: datetime) -> list[Trouble]:
    """Return what is wrong besides what single installs suffer from."""
    present_outage = outage.current()
    return [
        *standstill(now),
        *_outage(present_outage),
        *_credentials(present_outage),
        *_parked_events(),
        *_answers(now),
        *_endpoints(),
        *_key_uses(),
        *_disk(),
        *_failed_channels(),
    ]


def standstill(now: datetime) -> list[Trouble]:
    """Return which part of WhatReach itself does not do its work."""
    still = heartbeat.standing_still(now)
    subjects = {heartbeat.WORKER: "The worker", heartbeat.SCHEDULER: "The worker's scheduler"}
    found = [
        Trouble(
            name,
            Kind(name),
            subjects[name],
            last,
            detail="" if last else "It has never reported.",
        )
        for name, last in still.items()
    ]
    return found or _renewals(now)


def accounts_in_trouble(now: datetime) -> Iterator[tuple[Kind, list[GoHighLevelIntegration]]]:
    """Yield each kind with the installs that suffer from it and have no open incident of it.

    A token that ends in an outage, or while our credentials are refused, is no incident of its
    install: nothing can be renewed then, and one incident for all says why.
    """
    installs = GoHighLevelIntegration.objects.without_secrets()
    refused = installs.filter(cause__in=("refused", "answer_lost"), status=Status.REFUSED)
    damaged = installs.filter(cause="token_damaged", status=Status.DAMAGED)
    tried_in_vain = Q(failures__gt=0) | Q(expires_at__lte=now - GRACE)
    outage_lately = Outage.objects.filter(Q(is_open=True) | Q(ended_at__gt=now - GRACE))
    expired = installs.filter(
        tried_in_vain,
        ~Exists(outage_lately),
        status=Status.ACTIVE,
        expires_at__lte=now,
        expires_at__gt=now - LOOK_BACK,
    ).exclude(cause=_CREDENTIALS)
    for kind, rows in (
        (Kind.NEEDS_RECONNECT, refused),
        (Kind.DAMAGED, damaged),
        (Kind.EXPIRED, expired),
    ):
        yield kind, list(_without_incident(rows, kind)[:MOST])


def besides_access(now: datetime) -> Iterator[tuple[Kind, list[Trouble], Q]]:
    """Yield each other kind of trouble of installs, with what is new of it, and the condition of
    an incident that goes on."""
    yield Kind.RUNWAY, _runways(now), Q(Exists(_short(now).filter(pk=OuterRef("integration"))))
    silent = EventRhythm.objects.filter(
        account_id=OuterRef("integration__resource_id"), silent_at__lte=now
    )
    yield Kind.SILENCE, _silences(now), Q(Exists(silent)) & ~Q(integration__status__in=OFF)


def is_in_trouble(now: datetime) -> Q:
    """The condition of an access incident that goes on, by what its install is now."""
    return Q(integration__status__in=(Status.REFUSED, Status.DAMAGED)) | Q(
        integration__status=Status.ACTIVE, integration__expires_at__lte=now
    )


def _without_incident(rows: IntegrationQuerySet, kind: Kind) -> IntegrationQuerySet:
    # Worse ones take the place of a better one, never the other way round.
    return _without(ACCESS[ACCESS.index(kind) :], rows).order_by("cause_since", "pk")


def _without(kinds: Sequence[Kind], rows: IntegrationQuerySet) -> IntegrationQuerySet:
    known = Incident.objects.open().filter(integration=OuterRef("pk"), kind__in=kinds)
    return rows.filter(~Exists(known))


def _renewals(now: datetime) -> list[Trouble]:
    overdue = GoHighLevelIntegration.objects.due(now - OVERDUE).values_list("renew_at", flat=True)
    oldest = overdue.first()
    if oldest is None:
        return []
    # In an outage all but one wait, and that one too for a while.
    quiet = OVERDUE + outage.LONGEST_PAUSE if outage.current() else OVERDUE
    outcomes = [outcome for outcome, _ in RefreshAttempt.OUTCOMES]
    lately = RefreshAttempt.objects.filter(outcome__in=outcomes, started_at__gt=now - quiet)
    if lately.exists():
        return []
    return [Trouble("renewals", Kind.RENEWALS, "Renewals", oldest)]


def _outage(present: Outage | None) -> list[Trouble]:
    if present is None or present.cause == _CREDENTIALS:
        return []
    failing = GoHighLevelIntegration.objects.filter(cause__in=PASSING_CAUSES)
    told = failing.aggregate(count=Count("pk"), first_end=Min("expires_at"))
    detail = f"{_accounts(told['count'])} affected."
    if told["first_end"] is not None:
        detail += f" The first token ends at {told['first_end']:%H:%M on %d %B} UTC."
    return [Trouble("outage", Kind.OUTAGE, "HighLevel", present.began_at, detail, present.cause)]


def _credentials(present: Outage | None) -> list[Trouble]:
    """One install is enough to see it; an outage that began with it goes on until it ends."""
    refused = GoHighLevelIntegration.objects.filter(cause=_CREDENTIALS)
    told = refused.aggregate(count=Count("pk"), since=Min("cause_since"))
    if present is not None and present.cause == _CREDENTIALS:
        since = present.began_at
    elif told["count"]:
        since = told["since"]
    else:
        return []
    detail = f"{_accounts(told['count'])} affected."
    return [Trouble("credentials", Kind.CREDENTIALS, "HighLevel", since, detail)]


def _parked_events() -> list[Trouble]:
    parked = GoHighLevelWebhook.objects.filter(status=GoHighLevelWebhook.PARKED)
    told = parked.aggregate(count=Count("pk"), since=Min("processed_at"))
    if not told["count"]:
        return []
    detail = f"{told['count']:,} {'is' if told['count'] == 1 else 'are'} parked."
    return [Trouble("events", Kind.EVENTS_PARKED, "Events", told["since"], detail)]


def _answers(now: datetime) -> list[Trouble]:
    hour = hour_of(now - ANSWERS_OF)
    lately = AnswerCount.objects.filter(hour__gte=hour, last_at__gte=now - ANSWERS_OF)
    counted = dict(lately.values_list("outcome").annotate(n=Sum("count")).order_by())
    good = counted.get(Outcome.STORED, 0) + counted.get(Outcome.DUPLICATE, 0)
    lost, unsigned = counted.get(Outcome.NOT_STORED, 0), counted.get(Outcome.BAD_SIGNATURE, 0)
    if lost >= FEW_LOST and lost * 100 > good:
        detail = f"{lost} of {good + lost} could not be stored lately."
    elif unsigned >= FEW_UNSIGNED and not good:
        detail = f"None of the last {unsigned} had a good signature: has HighLevel's key changed?"
    else:
        detail = _falling_meter(meter.read(now))
    if not detail:
        return []
    return [Trouble("answers", Kind.ANSWERS, "Deliveries of events", None, detail)]


def _falling_meter(told: meter.Meter) -> str:
    if not told.is_falling:
        return ""
    return (
        f"Accepted in {meter.DAYS} days: {told.percentage} % of {told.total:,}. "
        f"HighLevel may pause our events below {meter.PAUSE_BELOW} %."
    )


def _endpoints() -> list[Trouble]:
    off = Endpoint.objects.without_secrets().filter(
        disabled_reason__in=(Endpoint.FAILING, Endpoint.GONE)
    )
    return [
        Trouble(
            f"endpoint:{endpoint.pk}",
            Kind.ENDPOINT,
            f"Endpoint {endpoint.name}",
            endpoint.disabled_at,
            endpoint.get_disabled_reason_display(),
            company_id=endpoint.company_id,
        )
        for endpoint in off
    ]


def _silences(now: datetime) -> list[Trouble]:
    unknown = _without([Kind.SILENCE], GoHighLevelIntegration.objects.all())
    return [
        Trouble(
            f"silence:{silence.install.pk}",
            Kind.SILENCE,
            str(silence.install),
            silence.last_at,
            f"Usually one comes every {span(timedelta(seconds=silence.usual_s))}.",
            company_id=silence.install.company_id,
            integration_id=silence.install.pk,
        )
        for silence in rhythm.silent(now, among=unknown, most=MOST)
    ]


def _runways(now: datetime) -> list[Trouble]:
    short = _without([Kind.RUNWAY], _short(now)).without_secrets()
    return [
        Trouble(
            f"runway:{row.pk}",
            Kind.RUNWAY,
            str(row),
            row.renewed_at + SHORT_RUNWAY if row.renewed_at else None,
            company_id=row.company_id,
            integration_id=row.pk,
        )
        for row in short.order_by("renewed_at", "pk")[:MOST]
    ]


def _short(now: datetime) -> IntegrationQuerySet:
    return GoHighLevelIntegration.objects.filter(
        cause__in=IDLE_CAUSES,
        status__in=(Status.ACTIVE, Status.PAUSED),
        renewed_at__lte=now - SHORT_RUNWAY,
    )


def _key_uses() -> list[Trouble]:
    unusual = KeyAlert.objects.filter(accepted_at=None).select_related("key").order_by("-at")
    return [
        Trouble(
            f"key-use:{alert.pk}",
            Kind.KEY_USE,
            f"API key {alert.key.name}",
            alert.at,
            f"{alert.get_kind_display()}.",
        )
        for alert in unusual[:MOST]
    ]


def _disk() -> list[Trouble]:
    folder = settings.BASE_DIR
    if connection.vendor == "sqlite":
        folder = Path(str(connection.settings_dict["NAME"])).parent
    free_mb = shutil.disk_usage(folder).free // 1_000_000
    if free_mb >= settings.ALERTS_DISK_FREE_MB:
        return []
    what = "The disk of the database" if connection.vendor == "sqlite" else "The disk"
    return [Trouble("disk", Kind.DISK, what, None, f"{free_mb} MB are free.")]


def _failed_channels() -> list[Trouble]:
    failed = Channel.objects.filter(disabled_why=Channel.FAILED)
    return [
        Trouble(
            channel_key(channel),
            Kind.CHANNEL,
            f"Channel {channel.name}",
            channel.failing_since,
            channel.last_error,
        )
        for channel in failed
    ]


def channel_key(channel: Channel) -> str:
    """It names the owner too, whose other channels are told."""
    return f"channel:{channel.pk}:{channel.owner_id or ''}"


def _accounts(n: int) -> str:
    return "1 account is" if n == 1 else f"{n:,} accounts are"
