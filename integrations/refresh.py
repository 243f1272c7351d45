"""The renewal engine: the only place that spends a refresh token.

Every door (page, API, command, schedule) calls `refresh_integration`. It claims the install with
one conditional UPDATE, journals what it is about to do, calls HighLevel with no transaction open,
and stores the answer over the generation of tokens that it spent. docs/architecture.md draws it.

The order of healing, when an answer is lost or a token refused: look at the row again; one repeat
with the same token while HighLevel still forgives it; a new pair from the agency's token;
HighLevel's reconnect call, if switched on; a person.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeVar

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone
from django_q.tasks import async_task

from integrations import journal, pacing
from integrations.crypto import DecryptError, keyring
from integrations.health import OFF, REQUEST_SHOWN_FOR, Status
from integrations.highlevel import (
    CONNECT_TIMEOUT_S,
    READ_TIMEOUT_S,
    CredentialsRefused,
    HighLevel,
    HighLevelError,
    Inactive,
    OurFault,
    RateLimited,
    Refused,
    TokenRejected,
    TokenSet,
    Unknown,
)
from integrations.models import (
    COMPANY,
    PASSING_CAUSES,
    GoHighLevelIntegration,
    RefreshAttempt,
)
from integrations.storing import persistently, token_columns

logger = logging.getLogger(__name__)
T = TypeVar("T")

CALL_S = CONNECT_TIMEOUT_S + READ_TIMEOUT_S
# Longer than the calls with our own refresh token: the renewal, its repeat, and the question
# whether our credentials are good. Minting may outlast it and do no harm: a mint can be repeated,
# and the store is over the generation, not the lease.
LEASE = timedelta(seconds=120)
# HighLevel forgives a repeat that reaches it within 30 s of the first call.
REPEAT_WITHIN = timedelta(seconds=25)
WAITING_PAUSE_S = 0.1


class Outcome(StrEnum):
    RENEWED = "renewed"
    FAILED = "failed"
    BUSY = "busy"  # another one is at it, and did not end within the time we could wait
    SKIPPED = "skipped"  # uninstalled or switched off: there is nothing to renew


@dataclass(frozen=True)
class RefreshResult:
    outcome: Outcome
    cause: str = ""
    expires_at: datetime | None = None

    @property
    def success(self) -> bool:
        return self.outcome is Outcome.RENEWED


@dataclass(frozen=True)
class Ask:
    """A wish for tokens newer than `asked_at`, or than those of `seen_generation`."""

    pk: uuid.UUID
    asked_at: datetime
    seen_generation: int | None


class CannotMint(HighLevelError):
    """There is no agency token to mint with, or HighLevel will not mint."""

    def __init__(self, cause: str, detail: str = "") -> None:
        super().__init__(detail)
        self.cause = cause


def refresh_integration(
    pk: uuid.UUID,
    *,
    trigger: str,
    caller: str = "",
    asked_at: datetime | None = None,
    seen_generation: int | None = None,
    wait_s: float = 0,
) -> RefreshResult:
    """Renew one install, or take the result of a renewal that ends after `asked_at`, or that put
    other tokens in the place of the ones that the caller saw.

    So many callers that ask at the same time make one renewal, and get its token.
    Units: `wait_s` seconds to wait for a renewal that another one has begun; 0: do not wait.
    Errors: GoHighLevelIntegration.DoesNotExist. HighLevel's errors are in the result.
    """
    ask = Ask(pk, asked_at or timezone.now(), seen_generation)
    give_up_at = time.monotonic() + wait_s
    while True:
        lease_id = _claim(ask)
        if lease_id is not None:
            return _Renewal(pk, lease_id, trigger=trigger, caller=caller).run()
        result = _result_for(ask)
        if result.outcome is not Outcome.BUSY or time.monotonic() >= give_up_at:
            return result
        time.sleep(WAITING_PAUSE_S)


def call_with_token(row: GoHighLevelIntegration, call: Callable[[str], T]) -> T:
    """Call HighLevel with the install's access token. When HighLevel says that the token is dead,
    renew it once and repeat once; no other answer starts a renewal.

    Errors: those of `call`; DecryptError.
    """
    try:
        return call(row.open_access_token())
    except TokenRejected:
        refresh_integration(row.pk, trigger="rejected", wait_s=CALL_S)
        row.refresh_from_db()
        return call(row.open_access_token())


def _claim(ask: Ask) -> uuid.UUID | None:
    """Take the install for ourselves if nobody has it and nobody has done it since the asking.

    The database's clock decides: several hosts need not agree on the time. renew_at moves to the
    end of the lease, so that the tick finds the install if we die with it in our hands.
    """
    lease_id = uuid.uuid4()
    free = Q(lease_until=None) | Q(lease_until__lt=Now())
    not_renewed = Q(renewed_at=None) | Q(renewed_at__lt=ask.asked_at)
    not_tried = Q(failures=0) | Q(tried_at=None) | Q(tried_at__lt=ask.asked_at)
    as_seen = Q() if ask.seen_generation is None else Q(generation=ask.seen_generation)
    won = (
        GoHighLevelIntegration.objects.renewable()
        .filter(free, not_renewed, not_tried, as_seen, pk=ask.pk)
        .update(lease_id=lease_id, lease_until=Now() + LEASE, renew_at=Now() + LEASE)
    )
    return lease_id if won else None


def _result_for(ask: Ask) -> RefreshResult:
    """What came of the install since the asking, when it was not ours to claim; BUSY: nothing yet.

    Errors: GoHighLevelIntegration.DoesNotExist.
    """
    row = GoHighLevelIntegration.objects.without_secrets().get(pk=ask.pk)
    if row.status in OFF:
        outcome = Outcome.SKIPPED
    elif (
        row.renewed_at is not None
        and row.renewed_at >= ask.asked_at
        or ask.seen_generation not in (None, row.generation)
    ):
        outcome = Outcome.RENEWED
    elif row.failures and row.tried_at is not None and row.tried_at >= ask.asked_at:
        outcome = Outcome.FAILED
    else:
        outcome = Outcome.BUSY
    cause = "" if outcome is Outcome.RENEWED else row.cause
    return RefreshResult(outcome, cause=cause, expires_at=row.expires_at)


class _Renewal:
    """One claimed renewal, from the claim to the stored answer or the recorded failure."""

    def __init__(self, pk: uuid.UUID, lease_id: uuid.UUID, *, trigger: str, caller: str) -> None:
        self.row = GoHighLevelIntegration.objects.get(pk=pk)
        self.lease_id = lease_id
        self.trigger = trigger
        self.caller = caller
        self.client = HighLevel.from_settings()
        # When the refresh token was sent with no answer that settles whether it is spent.
        self.unsettled_since = self.row.sent_at

    def run(self) -> RefreshResult:
        try:
            return self._obtain()
        except DecryptError:
            return self._fail(HighLevelError(), cause="token_damaged", verdict=Status.DAMAGED)
        except journal.LeaseLost:
            return RefreshResult(Outcome.BUSY, expires_at=self.row.expires_at)
        except Refused as error:
            cause = "answer_lost" if self.unsettled_since else "refused"
            return self._fail(error, cause=cause, verdict=Status.REFUSED)
        except Inactive as error:
            return self._fail(error, cause=error.cause, verdict=Status.PAUSED)
        except HighLevelError as error:
            return self._fail(error, cause=error.cause)

    def _obtain(self) -> RefreshResult:
        if not self.row.refresh_token_encrypted:
            return self._mint()
        if self._token_is_doubtful():
            # A mint does not depend on what became of the token; without an agency only HighLevel
            # can say, and a spent token is refused.
            with suppress(CannotMint):
                return self._mint()
        try:
            return self._refresh()
        except (Refused, DecryptError) as error:
            with suppress(CannotMint):
                return self._mint()
            if self._may_reconnect():
                with suppress(HighLevelError):
                    return self._reconnect()
            raise error from None

    def _token_is_doubtful(self) -> bool:
        """Refused before, or sent so long ago that HighLevel no longer forgives a repeat."""
        unsettled = self.unsettled_since
        too_late = unsettled is not None and timezone.now() - unsettled > REPEAT_WITHIN
        return too_late or self.row.status == Status.REFUSED

    # --- With our own refresh token ---

    def _refresh(self) -> RefreshResult:
        refresh_token = self.row.open_refresh_token()
        sent_at = timezone.now()
        attempt = self._begin("refresh", sent_at, keyring().fingerprint(refresh_token))
        try:
            tokens = self._call_and_repeat_once(attempt, refresh_token)
        except CredentialsRefused as error:
            verdict = self._refused_alone(error)
            journal.end(attempt, verdict)
            raise verdict from None
        except HighLevelError as error:
            if isinstance(error, Inactive):  # HighLevel looked at the token and left it unspent
                self.unsettled_since = None
            journal.end(attempt, error)
            raise
        return self._store(attempt, tokens, sent_at)

    def _call_and_repeat_once(self, attempt: RefreshAttempt, refresh_token: str) -> TokenSet:
        try:
            return self._call_refresh(attempt, refresh_token)
        except Unknown:
            if timezone.now() - attempt.started_at > REPEAT_WITHIN:
                raise
        attempt.repeats = 1
        attempt.save(update_fields=["repeats"])
        return self._call_refresh(attempt, refresh_token)

    def _call_refresh(self, attempt: RefreshAttempt, refresh_token: str) -> TokenSet:
        try:
            return self.client.refresh(refresh_token, user_type=self.row.user_type)
        except Unknown:
            self.unsettled_since = self.unsettled_since or attempt.started_at
            raise

    def _refused_alone(self, error: CredentialsRefused) -> HighLevelError:
        """HighLevel says "invalid client credentials" for a wrong secret and for a single revoked
        install alike. Only when our credentials are good is it this install that was refused."""
        if self.row.client_id and self.row.client_id != self.client.client_id:
            return error
        if not self.client.credentials_are_accepted() and not self._another_one_renewed_since():
            return error
        return Refused(error.detail, http_status=error.http_status, trace_id=error.trace_id)

    def _another_one_renewed_since(self) -> bool:
        if self.row.cause != CredentialsRefused.cause or self.row.cause_since is None:
            return False
        others = GoHighLevelIntegration.objects.exclude(pk=self.row.pk)
        return others.filter(
            client_id=self.client.client_id, renewed_at__gt=self.row.cause_since
        ).exists()

    # --- From the agency's token ---

    def _mint(self) -> RefreshResult:
        agency = self._usable_agency()
        sent_at = timezone.now()
        attempt = self._begin("mint", sent_at)
        try:
            tokens = call_with_token(
                agency,
                lambda agency_token: self.client.mint_location_token(
                    agency_token,
                    company_id=self.row.company_id,
                    location_id=self.row.resource_id,
                ),
            )
        except DecryptError:
            unusable = CannotMint("agency_not_usable")
            journal.end(attempt, unusable)
            raise unusable from None
        except (OurFault, Refused, TokenRejected) as error:
            journal.end(attempt, error)
            raise CannotMint("mint_refused", error.detail) from None
        except HighLevelError as error:
            journal.end(attempt, error)
            raise
        return self._store(attempt, tokens, sent_at)

    def _usable_agency(self) -> GoHighLevelIntegration:
        """Return the agency with an access token that lives long enough for one call."""
        if self.row.user_type == COMPANY or not self.row.company_id:
            raise CannotMint("waiting_for_agency")
        agencies = GoHighLevelIntegration.objects.filter(
            user_type=COMPANY, resource_id=self.row.company_id
        )
        agency = agencies.first()
        if agency is None:
            raise CannotMint("waiting_for_agency")
        if agency.status == Status.ACTIVE and agency.is_expired(timezone.now() + LEASE / 2):
            refresh_integration(agency.pk, trigger="mint", wait_s=CALL_S)
            agency.refresh_from_db()
        if agency.status != Status.ACTIVE or agency.is_expired(timezone.now()):
            raise CannotMint("agency_not_usable")
        return agency

    # --- By HighLevel's reconnect call, where the operator still wants it ---

    def _may_reconnect(self) -> bool:
        recently = timezone.now() - pacing.RECONNECT_EVERY
        tried = RefreshAttempt.objects.filter(
            integration=self.row, way="reconnect", started_at__gt=recently
        )
        return settings.GHL_RECONNECT and not tried.exists()

    def _reconnect(self) -> RefreshResult:
        sent_at = timezone.now()
        attempt = self._begin("reconnect", sent_at)
        try:
            code = self.client.reconnect(
                user_type=self.row.user_type, resource_id=self.row.resource_id
            )
            tokens = self.client.exchange_code(code)
        except HighLevelError as error:
            journal.end(attempt, error)
            raise
        return self._store(attempt, tokens, sent_at)

    # --- Journal, store, failure ---

    def _begin(self, way: str, now: datetime, fingerprint: str = "") -> RefreshAttempt:
        sent_at = (self.unsettled_since or now) if way == "refresh" else self.unsettled_since
        attempt = RefreshAttempt(
            integration=self.row,
            trigger=self.trigger,
            caller=self.caller,
            way=way,
            generation=self.row.generation,
            fingerprint=fingerprint,
            started_at=now,
        )
        journal.begin(attempt, lease_id=self.lease_id, needs_s=2 * CALL_S, sent_at=sent_at)
        return attempt

    def _store(self, attempt: RefreshAttempt, tokens: TokenSet, sent_at: datetime) -> RefreshResult:
        """Store the pair over the generation that it came from, whoever holds the lease by now: an
        answer from HighLevel counts, unless a reinstall or an uninstall came in between."""
        columns = token_columns(self.row, tokens, client_id=self.client.client_id, sent_at=sent_at)
        if self.row.status == Status.WAITING:
            columns["finish_at"] = columns["renewed_at"]
        stored = persistently(
            lambda: (
                GoHighLevelIntegration.objects.renewable()
                .filter(pk=self.row.pk, generation=self.row.generation)
                .update(**columns)
            )
        )
        attempt.outcome, attempt.trace_id = RefreshAttempt.RENEWED, tokens.trace_id
        attempt.ended_at = columns["renewed_at"]
        persistently(lambda: attempt.save(update_fields=["outcome", "trace_id", "ended_at"]))
        if not stored:
            return RefreshResult(Outcome.SKIPPED, expires_at=self.row.expires_at)
        if self.row.status == Status.WAITING and not self.row.name:
            async_task("integrations.tasks.finish_install", str(self.row.pk))
        if self.row.failures and self.row.cause in PASSING_CAUSES:
            GoHighLevelIntegration.objects.wake_after_outage(columns["renewed_at"])
        if self.row.is_agency and (self.row.failures or self.row.status != Status.ACTIVE):
            GoHighLevelIntegration.objects.wake_sub_accounts(
                self.row.resource_id, columns["renewed_at"]
            )
        return RefreshResult(Outcome.RENEWED, expires_at=columns["expires_at"])

    def _fail(
        self, error: HighLevelError, *, cause: str, verdict: Status | None = None
    ) -> RefreshResult:
        """Record a failure, if the row is still ours: a newer token must not be marked by it."""
        now = timezone.now()
        status = verdict or Status(self.row.status)
        if verdict is None and status not in (Status.ACTIVE, Status.WAITING):
            cause = self.row.cause  # a passing fault does not change why it stands still
        failures = self.row.failures + 1
        recorded = GoHighLevelIntegration.objects.filter(
            pk=self.row.pk, lease_id=self.lease_id, generation=self.row.generation
        ).update(
            status=status,
            cause=cause,
            cause_since=self.row.cause_since if cause == self.row.cause else now,
            failures=failures,
            renew_at=pacing.next_try(
                now,
                verdict,
                failures,
                asked_for_s=_asked_for_s(error),
                reconnect=settings.GHL_RECONNECT,
            ),
            requested_at=None,
            lease_id=None,
            lease_until=None,
            sent_at=self.unsettled_since,
            tried_at=now,
        )
        if not recorded:
            return RefreshResult(Outcome.SKIPPED, expires_at=self.row.expires_at)
        logger.warning("Renewal of %s failed: %s", self.row.pk, cause)
        return RefreshResult(Outcome.FAILED, cause=cause, expires_at=self.row.expires_at)


def _asked_for_s(error: HighLevelError) -> float:
    wait_s = error.retry_after_s if isinstance(error, RateLimited) else None
    return wait_s or 0


def request_refresh(pk: uuid.UUID, *, trigger: str, caller: str) -> bool:
    """Ask the worker to renew one install; the row shows "Refreshing" from now on.

    Mark and task are one transaction, and a second click finds the mark: one click, one task.
    Returns whether this call made the task. Uninstalled ones are left alone.
    """
    now = timezone.now()
    idle = Q(requested_at=None) | Q(requested_at__lte=now - REQUEST_SHOWN_FOR)
    with transaction.atomic():
        asked = (
            GoHighLevelIntegration.objects.renewable().filter(idle, pk=pk).update(requested_at=now)
        )
        if asked:
            async_task("integrations.tasks.refresh_one", str(pk), trigger, caller, now.isoformat())
    return bool(asked)
