"""What HighLevel tells us, kept as it came."""

from __future__ import annotations

import json
import uuid
from datetime import timedelta
from typing import Any

from django.db import models

# Against clocks that are wrong: an event cannot have happened much later than it came.
MOST_AHEAD = timedelta(minutes=5)


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
    result = models.CharField(max_length=200, blank=True)

    class Meta:
        verbose_name = "event"
        indexes = [
            # processing.sweep: WHERE process_at <= now ORDER BY process_at
            models.Index(fields=["process_at"], name="event_due"),
            # The account pages: the newest events of one sub-account, of one agency
            models.Index(fields=["location_id", "-received_at"], name="event_of_location"),
            models.Index(fields=["company_id", "-received_at"], name="event_of_company"),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.received_at:%Y-%m-%d %H:%M:%S}"

    @property
    def payload(self) -> dict[str, Any]:
        payload: dict[str, Any] = json.loads(self.body)
        return payload
