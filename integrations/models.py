"""What we hold of each install, and the journal of its renewals."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Count, OuterRef, Q, Subquery

from access.models import ApiKey, User
from integrations import health
from integrations.causes import CAUSES, Cause
from integrations.crypto import keyring
from integrations.health import OFF, Facts, State, Status
from integrations.indexes import NamesIndex
from integrations.states import severity_expression, state_expression

# Faults that strike all installs alike: what ends them for one ends them for the others too.
PASSING_CAUSES = (
    "not_reached",
    "no_answer",
    "server_error",
    "unreadable_answer",
    "our_credentials",
    "our_request",
    "refused_in_outage",
)
# Nobody has signed in for it in time; a sign-in, or a mint that works, still finishes it.
UNFINISHED = "install_unfinished"
COMPANY, LOCATION = "Company", "Location"  # HighLevel's own words for userType


class IntegrationQuerySet(models.QuerySet["GoHighLevelIntegration"]):
    def with_state(self, now: datetime) -> IntegrationQuerySet:
        """Let `state_now` and `severity` be filtered, sorted and counted by. They are no columns
        of the rows: the database would work them out for each one that it only counts."""
        return self.alias(state_now=state_expression(now), severity=severity_expression(now))

    def worst_first(self, now: datetime) -> IntegrationQuerySet:
        # The annotation is made in a function of its own, where the types do not follow it.
        rows: Any = self.with_state(now)
        worst_first: IntegrationQuerySet = rows.order_by("severity", "name", "pk")
        return worst_first

    def wake_sub_accounts(self, company_id: str, now: datetime) -> int:
        """Make those due that only their agency's token can help; return how many there are."""
        helpless = self.filter(
            user_type=LOCATION,
            company_id=company_id,
            status__in=(Status.WAITING, Status.REFUSED, Status.DAMAGED),
        )
        return helpless.update(renew_at=now, failures=0)

    def wake_after_outage(self, now: datetime) -> int:
        """Make those due that failed for a fault which has just passed for another one; return
        how many there are. One that was tried within the last minute is left to its pause."""
        waiting = self.filter(
            cause__in=PASSING_CAUSES, renew_at__gt=now, tried_at__lte=now - timedelta(minutes=1)
        )
        return waiting.filter(status__in=(Status.ACTIVE, Status.WAITING)).update(renew_at=now)

    def in_state(self, state: str, now: datetime) -> IntegrationQuerySet:
        return self.annotate(state_now=state_expression(now)).filter(state_now=state)

    def not_in_states(self, states: Collection[str], now: datetime) -> IntegrationQuerySet:
        # The annotation is made in a function of its own, where the types do not follow it.
        rows: Any = self.with_state(now)
        others: IntegrationQuerySet = rows.exclude(state_now__in=states)
        return others

    def visible_to(self, user: User) -> IntegrationQuerySet:
        """The installs of the agencies that the person is limited to; all for most people."""
        return self.filter(company_id__in=user.agencies) if user.agencies else self

    def without_secrets(self) -> IntegrationQuerySet:
        """Leave the ciphertexts in the database: pages and lists have no use for them."""
        return self.defer("access_token_encrypted", "refresh_token_encrypted")

    def due(self, now: datetime) -> IntegrationQuerySet:
        """Those whose next renewal has come, the longest overdue first; of those that an outage's
        end called back together, the ones whose token ends first."""
        return self.filter(renew_at__lte=now).order_by("renew_at", "expires_at")

    def needing_refresh(self, now: datetime) -> IntegrationQuerySet:
        """Those due, and those near their end that are not waiting for another try already."""
        near_end = Q(
            status=Status.ACTIVE, failures=0, expires_at__lte=now + settings.REFRESH_MARGIN
        )
        return self.filter(Q(renew_at__lte=now) | near_end)

    def renewable(self) -> IntegrationQuerySet:
        return self.exclude(status__in=OFF)

    def count_by_state(self, now: datetime) -> dict[State, int]:
        """Return how many installs are in each of the ten states, in one query."""
        rows = self.annotate(state_now=state_expression(now)).values_list("state_now")
        counted = dict(rows.annotate(n=Count("pk")).order_by())
        return {state: counted.get(state, 0) for state in State}

    def count_tokens(self, now: datetime) -> dict[str, int]:
        """Return {"total", "expired", "needs_refresh", "healthy"} of those that have not ended."""
        expired = Q(expires_at=None) | Q(expires_at__lte=now)
        near_end = Q(expires_at__gt=now, expires_at__lte=now + settings.REFRESH_MARGIN)
        return self.renewable().aggregate(
            total=Count("pk"),
            expired=Count("pk", filter=expired),
            needs_refresh=Count("pk", filter=near_end),
            healthy=Count(
                "pk", filter=Q(status=Status.ACTIVE, expires_at__gt=now + settings.REFRESH_MARGIN)
            ),
        )


class GoHighLevelIntegration(models.Model):
    """One install: an agency ("Company") or one of its sub-accounts ("Location").

    Writers use QuerySet.update() on the columns they own: a save() of a stale instance would
    write an old token back. Which part of the code owns what:
    install.py the identity and the first tokens, refresh.py tokens, lease and failures.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)

    # Who it is. resource_id is the location's id of a sub-account, the company's of an agency.
    user_type = models.CharField(
        max_length=10, choices=[(LOCATION, "Sub-account"), (COMPANY, "Agency")]
    )
    resource_id = models.CharField("HighLevel id", max_length=64)
    company_id = models.CharField("agency id", max_length=64, blank=True)
    name = models.CharField(max_length=200, blank=True)
    company_name = models.CharField("agency name", max_length=200, blank=True)
    user_id = models.CharField("installed by (HighLevel user id)", max_length=64, blank=True)
    user_email = models.CharField(max_length=254, blank=True)

    # What HighLevel said with the tokens.
    client_id = models.CharField("issued to client id", max_length=64, blank=True)
    token_type = models.CharField(max_length=20, default="Bearer")
    scope = models.TextField(blank=True)
    plan_id = models.CharField(max_length=64, blank=True)
    version_id = models.CharField(max_length=64, blank=True)
    refresh_token_id = models.CharField(max_length=64, blank=True)
    trace_id = models.CharField(max_length=64, blank=True)
    is_bulk_installation = models.BooleanField(default=False)
    install_to_future_locations = models.BooleanField(null=True)
    approve_all_locations = models.BooleanField(null=True)
    approved_locations = models.JSONField(default=list, blank=True)

    # The tokens. generation counts the pairs that were stored: a renewal stores its answer only
    # over the generation that it spent.
    access_token_encrypted = models.BinaryField(default=bytes)
    refresh_token_encrypted = models.BinaryField(default=bytes)
    key_id = models.CharField(
        "sealed with the key", max_length=64, default="", db_default="", blank=True
    )
    expires_at = models.DateTimeField("access token ends", null=True, blank=True)
    generation = models.PositiveIntegerField(default=0)

    # What we know and what comes next. renew_at is null when nothing is to be tried.
    status = models.CharField(max_length=12, choices=[(s.value, s.capitalize()) for s in Status])
    cause = models.CharField(max_length=40, blank=True)
    cause_since = models.DateTimeField(null=True, blank=True)
    failures = models.PositiveIntegerField("failed renewals in a row", default=0)
    renew_at = models.DateTimeField("next renewal", null=True, blank=True)
    finish_at = models.DateTimeField("names to be fetched", null=True, blank=True)
    requested_at = models.DateTimeField("renewal asked for", null=True, blank=True)
    lease_id = models.UUIDField(null=True, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    lease_holder = models.CharField(max_length=60, default="", db_default="", blank=True)
    sent_at = models.DateTimeField("sent, answer not known", null=True, blank=True)

    created_at = models.DateTimeField(auto_now_add=True)
    installed_at = models.DateTimeField(null=True, blank=True)
    renewed_at = models.DateTimeField("token pair stored", null=True, blank=True)
    tried_at = models.DateTimeField("last try ended", null=True, blank=True)
    verified_at = models.DateTimeField("HighLevel last accepted us", null=True, blank=True)
    # verify.py: when to ask HighLevel next whether the token works; what it said when it did not.
    verify_at = models.DateTimeField("next check", null=True, blank=True)
    verify_cause = models.CharField(
        "last check failed with", max_length=40, default="", db_default="", blank=True
    )
    last_used_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[models.Manager[GoHighLevelIntegration]] = IntegrationQuerySet.as_manager()

    class Meta:
        verbose_name = "install"
        db_table = "integrations_install"
        constraints = [
            models.UniqueConstraint(
                fields=["user_type", "resource_id"], name="one_row_per_install"
            ),
        ]
        indexes = [
            # refresh.py: WHERE renew_at <= now ORDER BY renew_at
            models.Index(fields=["renew_at"], name="install_due"),
            # install.py: WHERE finish_at <= now
            models.Index(fields=["finish_at"], name="install_unfinished"),
            # refresh.py: has another one of the same client id been renewed since?
            # dashboard/demo.py: is there any of the demo's client id?
            models.Index(fields=["client_id", "renewed_at"], name="install_client"),
            # models.wake_after_outage: WHERE cause IN (…) AND renew_at > now
            models.Index(fields=["cause", "renew_at"], name="install_cause"),
            # install.py: the sub-accounts of an agency, and those of them that wait;
            # states.py: those that are unwell
            models.Index(fields=["company_id", "status", "expires_at"], name="install_of_agency"),
            # dashboard: sorted by name, searched by its beginning
            models.Index(fields=["name"], name="install_name"),
            models.Index(fields=["company_id", "name"], name="install_agency_names"),
            models.Index(fields=["expires_at"], name="install_expiry"),
            # dashboard: sorted by these. The last use is written once a minute at most, the others
            # with renewals, checks and installs, which write other indexes as well
            models.Index(fields=["last_used_at", "id"], name="install_used"),
            models.Index(fields=["verified_at", "id"], name="install_verified"),
            models.Index(fields=["renewed_at", "id"], name="install_renewed"),
            models.Index(fields=["installed_at", "id"], name="install_installed"),
            # None of lease_until and requested_at: MariaDB would claim by it, and two claims of one
            # install deadlock
            # dashboard: by agency, and the search
            NamesIndex(name="install_names"),
            # states.py: the well by name, the unwell by what they are
            models.Index(fields=["status", "failures", "name"], name="install_failing"),
            models.Index(fields=["status", "expires_at"], name="install_near_end"),
            # verify.py: WHERE verify_at <= now ORDER BY verify_at
            models.Index(fields=["verify_at"], name="install_verify"),
            # rotation.py: WHERE key_id IN (the old ones)
            models.Index(fields=["key_id"], name="install_key"),
        ]

    def __str__(self) -> str:
        return self.name or self.resource_id

    @property
    def location_id(self) -> str:
        return self.resource_id if self.user_type == LOCATION else ""

    @property
    def is_agency(self) -> bool:
        return self.user_type == COMPANY

    @property
    def is_active(self) -> bool:
        return self.status not in OFF

    @property
    def cause_info(self) -> Cause | None:
        return CAUSES.get(self.cause)

    @property
    def verify_cause_info(self) -> Cause | None:
        return CAUSES.get(self.verify_cause)

    @property
    def facts(self) -> Facts:
        return Facts(
            status=Status(self.status),
            expires_at=self.expires_at,
            failures=self.failures,
            lease_until=self.lease_until,
            requested_at=self.requested_at,
        )

    def state(self, now: datetime) -> State:
        return health.state_of(self.facts, now, settings.REFRESH_MARGIN)

    def is_expired(self, now: datetime) -> bool:
        return health.is_expired(self.expires_at, now)

    def needs_refresh(self, now: datetime) -> bool:
        return health.needs_refresh(self.expires_at, now, settings.REFRESH_MARGIN)

    @property
    def token_life(self) -> timedelta:
        """How long the present access token lives in all."""
        if self.expires_at is None or self.renewed_at is None:
            return timedelta()
        return self.expires_at - self.renewed_at

    def seal(self, field: str, token: str) -> bytes:
        """Encrypt `token` for this row's `field` ("access_token" or "refresh_token"); `key_id`,
        which is to be stored with it, is then the present key's."""
        self.key_id = keyring().present_id
        return keyring().encrypt(token, self._binding(field))

    def open_access_token(self) -> str:
        """Return the access token. Errors: DecryptError."""
        return keyring().decrypt(self.access_token_encrypted, self._binding("access_token"))

    def open_refresh_token(self) -> str:
        """Return the refresh token, which only the engine has a use for. Errors: DecryptError."""
        return keyring().decrypt(self.refresh_token_encrypted, self._binding("refresh_token"))

    def _binding(self, field: str) -> str:
        return f"install|{field}|{self.pk}"


class StateChange(models.Model):
    """One change of an install's status or cause, written in the transaction that changes them.

    Both were empty before an install's first one. A healthy renewal writes none. Who follows the
    table by id must look back a few seconds: an id is given before its transaction is committed.
    """

    integration = models.ForeignKey(
        GoHighLevelIntegration, on_delete=models.CASCADE, related_name="state_changes"
    )
    at = models.DateTimeField()
    status_before = models.CharField(max_length=12, blank=True)
    status = models.CharField(max_length=12)
    cause_before = models.CharField(max_length=40, blank=True)
    cause = models.CharField(max_length=40, blank=True)
    # What set it off, in the words of RefreshAttempt.trigger, or "install", "event", "staff", …
    trigger = models.CharField(max_length=20)
    caller = models.CharField(max_length=100, blank=True)

    class Meta:
        verbose_name = "change of an install"
        verbose_name_plural = "changes of installs"
        indexes = [
            # The account page: the newest changes of one install
            models.Index(fields=["integration", "-at"], name="change_newest"),
            # cleanup.py: WHERE at < …
            models.Index(fields=["at"], name="change_oldest"),
        ]

    def __str__(self) -> str:
        return f"{self.status} {self.cause} {self.at:%Y-%m-%d %H:%M:%S}"

    @property
    def cause_info(self) -> Cause | None:
        return CAUSES.get(self.cause)


class KeyRotation(models.Model):
    """One re-encryption of everything with the present key, done by rotation.py in batches.

    How far it is, the rows themselves say: each names the key that sealed it.
    """

    key_id = models.CharField("to the key", max_length=64)
    started_by = models.CharField(max_length=150)
    started_at = models.DateTimeField(auto_now_add=True)
    total = models.PositiveIntegerField("rows to re-encrypt")
    unreadable = models.PositiveIntegerField("rows that no key opens", default=0)
    beat_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = "key rotation"
        # rotation.py: the one that is under way
        indexes = [models.Index(fields=["ended_at", "-started_at"], name="rotation_open")]

    def __str__(self) -> str:
        return f"to {self.key_id}, {self.started_at:%Y-%m-%d %H:%M:%S}"


class Outage(models.Model):
    """A time in which renewals of many installs failed in passing: HighLevel's fault or one of our
    set-up. Meanwhile one of them tries now and then for all. outage.py begins and ends it."""

    began_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)
    # True or null, so that the database itself lets only one be open.
    is_open = models.BooleanField(null=True, unique=True, default=True)
    cause = models.CharField(max_length=40)
    tries = models.PositiveIntegerField("renewals tried meanwhile", default=0)
    try_at = models.DateTimeField("next try")

    def __str__(self) -> str:
        return f"{self.cause} {self.began_at:%Y-%m-%d %H:%M:%S}"

    @property
    def cause_info(self) -> Cause | None:
        return CAUSES.get(self.cause)


class CallBudget(models.Model):
    """How far the calls about one agency or sub-account have used up HighLevel's limits.

    Both columns are microseconds since 1970: the time until which the calls made would last at the
    steady pace of the limit. budget.py compares and moves them.
    """

    resource_id = models.CharField(max_length=64, primary_key=True)
    burst_used_until = models.BigIntegerField(default=0)
    day_used_until = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return self.resource_id


class Heartbeat(models.Model):
    """When web server, worker, scheduler or watchdog last showed that it is alive."""

    name = models.CharField(max_length=20, primary_key=True)
    at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.name} {self.at:%H:%M:%S}"


class RenewalJobQuerySet(models.QuerySet["RenewalJob"]):
    def wholly_about(self, installs: IntegrationQuerySet) -> RenewalJobQuerySet:
        """What a limited caller may see: the jobs of these installs and of no others."""
        # In the order of their index: databases would read the items of all jobs for an Exists.
        items = RenewalJobItem.objects.filter(job=OuterRef("pk")).order_by("integration_id")
        others = items.exclude(integration__in=installs)
        jobs = self.alias(
            one=Subquery(items.values("pk")[:1]), other=Subquery(others.values("pk")[:1])
        )
        wholly_about: RenewalJobQuerySet = jobs.filter(one__isnull=False, other=None)
        return wholly_about

    def visible_to(self, user: User) -> RenewalJobQuerySet:
        if not user.agencies:
            return self
        return self.wholly_about(GoHighLevelIntegration.objects.visible_to(user))


class RenewalJob(models.Model):
    """A renewal of many installs, done in batches; its items are the truth about how far it is."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    caller = models.CharField(max_length=100, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    cancelled_at = models.DateTimeField(null=True, blank=True)
    # When the worker was rung for, or something of it ended last; null when it is not its business.
    rung_at = models.DateTimeField(null=True, blank=True)
    total = models.PositiveIntegerField(default=0)

    objects: ClassVar[models.Manager[RenewalJob]] = RenewalJobQuerySet.as_manager()

    class Meta:
        verbose_name = "bulk renewal"
        indexes = [
            models.Index(fields=["-created_at"], name="job_newest"),
            # bulk.ring_again: WHERE rung_at < …
            models.Index(fields=["rung_at"], name="job_rung"),
        ]

    def __str__(self) -> str:
        return f"{self.total} installs, {self.created_at:%Y-%m-%d %H:%M:%S}"

    def progress(self) -> JobProgress:
        return progress_of([self])[self.pk]

    def held_back(self) -> int:
        """How many of the failed were never sent: in an outage one tries for all."""
        return self.items.filter(outcome=RenewalJobItem.FAILED, cause="held_back").count()


@dataclass(frozen=True)
class JobProgress:
    """How many items of a job ended in which way."""

    total: int
    renewed: int
    failed: int
    skipped: int
    cancelled: int

    @property
    def done(self) -> int:
        return self.renewed + self.failed + self.skipped + self.cancelled

    @property
    def not_renewed(self) -> int:
        return self.total - self.renewed

    @property
    def is_finished(self) -> bool:
        return self.done >= self.total


class RenewalJobItem(models.Model):
    """One install of a job and what came of it."""

    PENDING, RENEWED, FAILED, SKIPPED, CANCELLED = "", "renewed", "failed", "skipped", "cancelled"

    job = models.ForeignKey(RenewalJob, on_delete=models.CASCADE, related_name="items")
    integration = models.ForeignKey(GoHighLevelIntegration, on_delete=models.CASCADE)
    outcome = models.CharField(
        max_length=10,
        blank=True,
        default=PENDING,
        choices=[
            (PENDING, "Waiting"),
            (RENEWED, "Renewed"),
            (FAILED, "Failed"),
            (SKIPPED, "Skipped"),
            (CANCELLED, "Cancelled"),
        ],
    )
    cause = models.CharField(max_length=40, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = "item of a bulk renewal"
        constraints = [
            models.UniqueConstraint(fields=["job", "integration"], name="job_item_once"),
        ]
        # RenewalJob.progress: how many of a job have which outcome
        indexes = [models.Index(fields=["job", "outcome"], name="job_item_outcome")]

    def __str__(self) -> str:
        return f"{self.integration_id} {self.get_outcome_display()}"

    @property
    def cause_info(self) -> Cause | None:
        return CAUSES.get(self.cause)


def progress_of(jobs: Sequence[RenewalJob]) -> dict[uuid.UUID, JobProgress]:
    """Return how far each of the jobs is, in one query."""
    counted: dict[uuid.UUID, dict[str, int]] = {job.pk: {} for job in jobs}
    items = RenewalJobItem.objects.filter(job__in=jobs).order_by()
    for pk, outcome, n in items.values_list("job", "outcome").annotate(n=Count("pk")):
        counted[pk][outcome] = n
    return {
        job.pk: JobProgress(
            total=job.total,
            renewed=counted[job.pk].get(RenewalJobItem.RENEWED, 0),
            failed=counted[job.pk].get(RenewalJobItem.FAILED, 0),
            skipped=counted[job.pk].get(RenewalJobItem.SKIPPED, 0),
            cancelled=counted[job.pk].get(RenewalJobItem.CANCELLED, 0),
        )
        for job in jobs
    }


class RefreshAttempt(models.Model):
    """One renewal, written before HighLevel is called. One without an end was cut off.

    No token is in it: `fingerprint` is a keyed digest of the refresh token that was spent.
    """

    RUNNING, RENEWED, FAILED, REFUSED = "running", "renewed", "failed", "refused"
    CUT_OFF = "cut_off"
    OUTCOMES = (
        (RUNNING, "Running"),
        (RENEWED, "Renewed"),
        (FAILED, "Failed"),
        (REFUSED, "Refused"),
        (CUT_OFF, "Cut off"),
    )

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    integration = models.ForeignKey(
        GoHighLevelIntegration, on_delete=models.CASCADE, related_name="attempts"
    )
    trigger = models.CharField(max_length=20)
    caller = models.CharField(max_length=100, blank=True)
    way = models.CharField(
        max_length=10,
        choices=[("refresh", "Renewal"), ("mint", "From the agency"), ("reconnect", "Reconnect")],
    )
    generation = models.PositiveIntegerField()
    fingerprint = models.CharField(max_length=32, blank=True)
    repeats = models.PositiveSmallIntegerField(default=0)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)
    outcome = models.CharField(max_length=10, default=RUNNING, choices=OUTCOMES)
    cause = models.CharField(max_length=40, blank=True)
    http_status = models.PositiveSmallIntegerField(null=True, blank=True)
    trace_id = models.CharField(max_length=64, blank=True)
    detail = models.CharField(max_length=300, blank=True)

    class Meta:
        verbose_name = "renewal"
        indexes = [
            # The account page: the newest renewals of one install
            models.Index(fields=["integration", "-started_at"], name="attempt_newest"),
            # journal.close_cut_off: WHERE outcome = 'running' AND started_at < …
            models.Index(fields=["outcome", "started_at"], name="attempt_open"),
        ]

    def __str__(self) -> str:
        return f"{self.get_way_display()} {self.started_at:%Y-%m-%d %H:%M:%S} {self.outcome}"

    @property
    def duration_ms(self) -> int | None:
        if self.ended_at is None:
            return None
        return round((self.ended_at - self.started_at).total_seconds() * 1000)

    @property
    def cause_info(self) -> Cause | None:
        return CAUSES.get(self.cause)


class HandOut(models.Model):
    """How often a key got an install's token, or called HighLevel with it, within one hour (UTC).

    handouts.py counts: exactly, and before the token leaves.
    """

    key = models.ForeignKey(ApiKey, on_delete=models.PROTECT, related_name="hand_outs")
    integration = models.ForeignKey(
        GoHighLevelIntegration, on_delete=models.CASCADE, related_name="hand_outs"
    )
    hour = models.DateTimeField()
    tokens = models.PositiveIntegerField("tokens handed out", default=0)
    calls = models.PositiveIntegerField("calls passed on", default=0)
    first_at = models.DateTimeField()
    first_address = models.GenericIPAddressField(null=True, blank=True)
    last_at = models.DateTimeField()
    last_address = models.GenericIPAddressField(null=True, blank=True)

    class Meta:
        verbose_name = "hand-out"
        constraints = [
            # handouts.count; the account page: who has its token?
            models.UniqueConstraint(
                fields=["integration", "key", "hour"], name="hand_out_once_an_hour"
            ),
        ]
        indexes = [
            # The key's page: what did it read?
            models.Index(fields=["key", "-hour"], name="hand_out_of_key"),
            # handouts.watch: all of this hour; cleanup.py: WHERE hour < …
            models.Index(fields=["hour"], name="hand_out_hour"),
        ]

    def __str__(self) -> str:
        return f"{self.tokens} tokens, {self.calls} calls, {self.hour:%Y-%m-%d %H}"


class KeyHour(models.Model):
    """A key's hand-outs of one hour in all, as the minutely watch added them up."""

    key = models.ForeignKey(ApiKey, on_delete=models.CASCADE, related_name="hours")
    hour = models.DateTimeField()
    uses = models.PositiveIntegerField()
    installs = models.PositiveIntegerField()

    class Meta:
        verbose_name = "hour of a key"
        constraints = [models.UniqueConstraint(fields=["key", "hour"], name="key_hour_once")]
        # cleanup.py: WHERE hour < …
        indexes = [models.Index(fields=["hour"], name="key_hour_hour")]

    def __str__(self) -> str:
        return f"{self.uses} uses, {self.hour:%Y-%m-%d %H}"


class HealthDay(models.Model):
    """A day (UTC) of all installs in numbers, and the newest look at them: see snapshots.py."""

    day = models.DateField(primary_key=True)
    taken_at = models.DateTimeField()
    took_ms = models.PositiveIntegerField(default=0)
    # {state: how many}; a renewal in flight after failures counts as "recovering".
    counts = models.JSONField(default=dict)
    # {hour as ISO text: how many renewals come due, how many access tokens end in it}
    due = models.JSONField(default=dict)
    ends = models.JSONField(default=dict)
    first_end = models.DateTimeField(null=True)
    last_end = models.DateTimeField(null=True)
    # Of all looks of this day: the counts added up, and how many looks there were.
    sums = models.JSONField(default=dict)
    looks = models.PositiveIntegerField(default=0)

    class Meta:
        verbose_name = "day of health"

    def __str__(self) -> str:
        return f"{self.day:%Y-%m-%d}"


class Comparison(models.Model):
    """HighLevel's list of an agency's sub-accounts at one time, to be laid beside ours.

    reconcile.py fills it page by page. The newest finished one of an agency is kept, beside one
    that is being made.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    agency = models.ForeignKey(
        GoHighLevelIntegration, on_delete=models.CASCADE, related_name="comparisons"
    )
    caller = models.CharField(max_length=100, blank=True)
    fetches = models.BooleanField("fetches missing tokens by itself", default=False)
    begun_at = models.DateTimeField()
    # When the worker goes on with it; null when there is nothing left to ask.
    continue_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    tries = models.PositiveSmallIntegerField("failed calls in a row", default=0)
    cause = models.CharField(max_length=40, blank=True)
    # How far the list has been read.
    position = models.PositiveIntegerField(default=0)

    class Meta:
        verbose_name = "comparison"
        indexes = [
            # The agency's page: its newest ones
            models.Index(fields=["agency", "-begun_at"], name="comparison_newest"),
            # reconcile.go_on: WHERE continue_at <= now
            models.Index(fields=["continue_at"], name="comparison_open"),
        ]

    def __str__(self) -> str:
        return f"{self.agency_id} {self.begun_at:%Y-%m-%d %H:%M:%S}"

    @property
    def is_running(self) -> bool:
        return self.ended_at is None

    @property
    def cause_info(self) -> Cause | None:
        return CAUSES.get(self.cause)


class ListedLocation(models.Model):
    """One sub-account of HighLevel's list."""

    comparison = models.ForeignKey(Comparison, on_delete=models.CASCADE, related_name="listed")
    resource_id = models.CharField("HighLevel id", max_length=64)
    name = models.CharField(max_length=200, blank=True)
    version_id = models.CharField(max_length=64, blank=True)
    installed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = "listed sub-account"
        constraints = [
            models.UniqueConstraint(fields=["comparison", "resource_id"], name="listed_once"),
        ]

    def __str__(self) -> str:
        return self.name or self.resource_id
