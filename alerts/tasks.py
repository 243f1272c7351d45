"""Entry points of the queue."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.utils import timezone
from django_q.tasks import async_task

from alerts import delivery, incidents, ping
from alerts.models import Delivery, Incident, Snooze
from integrations import schedules
from integrations.cleanup import delete_in_batches

TICK = "whatreach: alerts"
CLEAN_UP = "whatreach: nightly clean-up of alerts"


def tick() -> None:
    """Look what is wrong; ring for what is to be sent, now or again."""
    now = timezone.now()
    incidents.look(now)
    if delivery.is_any_due(now):
        async_task("alerts.tasks.deliver")
    ping.ping(well=ping.is_well())


def deliver() -> dict[str, int]:
    return dict(delivery.deliver_due(timezone.now()))


def clean_up() -> dict[str, int]:
    """Forget what is older than HISTORY_KEEP_DAYS, and ended."""
    if not settings.HISTORY_KEEP_DAYS:
        return {}
    before = timezone.now() - timedelta(days=settings.HISTORY_KEEP_DAYS)
    old = {
        "deliveries": Delivery.objects.filter(created_at__lt=before, due_at=None),
        "incidents": Incident.objects.filter(closed_at__lt=before),
        "snoozes": Snooze.objects.filter(ended_at__lt=before),
    }
    return {name: delete_in_batches(rows) for name, rows in old.items()}


def ensure_schedules(**_: object) -> None:
    schedules.ensure_minutely(TICK, "alerts.tasks.tick")
    schedules.ensure_nightly(CLEAN_UP, "alerts.tasks.clean_up", "50 3 * * *")
