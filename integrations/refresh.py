"""The renewal engine: the only place that spends a refresh token.

Every door (page, API, command, schedule) calls `refresh_integration`. It claims the install with
one conditional UPDATE and journals in the same transaction what it is about to do, calls HighLevel
with no transaction open, and stores the answer over the generation of tokens that it spent.
docs/architecture.md draws it.

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
from typing import Any, TypeVar

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone
from django_q.tasks import async_task

from integrations import budget, holders, journal, outage, pacing
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
    Refused,
    TokenRejected,
    TokenSet,
    Unknown,
)
from integrations.models import (
    COMPANY,
    PASSING_CAUSES,
    UNFINISHED,
    GoHighLevelIntegration,
    Outage,
    RefreshAttempt,
)
from integrations.storing import persistently, token_columns

logger = logging.getLogger(__name__)
T = TypeVar("T")
NoteRenewed = Callable[[RefreshAttempt, str], object]
"""Takes the journal's entry and HighLevel's trace id."""

CALL_S = CONNECT_TIMEOUT_S + READ_TIMEOUT_S
# Longer than the calls with our own refresh token: the renewal, its repeat, and the question
# whether our credentials are good. Minting may outlast it and do no harm: a mint can be repeated,
# and the store is over the generation, not the lease.
LEASE = timedelta(seconds=120)
# HighLevel forgives a repeat that reaches it within 30 s of the first call.
REPEAT_WITHIN = timedelta(seconds=25)
WAITING_PAUSE_S = 0.1
# Triggers of renewals that are made even in an outage: somebody asks for this very one, or
# HighLevel has just answered a call, so it works.
EVEN_IN_OUTAGE = ("dashboard", "refresh", "mint", "rejected")
# The trigger of a renewal that wants the agency's token rather than the account's own: with it a
# sub-account is allowed what its agency has allowed since.
MINT_FIRST = "scopes"


class Outcome(StrEnum):
    RENEWED = "renewed"
    FAILED = "failed"
    HELD_BACK = "held_back"  # an outage, and another one tries for all: nothing was sent
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
    row: GoHighLevelIntegration | None = None,
    note_renewed: NoteRenewed | None = None,
) -> RefreshResult:
    """Renew one install, or take the result of a renewal that ends after `asked_at`, or that put
    other tokens in the place of the ones that the caller saw.

    So many callers that ask at the same time make one renewal, and get its token.
    Units: `wait_s` seconds to wait for a renewal that another one has begun; 0: do not wait.
    `row`: the install as it was read a while ago; should it have changed since, it is read again.
    `note_renewed`: ends the journal's entry of a success, and with it an outage; whoever renews
    many may do so later.
    Errors: GoHighLevelIntegration.DoesNotExist. HighLevel's errors are in the result.
    """
    ask = Ask(asked_at or timezone.now(), seen_generation)
    give_up_at = time.monotonic() + wait_s
    # Whoever comes with a row renews many, and looks after outages itself.
    present_outage = outage.current() if row is None else None
    while True:
        row = row or GoHighLevelIntegration.objects.get(pk=pk)
        result = _result_since(row, ask)
        if result.outcome is Outcome.BUSY:
            if present_outage and not _may_try(present_outage, trigger):
                return RefreshResult(
                    Outcome.HELD_BACK, cause=present_outage.cause, expires_at=row.expires_at
                )
            renewal = _Renewal(
                row, trigger=trigger, caller=caller, note_renewed=note_renewed or _note_renewed
            )
            if renewal.claim():
                result = renewal.run()
                if result.outcome is Outcome.SKIPPED:
                    # A reinstall or an end came in between; the row says which.
                    result = _result_since(GoHighLevelIntegration.objects.get(pk=pk), ask)
                return result
            result = _result_since(GoHighLevelIntegration.objects.get(pk=pk), ask)
        if result.outcome is not Outcome.BUSY or time.monotonic() >= give_up_at:
            return result
        row = None
        time.sleep(WAITING_PAUSE_S)


def _note_renewed(attempt: RefreshAttempt, trace_id: str) -> None:
    journal.renewed(attempt, trace_id)
    outage.end(begun_at=attempt.started_at)


def _may_try(present: Outage, trigger: str) -> bool:
    return trigger in EVEN_IN_OUTAGE or outage.take_turn(present, timezone.now())


def call_with_token(row: GoHighLevelIntegration, call: Callable[[str], T]) -> T:
    """Call HighLevel with the install's access token, within HighLevel's limits, and renewed first
    if it ends meanwhile. When HighLevel says that the token is dead, renew it once and repeat once;
    no other answer starts a renewal.

    Errors: those of `call`; RateLimited; DecryptError.
    """
    budget.wait_for_turn(row.resource_id)
    if row.is_expired(timezone.now() + timedelta(seconds=CALL_S)):
        _renew_seen(row, trigger="call")
    try:
        return call(row.open_access_token())
    except TokenRejected:
        _renew_seen(row, trigger="rejected")
        return call(row.open_access_token())


def _renew_seen(row: GoHighLevelIntegration, *, trigger: str) -> RefreshResult:
    """Renew what the row holds, unless somebody has since it was read; read the row again."""
    result = refresh_integration(
        row.pk, trigger=trigger, seen_generation=row.generation, wait_s=CALL_S
    )
    row.refresh_from_db()
    return result


def _result_since(row: GoHighLevelIntegration, ask: Ask) -> RefreshResult:
    """What came of the install since the asking; BUSY: nothing yet."""
    if row.status in OFF:
        outcome = Outcome.SKIPPED
    elif (
        row.renewed_at is not None
        and row.renewed_at >= ask.asked_at
        or ask.seen_generation not in (None, row.generation)
    ):
        outcome = Outcome.RENEWED
    elif _has_failed(row) and row.tried_at is not None and row.tried_at >= ask.asked_at:
        outcome = Outcome.FAILED
    else:
        outcome = Outcome.BUSY
    cause = "" if outcome is Outcome.RENEWED else row.cause
    return RefreshResult(outcome, cause=cause, expires_at=row.expires_at)


def _has_failed(row: GoHighLevelIntegration) -> bool:
    """Whether its last try did. One that waits has had no other."""
    return row.failures > 0 or row.status == Status.WAITING


class _Renewal:
    """One renewal, from the claim to the stored answer or the recorded failure."""

    def __init__(
        self, row: GoHighLevelIntegration, *, trigger: str, caller: str, note_renewed: NoteRenewed
    ) -> None:
        self.row = row
        self.note_renewed = note_renewed
        self.lease_id = uuid.uuid4()
        self.trigger = trigger
        self.caller = caller
        self.client = HighLevel.from_settings()
        self.begun: RefreshAttempt | None = None  # journalled with the claim
        # When the refresh token was sent with no answer that settles whether it is spent.
        self.unsettled_since = self.row.sent_at

    def claim(self) -> bool:
        """Take the install for ourselves if nobody alive has it and it is as we read it; where its
        own refresh token is what we send first, journal that in the same transaction.

        The database's clock decides: several hosts need not agree on the time. renew_at moves to
        the end of the lease, so that the tick finds the install if we die with it in our hands.
        """
        row = self.row
        free = Q(lease_until=None) | Q(lease_until__lt=Now())
        if row.lease_id and holders.is_gone(row.lease_holder):
            free |= Q(lease_id=row.lease_id)
        rows = GoHighLevelIntegration.objects.filter(
            free,
            pk=row.pk,
            # What ends, fails, renews or sends an install's token changes one of these.
            status=row.status,
            generation=row.generation,
            tried_at=row.tried_at,
            sent_at=row.sent_at,
        )
        columns = {
            "lease_id": self.lease_id,
            "lease_until": Now() + LEASE,
            "lease_holder": holders.this_process(),
        }
        if not self._is_beside_the_worker():
            columns["renew_at"] = timezone.now() + LEASE
        attempt = self._first_attempt()
        if attempt is None:
            return bool(rows.update(**columns))
        with transaction.atomic():
            won = rows.update(**columns, sent_at=self.unsettled_since or attempt.started_at)
            if won:
                attempt.save(force_insert=True)
                self.begun = attempt
        return bool(won)

    def _is_beside_the_worker(self) -> bool:
        """Whether a caller asks for the first token of one that waits: however often it does, the
        worker keeps to its own times. A mint that is cut off spends nothing."""
        return self.trigger in ("api", "refresh") and self.row.status == Status.WAITING

    def _first_attempt(self) -> RefreshAttempt | None:
        """What to journal with the claim; None where another way than our own token comes first."""
        if not self.row.refresh_token_encrypted or self._token_is_doubtful():
            return None
        with suppress(DecryptError):
            return self._attempt("refresh", self.row.open_refresh_token())
        return None

    def run(self) -> RefreshResult:
        try:
            return self._obtain()
        except DecryptError:
            return self._fail(HighLevelError(), cause="token_damaged", verdict=Status.DAMAGED)
        except journal.LeaseLost:
            return RefreshResult(Outcome.BUSY, expires_at=self.row.expires_at)
        except Refused as error:
            if outage.current():
                return self._fail(error, cause="refused_in_outage")
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
        """Refused before, or sent so long ago that HighLevel no longer forgives a repeat; or the
        agency's token was asked for."""
        unsettled = self.unsettled_since
        too_late = unsettled is not None and timezone.now() - unsettled > REPEAT_WITHIN
        return too_late or self.row.status == Status.REFUSED or self.trigger == MINT_FIRST

    # --- With our own refresh token ---

    def _refresh(self) -> RefreshResult:
        refresh_token = self.row.open_refresh_token()
        attempt = self.begun or self._begin("refresh", refresh_token)
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
        return self._store(attempt, tokens)

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
        attempt = self._begin("mint")
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
        return self._store(attempt, tokens)

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
            result = _renew_seen(agency, trigger="mint")
            if result.cause in PASSING_CAUSES and agency.is_expired(timezone.now()):
                raise CannotMint(result.cause)
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
        attempt = self._begin("reconnect")
        try:
            code = self.client.reconnect(
                user_type=self.row.user_type, resource_id=self.row.resource_id
            )
            tokens = self.client.exchange_code(code)
        except HighLevelError as error:
            journal.end(attempt, error)
            raise
        return self._store(attempt, tokens)

    # --- Journal, store, failure ---

    def _attempt(self, way: str, refresh_token: str = "") -> RefreshAttempt:
        return RefreshAttempt(
            integration=self.row,
            trigger=self.trigger,
            caller=self.caller,
            way=way,
            generation=self.row.generation,
            fingerprint=keyring().fingerprint(refresh_token) if refresh_token else "",
            started_at=timezone.now(),
        )

    def _begin(self, way: str, refresh_token: str = "") -> RefreshAttempt:
        attempt = self._attempt(way, refresh_token)
        sent_at = self.unsettled_since
        if way == "refresh":
            sent_at = sent_at or attempt.started_at
        journal.begin(attempt, lease_id=self.lease_id, needs_s=2 * CALL_S, sent_at=sent_at)
        return attempt

    def _store(self, attempt: RefreshAttempt, tokens: TokenSet) -> RefreshResult:
        """Store the pair over the generation that it came from, whoever holds the lease by now: an
        answer from HighLevel counts, unless a reinstall or an uninstall came in between."""
        columns = token_columns(
            self.row, tokens, client_id=self.client.client_id, sent_at=attempt.started_at
        )
        # The token before may have been too bad to ask for it.
        if self.row.status == Status.WAITING or not self.row.name:
            columns["finish_at"] = columns["renewed_at"]
        if tokens.life_is_assumed:
            attempt.cause = "life_unclear"
        stored = persistently(lambda: self._put(columns))
        persistently(lambda: self.note_renewed(attempt, tokens.trace_id))
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

    def _put(self, columns: dict[str, Any]) -> bool:
        """Update the row, and note the change if it is one; whether the pair belonged there."""
        mine = GoHighLevelIntegration.objects.filter(pk=self.row.pk, generation=self.row.generation)
        was_well = self.row.status == Status.ACTIVE and not self.row.cause
        still_well = mine.filter(lease_id=self.lease_id, status=Status.ACTIVE)
        if was_well and still_well.update(**columns):
            return True
        rows = mine.renewable()
        with transaction.atomic():
            # Read again: who holds the lease now may have noted a failure since.
            before = journal.conditions(rows)
            stored = rows.update(**columns)
            if stored:
                self._note_change(before, status=Status.ACTIVE, cause="")
        return bool(stored)

    def _note_change(
        self, before: dict[uuid.UUID, journal.Condition], *, status: str, cause: str
    ) -> None:
        journal.note_change(
            before, status=status, cause=cause, trigger=self.trigger, caller=self.caller
        )

    def _fail(
        self, error: HighLevelError, *, cause: str, verdict: Status | None = None
    ) -> RefreshResult:
        """Record a failure, if the row is still ours: a newer token must not be marked by it."""
        now = timezone.now()
        status = verdict or Status(self.row.status)
        if verdict is None and status not in (Status.ACTIVE, Status.WAITING):
            cause = self.row.cause  # a passing fault does not change why it stands still
        # Nor does another fault that nobody has signed in.
        noted = UNFINISHED if verdict is None and self.row.cause == UNFINISHED else cause
        failures = self.row.failures + 1
        mine = GoHighLevelIntegration.objects.filter(
            pk=self.row.pk, lease_id=self.lease_id, generation=self.row.generation
        )
        columns: dict[str, Any] = {
            "status": status,
            "cause": noted,
            "cause_since": self.row.cause_since if noted == self.row.cause else now,
            "requested_at": None,
            "lease_id": None,
            "lease_until": None,
            "sent_at": self.unsettled_since,
            "tried_at": now,
        }
        if verdict is not None or not self._is_beside_the_worker():
            columns["failures"] = failures
            columns["renew_at"] = pacing.next_try(
                now,
                verdict,
                failures,
                asked_for_s=error.retry_after_s or 0,
                reconnect=settings.GHL_RECONNECT,
            )
        if verdict is not None:
            columns["verify_at"] = None
        with transaction.atomic():
            recorded = mine.update(**columns)
            if recorded:
                before = {self.row.pk: journal.Condition(self.row.status, self.row.cause)}
                self._note_change(before, status=status, cause=noted)
        if not recorded:
            return RefreshResult(Outcome.SKIPPED, expires_at=self.row.expires_at)
        logger.warning("Renewal of %s failed: %s", self.row.pk, cause)
        if verdict is None and cause in PASSING_CAUSES:
            outage.note_failure(now)
        return RefreshResult(Outcome.FAILED, cause=cause, expires_at=self.row.expires_at)


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
