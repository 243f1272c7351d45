"""Hand-outs: a valid access token for a caller, renewed first if needed."""

from __future__ import annotations

import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from django.conf import settings
from django.utils import timezone

from integrations.causes import WhoActs
from integrations.crypto import DecryptError
from integrations.errors import ApiError
from integrations.health import Status
from integrations.models import (
    COMPANY,
    LOCATION,
    PASSING_CAUSES,
    GoHighLevelIntegration,
    RefreshAttempt,
)
from integrations.refresh import CALL_S, refresh_integration

LAST_USED_EVERY = timedelta(minutes=1)
VALID_FOR = timedelta(minutes=5)  # what a caller gets at least who does not say for how long
# A token that lives shorter than a caller asks for is not renewed by each call.
RENEW_AGAIN_AFTER = timedelta(minutes=1)
# A caller that asks does not wait for the whole back-off, but neither may it hammer HighLevel.
TRY_AGAIN_AFTER = timedelta(seconds=30)
ASK_PAUSED_AFTER = timedelta(minutes=15)
RETRY_AFTER_S = 30


class Source(StrEnum):
    STORED = "stored"
    REFRESHED = "refreshed"
    STALE = "stale-but-valid"


@dataclass(frozen=True)
class AccessToken:
    """A token that is valid now. `warning` is a cause's code when its renewal failed."""

    access_token: str = field(repr=False)
    token_type: str
    expires_at: datetime
    needs_refresh: bool
    source: Source
    generation: int
    renewed_at: datetime | None
    warning: str = ""


# Whose turn it is: 409 the install's state, 410 gone; any other cause: 503, try again.
STATUS_OF_CAUSE = {
    "refused": 409,
    "answer_lost": 409,
    "needs_reconnect": 409,
    "location_inactive": 409,
    "paused_by_highlevel": 409,
    "token_damaged": 409,
    "waiting_for_agency": 409,
    "waiting_for_install": 409,
    "uninstalled": 410,
    "agency_uninstalled": 410,
    "deactivated": 410,
}


class NoToken(ApiError):
    """There is no valid token to give."""

    def __init__(self, cause: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(cause, STATUS_OF_CAUSE.get(cause, 503), retry_after_s=retry_after_s)


_NO_TOKEN_CAUSES = {
    Status.UNINSTALLED: "uninstalled",
    Status.DEACTIVATED: "deactivated",
    Status.REFUSED: "needs_reconnect",
    Status.PAUSED: "paused_by_highlevel",
    Status.DAMAGED: "token_damaged",
}


def get_access_token(
    pk: uuid.UUID, *, min_valid_for: timedelta | None = None, caller: str = ""
) -> AccessToken:
    """Return a valid access token, renewed in this very process when too little of it is left, or
    it cannot be read.

    When the renewal fails, a token that is still valid is given, with a warning. A sub-account that
    still waits for its first token gets it from its agency's.
    Errors: GoHighLevelIntegration.DoesNotExist, NoToken.
    """
    now = timezone.now()
    row = GoHighLevelIntegration.objects.get(pk=pk)
    may_wake = _may_resume(row, now) or _may_begin(row, now)
    if not may_wake:
        _check_status(row)
    source = Source.STORED
    readable = bool(opened(row))
    if may_wake or not readable or _too_short(row, now, min_valid_for):
        source = Source.STALE
        if may_wake or _may_try(row, now, min_valid_for if readable else timedelta.max):
            result = refresh_integration(
                pk,
                trigger="api",
                caller=caller,
                asked_at=now,
                seen_generation=row.generation,
                wait_s=CALL_S,
            )
            row.refresh_from_db()
            _check_status(row, result.cause)
            source = Source.REFRESHED if result.success else Source.STALE
    return _hand_out(row, source)


def opened(row: GoHighLevelIntegration) -> str:
    """Return the stored access token; empty when there is none, or no key of ours opens it."""
    with suppress(DecryptError):
        return row.open_access_token()
    return ""


def _check_status(row: GoHighLevelIntegration, tried: str = "") -> None:
    """`tried`: the cause of the failure to get it one just now. Errors: NoToken."""
    if row.status == Status.WAITING:
        unavailable = not {row.cause, tried}.isdisjoint(PASSING_CAUSES)
        cause = "highlevel_unavailable" if unavailable else "waiting_for_install"
        raise NoToken(cause, retry_after_s=RETRY_AFTER_S)
    if row.status != Status.ACTIVE:
        raise NoToken(_NO_TOKEN_CAUSES[Status(row.status)])


def _may_resume(row: GoHighLevelIntegration, now: datetime) -> bool:
    """A paused one is probed seldom by itself; a caller who waits for it may ask more often."""
    rested = row.tried_at is None or row.tried_at <= now - ASK_PAUSED_AFTER
    return row.status == Status.PAUSED and rested


def _may_begin(row: GoHighLevelIntegration, now: datetime) -> bool:
    """Whether its agency's token may bring a waiting sub-account its own. The worker does the same
    in its turn; whoever wants it now need not wait for that."""
    if row.status != Status.WAITING or row.user_type != LOCATION or not row.company_id:
        return False
    rested = row.tried_at is None or row.tried_at <= now - TRY_AGAIN_AFTER
    agencies = GoHighLevelIntegration.objects.filter(
        user_type=COMPANY, resource_id=row.company_id, status=Status.ACTIVE
    )
    return rested and agencies.exists()


def _too_short(row: GoHighLevelIntegration, now: datetime, min_valid_for: timedelta | None) -> bool:
    """Whether less is left than the caller asks for; or, in the second half of its life, than our
    margin does."""
    if row.expires_at is None:
        return True
    left = row.expires_at - now
    if min_valid_for is not None and left < min_valid_for and not _was_just_renewed(row, now):
        return True
    return left < min(max(VALID_FOR, settings.REFRESH_MARGIN), row.token_life / 2)


def _was_just_renewed(row: GoHighLevelIntegration, now: datetime) -> bool:
    """Whether the present pair is of the last minute, and of a renewal, not of an install."""
    if row.renewed_at is None or row.renewed_at <= now - RENEW_AGAIN_AFTER:
        return False
    # Its entry may get its end a moment after the pair was stored.
    brought_it = (RefreshAttempt.RUNNING, RefreshAttempt.RENEWED)
    return RefreshAttempt.objects.filter(
        integration=row, generation=row.generation - 1, outcome__in=brought_it
    ).exists()


def _may_try(row: GoHighLevelIntegration, now: datetime, min_valid_for: timedelta | None) -> bool:
    """After a failure the stored token is good enough for whom it lasts; others try again soon."""
    if not row.failures or row.tried_at is None:
        return True
    needed = VALID_FOR if min_valid_for is None else min_valid_for
    if row.expires_at is not None and row.expires_at - now >= needed:
        return row.renew_at is None or row.renew_at <= now
    return row.tried_at <= now - TRY_AGAIN_AFTER


def _hand_out(row: GoHighLevelIntegration, source: Source) -> AccessToken:
    now = timezone.now()
    access_token = opened(row)
    if not access_token:
        # Should this process not get another one, the worker is to try next.
        due = GoHighLevelIntegration.objects.renewable().filter(pk=row.pk, failures=0)
        due.update(renew_at=now)
    if not access_token or row.expires_at is None or row.expires_at <= now:
        ours = row.cause_info is not None and row.cause_info.who_acts is WhoActs.OPERATOR
        cause = row.cause if ours else "highlevel_unavailable"
        raise NoToken(cause, retry_after_s=RETRY_AFTER_S)
    _note_use(row, now)
    return AccessToken(
        access_token=access_token,
        token_type=row.token_type,
        expires_at=row.expires_at,
        needs_refresh=row.needs_refresh(now),
        source=source,
        generation=row.generation,
        renewed_at=row.renewed_at,
        warning=row.cause if source is Source.STALE else "",
    )


def _note_use(row: GoHighLevelIntegration, now: datetime) -> None:
    """Remember the last use, exact to a minute: a write for each call would be its main cost."""
    if row.last_used_at is not None and now - row.last_used_at < LAST_USED_EVERY:
        return
    # By the key alone: by the index of this column, MariaDB lets two callers deadlock.
    GoHighLevelIntegration.objects.filter(pk=row.pk).update(last_used_at=now)
