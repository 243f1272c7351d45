"""What we hold of each install, and the journal of its renewals."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Case, Count, IntegerField, Q, TextField, Value, When

from integrations import health
from integrations.causes import CAUSES, Cause
from integrations.crypto import keyring
from integrations.health import OFF, REQUEST_SHOWN_FOR, Facts, State, Status

# Faults that strike all installs alike: what ends them for one ends them for the others too.
PASSING_CAUSES = (
    "not_reached",
    "no_answer",
    "server_error",
    "unreadable_answer",
    "our_credentials",
    "our_request",
)
COMPANY, LOCATION = "Company", "Location"  # HighLevel's own words for userType


def state_expression(now: datetime) -> Case:
    """`health.state_of` in SQL, for counting, filtering and sorting."""
    refreshing = Q(lease_until__gt=now) | Q(requested_at__gt=now - REQUEST_SHOWN_FOR)
    expired = Q(expires_at=None) | Q(expires_at__lte=now)
    return Case(
        When(status__in=OFF, then=Value(State.UNINSTALLED)),
        When(refreshing, then=Value(State.REFRESHING)),
        When(status=Status.WAITING, then=Value(State.WAITING)),
        When(status=Status.PAUSED, then=Value(State.PAUSED)),
        When(status=Status.REFUSED, then=Value(State.NEEDS_RECONNECT)),
        When(status=Status.DAMAGED, then=Value(State.DAMAGED)),
        When(expired, then=Value(State.EXPIRED)),
        When(expires_at__lte=now + settings.REFRESH_MARGIN, then=Value(State.EXPIRING)),
        When(failures__gt=0, then=Value(State.RETRYING)),
        default=Value(State.HEALTHY),
        output_field=TextField(),
    )


class IntegrationQuerySet(models.QuerySet["GoHighLevelIntegration"]):
    def with_state(self, now: datetime) -> IntegrationQuerySet:
        """Annotate `state_now`, and `severity`: 0 for the worst state, growing to the best."""
        order = [When(state_now=state, then=Value(n)) for n, state in enumerate(health.WORST_FIRST)]
        return self.annotate(state_now=state_expression(now)).annotate(
            severity=Case(*order, output_field=IntegerField())
        )

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

    def without_secrets(self) -> IntegrationQuerySet:
        """Leave the ciphertexts in the database: pages and lists have no use for them."""
        return self.defer("access_token_encrypted", "refresh_token_encrypted")

    def due(self, now: datetime) -> IntegrationQuerySet:
        """Those whose next renewal has come, the longest overdue first."""
        return self.filter(renew_at__lte=now).order_by("renew_at")

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
    sent_at = models.DateTimeField("sent, answer not known", null=True, blank=True)

    created_at = models.DateTimeField(auto_now_add=True)
    installed_at = models.DateTimeField(null=True, blank=True)
    renewed_at = models.DateTimeField("token pair stored", null=True, blank=True)
    tried_at = models.DateTimeField("last try ended", null=True, blank=True)
    verified_at = models.DateTimeField("HighLevel last accepted us", null=True, blank=True)
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
            # install.py: the sub-accounts of an agency, and those of them that wait
            models.Index(fields=["company_id", "status"], name="install_agency"),
            # dashboard: sorted by name, searched by its beginning
            models.Index(fields=["name"], name="install_name"),
            models.Index(fields=["expires_at"], name="install_expiry"),
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
        """Encrypt `token` for this row's `field` ("access_token" or "refresh_token")."""
        return keyring().encrypt(token, self._binding(field))

    def open_access_token(self) -> str:
        """Return the access token. Errors: DecryptError."""
        return keyring().decrypt(self.access_token_encrypted, self._binding("access_token"))

    def open_refresh_token(self) -> str:
        """Return the refresh token, which only the engine has a use for. Errors: DecryptError."""
        return keyring().decrypt(self.refresh_token_encrypted, self._binding("refresh_token"))

    def _binding(self, field: str) -> str:
        return f"install|{field}|{self.pk}"


class Heartbeat(models.Model):
    """When a part of the worker last showed that it is alive."""

    name = models.CharField(max_length=20, primary_key=True)
    at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.name} {self.at:%H:%M:%S}"


class RenewalJob(models.Model):
    """A renewal of many installs, done in batches; its items are the truth about how far it is."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    caller = models.CharField(max_length=100, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    cancelled_at = models.DateTimeField(null=True, blank=True)
    total = models.PositiveIntegerField(default=0)

    class Meta:
        verbose_name = "bulk renewal"
        indexes = [models.Index(fields=["-created_at"], name="job_newest")]

    def __str__(self) -> str:
        return f"{self.total} installs, {self.created_at:%Y-%m-%d %H:%M:%S}"

    def progress(self) -> JobProgress:
        counted = dict(self.items.values_list("outcome").annotate(n=Count("pk")).order_by())
        return JobProgress(
            total=self.total,
            renewed=counted.get(RenewalJobItem.RENEWED, 0),
            failed=counted.get(RenewalJobItem.FAILED, 0),
            skipped=counted.get(RenewalJobItem.SKIPPED, 0),
            cancelled=counted.get(RenewalJobItem.CANCELLED, 0),
        )


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


class RefreshAttempt(models.Model):
    """One renewal, written before HighLevel is called. One without an end was cut off.

    No token is in it: `fingerprint` is a keyed digest of the refresh token that was spent.
    """

    RUNNING, RENEWED, FAILED, REFUSED = "running", "renewed", "failed", "refused"
    CUT_OFF = "cut_off"

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
    outcome = models.CharField(
        max_length=10,
        default=RUNNING,
        choices=[
            (RUNNING, "Running"),
            (RENEWED, "Renewed"),
            (FAILED, "Failed"),
            (REFUSED, "Refused"),
            (CUT_OFF, "Cut off"),
        ],
    )
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
