"""What HighLevel tells us, kept as it came."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, ClassVar

from django.db import models
from django.db.models import Q

from access.models import User
from integrations.models import LOCATION, GoHighLevelIntegration

# Models of this app too, in a file of their own.
from webhooks.forwarding_models import Delivery as Delivery
from webhooks.forwarding_models import Endpoint as Endpoint

# Against clocks that are wrong: an event cannot have happened much later than it came.
MOST_AHEAD = timedelta(minutes=5)
# HighLevel delivers again for hours and days, with the first time in the body.
LATE_AFTER = timedelta(minutes=5)
# Nobody waits long for the rows, or for the file, while so many are changed at once.
BATCH = 1000


class EventQuerySet(models.QuerySet["GoHighLevelWebhook"]):
    def visible_to(self, user: User) -> EventQuerySet:
        """The events of the agencies that the person is limited to; all for most people.

        Many events of a sub-account do not name its agency: then the install does.
        """
        if not user.agencies:
            return self
        theirs = GoHighLevelIntegration.objects.filter(
            user_type=LOCATION, company_id__in=user.agencies
        )
        return self.filter(
            Q(company_id__in=user.agencies)
            | Q(company_id="", location_id__in=theirs.values("resource_id"))
        )

    def of_account(self, account_id: str) -> EventQuerySet:
        """Those of one sub-account; of an agency those that name no sub-account."""
        return self.filter(Q(location_id=account_id) | Q(location_id="", company_id=account_id))

    def waiting(self) -> EventQuerySet:
        """Those that are still to be processed, or tried again."""
        return self.filter(process_at__isnull=False)

    def in_batches(self) -> Iterator[EventQuerySet]:
        """All these in parts, the oldest first: what came at one moment is in one part."""
        rest = self
        while True:
            moments = rest.order_by("received_at").values_list("received_at", flat=True)
            last = moments[BATCH - 1 : BATCH].first()
            if last is None:
                break
            yield rest.filter(received_at__lte=last)
            rest = self.filter(received_at__gt=last)
        yield rest


class GoHighLevelWebhook(models.Model):
    """One event. The row is the truth about its processing; a queue entry only rings the bell."""

    PENDING, PROCESSED, IGNORED, PARKED = "pending", "processed", "ignored", "parked"
    STATUSES = (PENDING, PROCESSED, IGNORED, PARKED)

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    webhook_id = models.CharField(
        max_length=100, unique=True, help_text="HighLevel's webhookId, else the body's SHA-256."
    )
    type = models.CharField(max_length=80)
    app_id = models.CharField(max_length=64, blank=True)
    company_id = models.CharField(max_length=64, blank=True)
    location_id = models.CharField(max_length=64, blank=True)
    body = models.TextField()
    headers = models.JSONField(null=True, help_text="Those of the delivery that tell something.")
    occurred_at = models.DateTimeField(help_text="HighLevel's timestamp, else when it came.")
    received_at = models.DateTimeField()

    status = models.CharField(
        max_length=10,
        default=PENDING,
        choices=[(s, s.capitalize()) for s in STATUSES],
    )
    attempts = models.PositiveSmallIntegerField(default=0)
    # When it is (again) to be processed; null when it is not.
    process_at = models.DateTimeField(null=True)
    processed_at = models.DateTimeField(null=True)
    took_ms = models.PositiveIntegerField(null=True)
    result = models.CharField(max_length=200, blank=True)

    objects: ClassVar[models.Manager[GoHighLevelWebhook]] = EventQuerySet.as_manager()

    class Meta:
        verbose_name = "event"
        indexes = [
            # The list of events, newest first: all, of one type, in one state; the purge
            models.Index(fields=["-received_at"], name="event_newest"),
            models.Index(fields=["type", "-received_at"], name="event_of_type"),
            models.Index(fields=["status", "-received_at"], name="event_in_status"),
            # processing.sweep: WHERE process_at <= now ORDER BY process_at
            models.Index(fields=["process_at"], name="event_due"),
            # The account pages: the newest events of one sub-account, of one agency
            models.Index(fields=["location_id", "-received_at"], name="event_of_location"),
            models.Index(fields=["company_id", "-received_at"], name="event_of_company"),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.received_at:%Y-%m-%d %H:%M:%S}"

    @property
    def account_id(self) -> str:
        """HighLevel's id of the sub-account, else of the agency; empty when it names neither."""
        return self.location_id or self.company_id

    @property
    def delay(self) -> timedelta:
        """How long after it happened it came."""
        return max(self.received_at - self.occurred_at, timedelta())

    @property
    def is_late(self) -> bool:
        return self.delay > LATE_AFTER

    @property
    def payload(self) -> dict[str, Any]:
        payload: dict[str, Any] = json.loads(self.body)
        return payload


class EventAttempt(models.Model):
    """One failed try to process an event."""

    event = models.ForeignKey(GoHighLevelWebhook, on_delete=models.CASCADE, related_name="failures")
    number = models.PositiveSmallIntegerField()
    at = models.DateTimeField()
    took_ms = models.PositiveIntegerField(null=True)
    error = models.CharField(max_length=100, help_text="The kind of the error.")
    text = models.CharField(max_length=500, blank=True, help_text="Its text, without secrets.")

    class Meta:
        verbose_name = "failed attempt"

    def __str__(self) -> str:
        return f"{self.number}: {self.error}"


class Outcome(models.TextChoices):
    """What became of a delivery. Those after DUPLICATE were refused."""

    STORED = "stored", "Stored"
    DUPLICATE = "duplicate", "Known already"
    UNSIGNED = "unsigned", "No signature"
    BAD_SIGNATURE = "bad_signature", "Wrong signature"
    TOO_LARGE = "too_large", "Too large"
    TOO_SLOW = "too_slow", "Too slow"
    UNREADABLE = "unreadable", "Not readable"
    OTHER_APP = "other_app", "Of another app"
    NOT_STORED = "not_stored", "Could not be stored"


class AnswerCount(models.Model):
    """How many deliveries of one hour were answered in one way. Written by counting.py.

    `type` is empty for what was refused: nobody vouches for it.
    """

    hour = models.DateTimeField(help_text="Its beginning.")
    status = models.PositiveSmallIntegerField()
    outcome = models.CharField(max_length=15, choices=Outcome.choices)
    type = models.CharField(max_length=80, blank=True)
    count = models.PositiveIntegerField(default=0)
    total_ms = models.PositiveBigIntegerField(default=0)
    slowest_ms = models.PositiveIntegerField(default=0)
    last_at = models.DateTimeField()
    last_address = models.CharField(max_length=45, blank=True)

    class Meta:
        verbose_name = "count of answers"
        constraints = [
            # Serves counting.py's UPDATE and, by its first column, the figures' WHERE hour >= …
            models.UniqueConstraint(
                fields=["hour", "outcome", "status", "type"], name="one_count_per_hour"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H:00} {self.outcome} {self.count}"


class Backlog(models.Model):
    """How long the oldest unprocessed event had been waiting, at worst, in one hour."""

    hour = models.DateTimeField(primary_key=True)
    oldest_s = models.PositiveIntegerField()

    class Meta:
        verbose_name = "backlog"

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H:00} {self.oldest_s} s"


class EventStock(models.Model):
    """How many events of a type are kept, and their size. Counted nightly by retention.py."""

    type = models.CharField(max_length=80, primary_key=True)
    count = models.PositiveIntegerField()
    characters = models.PositiveBigIntegerField()
    oldest_at = models.DateTimeField()
    counted_at = models.DateTimeField()

    class Meta:
        verbose_name = "stock of events"

    def __str__(self) -> str:
        return f"{self.type} {self.count}"


class EventRhythm(models.Model):
    """How often an account sends events. Written by rhythm.py, which says how."""

    account_id = models.CharField(max_length=64, primary_key=True)
    last_at = models.DateTimeField()
    gaps = models.PositiveIntegerField(default=0)
    usual_s = models.FloatField(default=0)
    longest_s = models.FloatField(default=0)
    # From when on its silence is remarkable; null as long as too little is known.
    silent_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = "rhythm of an account"
        indexes = [models.Index(fields=["silent_at"], name="rhythm_silent")]

    def __str__(self) -> str:
        return f"{self.account_id} every {self.usual_s:.0f} s"
