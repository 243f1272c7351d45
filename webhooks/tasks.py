"""Entry points of the queue."""

from __future__ import annotations

import time
from datetime import datetime

from django.utils import timezone

from integrations.schedules import ensure_minutely, ensure_nightly
from webhooks import delivery, endpoints, processing, retention
from webhooks.forwarding_models import Endpoint

SWEEP = "whatreach: events"
PURGE = "whatreach: purge of events"
DELIVERIES = "whatreach: deliveries"


def sweep(until: float = 0) -> int:
    """Process the events that are due, and those that come until then (seconds of the epoch)."""
    return processing.sweep(look_for_s=until - time.time())


def scheduled_sweep() -> int:
    processing.note_backlog(timezone.now())
    return processing.sweep()


def purge() -> dict[str, int]:
    now = timezone.now()
    return retention.purge(now) | {"deliveries": endpoints.purge(now)}


def deliver() -> int:
    """Deliver to the endpoints what is due."""
    return delivery.deliver_due()


def send_again_since(endpoint_id: str, since: str, until: str) -> str:
    """Send an endpoint again what came within this time; what is left rings for the rest."""
    endpoint = Endpoint.objects.filter(pk=endpoint_id).first()
    if endpoint is None:
        return "there is no such endpoint"
    end = datetime.fromisoformat(until)
    left = endpoints.resend_batches(endpoint, datetime.fromisoformat(since), end)
    if left is None:
        return "done"
    endpoints.request_resend(endpoint, left, end)
    return "goes on"


def ensure_schedules(**_: object) -> None:
    ensure_minutely(SWEEP, "webhooks.tasks.scheduled_sweep")
    ensure_minutely(DELIVERIES, "webhooks.tasks.deliver")
    ensure_nightly(PURGE, "webhooks.tasks.purge", "20 3 * * *")
