"""From a stored event to its effect: once, tried again when it fails, parked when that goes on."""

from __future__ import annotations

import logging
import time
import uuid
from collections import Counter
from datetime import timedelta

from django.db import models, transaction
from django.db.models import F
from django.utils import timezone

from webhooks.handlers import HANDLERS
from webhooks.models import GoHighLevelWebhook

logger = logging.getLogger(__name__)

PAUSES = [timedelta(minutes=m) for m in (1, 5, 30, 120, 720)]
SWEEP_BATCH = 200
LOOK_EVERY_S = 0.1
LOOK_AT_MOST_S = 1.0


def process_event(pk: uuid.UUID) -> str:
    """Run the event's handler if it is this call's turn; return the event's status after it.

    The turn is taken by moving process_at ahead: a crash in between leaves the next try planned.
    """
    now = timezone.now()
    event = GoHighLevelWebhook.objects.get(pk=pk)
    pause = PAUSES[min(event.attempts, len(PAUSES) - 1)]
    mine = GoHighLevelWebhook.objects.filter(
        pk=pk, status=GoHighLevelWebhook.PENDING, attempts=event.attempts, process_at__lte=now
    ).update(attempts=F("attempts") + 1, process_at=now + pause)
    if not mine:
        return event.status
    handler = HANDLERS.get(event.type)
    if handler is None:
        return _end(pk, GoHighLevelWebhook.IGNORED, "no handler for this type")
    try:
        with transaction.atomic():
            return _end(pk, GoHighLevelWebhook.PROCESSED, handler(event))
    except Exception as error:
        logger.exception("Event %s (%s) failed", pk, event.type)
        return _note_failure(event, error)


def sweep(look_for_s: float = 0) -> int:
    """Process the events that are due: new ones, and those whose next try has come.

    Returns how many. Goes on looking for so many seconds, at most LOOK_AT_MOST_S, since events
    that come right after a ring ring no bell of their own.
    """
    done = _process_due()
    stop_at = time.monotonic() + min(look_for_s, LOOK_AT_MOST_S)
    while time.monotonic() < stop_at:
        time.sleep(LOOK_EVERY_S)
        done += _process_due()
    return done


def _process_due() -> int:
    due = GoHighLevelWebhook.objects.filter(process_at__lte=timezone.now()).order_by("process_at")
    ids = list(due.values_list("pk", flat=True)[:SWEEP_BATCH])
    for pk in ids:
        process_event(pk)
    return len(ids)


def replay(events: models.QuerySet[GoHighLevelWebhook]) -> Counter[str]:
    """Process these events again as if they had just come, in the order in which they happened.

    Returns how many are now in each status; one that fails is left for the sweep to try again.
    """
    counted: Counter[str] = Counter()
    for pk in list(events.order_by("occurred_at").values_list("pk", flat=True)):
        GoHighLevelWebhook.objects.filter(pk=pk).update(
            status=GoHighLevelWebhook.PENDING,
            attempts=0,
            process_at=timezone.now(),
            processed_at=None,
            result="",
        )
        counted[process_event(pk)] += 1
    return counted


def _end(pk: uuid.UUID, status: str, result: str) -> str:
    GoHighLevelWebhook.objects.filter(pk=pk).update(
        status=status, result=result[:200], process_at=None, processed_at=timezone.now()
    )
    return status


def _note_failure(event: GoHighLevelWebhook, error: Exception) -> str:
    what = f"failed: {type(error).__name__}"
    if event.attempts + 1 >= len(PAUSES):
        return _end(event.pk, GoHighLevelWebhook.PARKED, what)
    GoHighLevelWebhook.objects.filter(pk=event.pk).update(result=what)
    return event.status
