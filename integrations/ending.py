"""How installs end: by an event, by staff here or at HighLevel, for a while, or for good.

An ended install keeps its row: its tokens stay encrypted for UNINSTALLED_KEEP_DAYS, served to
nobody, and are then erased. Only `forget` deletes the row.
"""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone
from django_q.tasks import async_task

from integrations.health import OFF, Status
from integrations.highlevel import HighLevel
from integrations.install import begin_again, of_account, of_agency, waits_for
from integrations.journal import conditions, note_change
from integrations.models import COMPANY, LOCATION, GoHighLevelIntegration, IntegrationQuerySet
from integrations.refresh import call_with_token

# What HighLevel shows as the reason of an uninstall that came from here.
REASON = "Disconnected by the agency's staff in WhatReach."
# Why an install is uninstalled; models.Meta has the index that finds them by it.
CAUSES_OF_END = (
    "uninstalled",
    "agency_uninstalled",
    "disconnected",
    "ended_here",
    "not_listed",
)
CLOCKS_AGREE_WITHIN = timedelta(minutes=5)
_BATCH = 500


def note_uninstalled(
    *, company_id: str, location_id: str, occurred_at: datetime, by_agency: bool = False
) -> str:
    """Apply an UNINSTALL event; an agency's ends its sub-accounts too. Return what it did.

    One that is older than the present install is of an earlier one, and does not end this one; but
    tokens that we got before it ended with it.
    """
    known = GoHighLevelIntegration.objects.filter(of_account(company_id, location_id))
    rows = known.exclude(status=Status.UNINSTALLED)
    cause = "agency_uninstalled" if by_agency or not location_id else "uninstalled"
    with transaction.atomic():
        older = rows.filter(Q(installed_at=None) | Q(installed_at__lte=occurred_at))
        ended = end(older, Status.UNINSTALLED, cause, since=occurred_at, trigger="event")
        newer = list(rows.filter(installed_at__gt=occurred_at).without_secrets())
        for row in newer:
            _doubt_older_tokens(row, occurred_at)
    if ended:
        return f"{ended} ended" + (f", {len(newer)} installed since" if newer else "")
    if newer:
        return f"ignored: older than the install of {_clock(newer, occurred_at)}"
    return "had ended already" if known.exists() else "not connected here"


def _doubt_older_tokens(row: GoHighLevelIntegration, occurred_at: datetime) -> None:
    """Have tokens from before an UNINSTALL replaced; those that only a clock's fault may make look
    older are tried first."""
    if row.expires_at is None or row.renewed_at is None or row.renewed_at >= occurred_at:
        return
    if row.renewed_at < occurred_at - CLOCKS_AGREE_WITHIN:
        begin_again(row, row.installed_at or occurred_at, trigger="event")
    else:
        same = GoHighLevelIntegration.objects.filter(pk=row.pk, generation=row.generation)
        same.update(renew_at=timezone.now())


def end(
    rows: IntegrationQuerySet,
    status: Status,
    cause: str,
    *,
    since: datetime,
    trigger: str,
    caller: str = "",
) -> int:
    """Stop everything for these installs; return how many there were. The tokens stay."""
    with transaction.atomic():
        before = conditions(rows)
        ended: int = GoHighLevelIntegration.objects.filter(pk__in=before).update(
            status=status,
            cause=cause,
            cause_since=since,
            renew_at=None,
            finish_at=None,
            requested_at=None,
            lease_id=None,
            lease_until=None,
            # A renewal in flight must not bring it back to life.
            generation=F("generation") + 1,
        )
        note_change(before, status=status, cause=cause, trigger=trigger, caller=caller)
    return ended


# --- Switched off and on by staff ---


def deactivate(rows: IntegrationQuerySet, *, caller: str = "") -> int:
    """Switch installs off here, softly: tokens stay, nothing is renewed or handed out."""
    return end(
        rows.renewable(),
        Status.DEACTIVATED,
        "deactivated",
        since=timezone.now(),
        trigger="staff",
        caller=caller,
    )


def reactivate(rows: IntegrationQuerySet, *, caller: str = "") -> int:
    """Switch installs on again and renew them at once; return how many there were.

    What became of the access in the meantime only HighLevel knows: the renewal tells.
    """
    off = rows.filter(status=Status.DEACTIVATED)
    with transaction.atomic():
        n = _switch_on(off.filter(expires_at__isnull=False), Status.ACTIVE, "", caller)
        for user_type in (LOCATION, COMPANY):
            without_tokens = off.filter(expires_at=None, user_type=user_type)
            n += _switch_on(without_tokens, Status.WAITING, waits_for(user_type), caller)
        if n:
            async_task("integrations.tasks.tick")
    return n


def _switch_on(rows: IntegrationQuerySet, status: Status, cause: str, caller: str) -> int:
    now = timezone.now()
    before = conditions(rows)
    GoHighLevelIntegration.objects.filter(pk__in=before).update(
        status=status,
        cause=cause,
        cause_since=now if cause else None,
        failures=0,
        renew_at=now,
        requested_at=now,
    )
    note_change(before, status=status, cause=cause, trigger="staff", caller=caller)
    return len(before)


# --- Ended by staff ---


class NothingToShow(Exception):
    """There is no token that could prove to HighLevel who asks."""


def disconnect(install: GoHighLevelIntegration, *, caller: str) -> int:
    """Remove the app from the account at HighLevel, then end the install here, an agency's with
    all its sub-accounts; return how many ended. May be repeated.

    A sub-account is removed by its own token alone: with its agency's, HighLevel may take the
    whole agency to be meant. Errors: HighLevelError, DecryptError, NothingToShow; then nothing has
    ended here.
    """
    if not install.access_token_encrypted:
        raise NothingToShow
    account = (
        {"company_id": install.resource_id}
        if install.is_agency
        else {"location_id": install.resource_id}
    )
    client = HighLevel.from_settings()
    call_with_token(install, partial(client.uninstall, reason=REASON, **account))
    return _end_by_staff(install, "disconnected", caller)


def end_here(install: GoHighLevelIntegration, *, caller: str) -> int:
    """End the install here without telling HighLevel, for when that cannot be done; return how
    many ended."""
    return _end_by_staff(install, "ended_here", caller)


def _end_by_staff(install: GoHighLevelIntegration, cause: str, caller: str) -> int:
    rows = GoHighLevelIntegration.objects.exclude(status=Status.UNINSTALLED)
    mine = of_agency(install.resource_id) if install.is_agency else Q(pk=install.pk)
    return end(
        rows.filter(mine),
        Status.UNINSTALLED,
        cause,
        since=timezone.now(),
        trigger="staff",
        caller=caller,
    )


# --- For good ---


def erased_at(install: GoHighLevelIntegration) -> datetime | None:
    """When the tokens of an uninstalled one are (or were) erased; None for any other."""
    if install.status != Status.UNINSTALLED or install.cause_since is None:
        return None
    return install.cause_since + timedelta(days=settings.UNINSTALLED_KEEP_DAYS)


def purge(now: datetime) -> int:
    """Erase the tokens of installs that ended UNINSTALLED_KEEP_DAYS ago; return how many."""
    over = GoHighLevelIntegration.objects.filter(
        status=Status.UNINSTALLED,
        cause__in=CAUSES_OF_END,
        cause_since__lte=now - timedelta(days=settings.UNINSTALLED_KEEP_DAYS),
        expires_at__isnull=False,
    )
    return over.update(
        access_token_encrypted=b"",
        refresh_token_encrypted=b"",
        expires_at=None,
        sent_at=None,
    )


def forgettable(install: GoHighLevelIntegration) -> IntegrationQuerySet:
    """Which rows go with this one: an agency's ended sub-accounts with their agency."""
    rows = GoHighLevelIntegration.objects.filter(status__in=OFF)
    mine = of_agency(install.resource_id) if install.is_agency else Q(pk=install.pk)
    return rows.filter(mine)


def still_there(install: GoHighLevelIntegration) -> int:
    """How many of an agency's sub-accounts are connected all the same, and would stay."""
    if not install.is_agency:
        return 0
    return (
        GoHighLevelIntegration.objects.renewable()
        .filter(user_type=LOCATION, company_id=install.resource_id)
        .count()
    )


def forget(ids: list[uuid.UUID]) -> int:
    """Delete these ended installs with all that hangs on them: renewals, changes, items of jobs,
    hand-outs. Return how many. Those that are connected (again) by now stay."""
    deleted = 0
    for start in range(0, len(ids), _BATCH):
        rows = GoHighLevelIntegration.objects.filter(
            pk__in=ids[start : start + _BATCH], status__in=OFF
        )
        _all, counts = rows.delete()
        deleted += counts.get(GoHighLevelIntegration._meta.label, 0)
    return deleted


def _clock(rows: list[Any], occurred_at: datetime) -> str:
    """The newest install's time of day, with its day where that is not the event's."""
    installed_at = max(row.installed_at for row in rows)
    if installed_at.date() == occurred_at.date():
        return f"{installed_at:%H:%M} UTC"
    return f"{installed_at.day} {installed_at:%B, %H:%M} UTC"
