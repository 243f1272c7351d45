"""The journal: renewals, written before HighLevel is called and ended with what came of it, and
what an install's status and cause were before they changed."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import connection, transaction
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone

from integrations.highlevel import HighLevelError, Refused
from integrations.models import (
    GoHighLevelIntegration,
    IntegrationQuerySet,
    RefreshAttempt,
    StateChange,
)

_END_OF_SUCCESS = ("outcome", "cause", "trace_id", "ended_at")


class LeaseLost(Exception):
    """Too little of the lease is left to begin a call; another one may soon claim the row."""


def begin(
    attempt: RefreshAttempt, *, lease_id: uuid.UUID, needs_s: float, sent_at: datetime | None
) -> None:
    """Commit what is about to be done, while at least `needs_s` seconds of the lease are left.

    `sent_at`: since when the refresh token is on its way to HighLevel, with no answer known.
    Errors: LeaseLost.
    """
    mine = GoHighLevelIntegration.objects.filter(
        pk=attempt.integration_id,
        lease_id=lease_id,
        lease_until__gt=Now() + timedelta(seconds=needs_s),
    )
    with transaction.atomic():
        if not mine.update(sent_at=sent_at):
            raise LeaseLost
        attempt.save(force_insert=True)


def renewed(attempt: RefreshAttempt, trace_id: str) -> None:
    mark_renewed(attempt, trace_id)
    save_renewed([attempt])


def mark_renewed(attempt: RefreshAttempt, trace_id: str) -> None:
    attempt.outcome, attempt.trace_id = RefreshAttempt.RENEWED, trace_id
    attempt.ended_at = timezone.now()


def save_renewed(attempts: Sequence[RefreshAttempt]) -> None:
    """Write the ends of those marked as renewed.

    By the database's driver: a bulk_update() took a quarter of the CPU of a renewal.
    """
    if not attempts:
        return
    meta, quote = RefreshAttempt._meta, connection.ops.quote_name
    by_name = {field.name: field for field in meta.concrete_fields}
    fields = [by_name[name] for name in (*_END_OF_SUCCESS, "id")]
    *columns, key = (f"{quote(str(field.column))} = %s" for field in fields)
    sql = f"UPDATE {quote(meta.db_table)} SET {', '.join(columns)} WHERE {key}"  # noqa: S608
    with connection.cursor() as cursor:
        cursor.executemany(
            sql,
            [
                [
                    field.get_db_prep_save(getattr(attempt, field.name), connection)
                    for field in fields
                ]
                for attempt in attempts
            ],
        )


def end(attempt: RefreshAttempt, error: HighLevelError) -> None:
    refused = isinstance(error, Refused)
    attempt.outcome = RefreshAttempt.REFUSED if refused else RefreshAttempt.FAILED
    attempt.cause = error.cause
    attempt.http_status = error.http_status
    attempt.trace_id = error.trace_id
    attempt.detail = error.detail
    attempt.ended_at = timezone.now()
    attempt.save()


def close_cut_off(lease: timedelta) -> int:
    """End the entries of those who died at work, whose lease is over; return how many.

    Where the tokens that were to be replaced are replaced, it was done, and only this was not
    written. What became of the others' tokens is the row's matter: the tick finds it due.
    """
    now = timezone.now()
    open_ones = RefreshAttempt.objects.filter(
        outcome=RefreshAttempt.RUNNING, started_at__lt=now - lease
    )
    done = Q(
        integration__generation=F("generation") + 1, integration__renewed_at__gte=F("started_at")
    )
    renewed = list(open_ones.filter(done).values_list("pk", flat=True))
    if renewed:
        RefreshAttempt.objects.filter(pk__in=renewed).update(
            outcome=RefreshAttempt.RENEWED, ended_at=now
        )
    return open_ones.update(outcome=RefreshAttempt.CUT_OFF, ended_at=now)


class Condition(NamedTuple):
    """An install's status and cause."""

    status: str
    cause: str


UNKNOWN = Condition("", "")  # before there was such an install


def conditions(rows: IntegrationQuerySet) -> dict[uuid.UUID, Condition]:
    """Return the condition of each, and keep others from changing it until the transaction ends."""
    known = rows.order_by().select_for_update().values_list("pk", "status", "cause")
    return {pk: Condition(status, cause) for pk, status, cause in known}


def note_change(
    before: Mapping[uuid.UUID, Condition],
    *,
    status: str,
    cause: str = "",
    trigger: str,
    caller: str = "",
) -> None:
    """Write down that these installs now have this status and cause; those that had them before
    are left out. Call it in the transaction that changes them.

    `before`: the condition of each install until now, UNKNOWN for a new one.
    """
    now = timezone.now()
    after = Condition(status, cause)
    StateChange.objects.bulk_create(
        [
            StateChange(
                integration_id=pk,
                at=now,
                status_before=was.status,
                status=after.status,
                cause_before=was.cause,
                cause=after.cause,
                trigger=trigger,
                caller=caller,
            )
            for pk, was in before.items()
            if was != after
        ],
        batch_size=1000,
    )
