"""How long events are kept, by type; and what is kept now."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Count, Min, Sum
from django.db.models.functions import Length

from integrations.deadlocks import despite_deadlocks
from webhooks import counting
from webhooks.models import Backlog, EventQuerySet, EventStock, GoHighLevelWebhook

BATCH = 500
# What still needs somebody is kept, however old.
ENDED = (GoHighLevelWebhook.PROCESSED, GoHighLevelWebhook.IGNORED)
KEEP_BACKLOG = timedelta(days=90)


def purge(now: datetime) -> dict[str, int]:
    """Delete the events that are older than their type's time, and old counts; count what is left.

    A few rows at a time, each time by an index, so that nobody waits for it.
    """
    deleted = sum(_delete(events) for events in _too_old(now))
    Backlog.objects.filter(hour__lt=now - KEEP_BACKLOG).delete()
    counts = counting.purge(now)
    count_stock(now)
    return {"events": deleted, "counts": counts}


def count_stock(now: datetime) -> None:
    """Note how many events of each type there are, and how long their bodies are in all."""
    counted = GoHighLevelWebhook.objects.order_by().values("type")
    rows = counted.annotate(
        n=Count("pk"), characters=Sum(Length("body")), oldest=Min("received_at")
    )
    stock = [
        EventStock(
            type=row["type"],
            count=row["n"],
            characters=row["characters"] or 0,
            oldest_at=row["oldest"],
            counted_at=now,
        )
        for row in rows
    ]
    with transaction.atomic():
        EventStock.objects.all().delete()
        EventStock.objects.bulk_create(stock)


def _too_old(now: datetime) -> Iterator[EventQuerySet]:
    ended = GoHighLevelWebhook.objects.filter(status__in=ENDED)
    by_type: dict[str, int] = settings.WEBHOOK_KEEP_DAYS_BY_TYPE
    for kind, days in by_type.items():
        if days:
            yield ended.filter(type=kind, received_at__lt=now - timedelta(days=days))
    if settings.WEBHOOK_KEEP_DAYS:
        cutoff = now - timedelta(days=settings.WEBHOOK_KEEP_DAYS)
        yield ended.filter(received_at__lt=cutoff).exclude(type__in=list(by_type))


def _delete(events: EventQuerySet) -> int:
    """Each batch begins where the last one ended: what is older and kept is passed over once."""
    deleted, left = 0, events.order_by("received_at")
    while batch := list(left.values_list("pk", "received_at")[:BATCH]):
        despite_deadlocks(
            GoHighLevelWebhook.objects.filter(pk__in=[pk for pk, _at in batch]).delete
        )
        deleted += len(batch)
        left = events.filter(received_at__gte=batch[-1][1]).order_by("received_at")
    return deleted
