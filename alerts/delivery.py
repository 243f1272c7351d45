"""Messages to channels: queued in the look's transaction, sent by tasks, tried again for a day.

A delivery is taken by one conditional UPDATE that also plans the next try; a process that dies
while it sends leaves it to that one. So a death may make a message come twice, and loses none.
"""

from __future__ import annotations

import logging
import uuid
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from alerts import messages, sending
from alerts.models import Channel, Delivery, Incident, Notice
from integrations import bulk

logger = logging.getLogger(__name__)

BATCH = 50
# After the first try, the second …; then it is given up.
PAUSES = [timedelta(minutes=m) for m in (1, 2, 5, 15, 30, 60, 120, 240, 480, 720)]
# A channel that only fails is switched off after so long, or after so many clear refusals.
PATIENCE = timedelta(days=5)
MOST_REFUSALS = 8


def queue(news: Sequence[tuple[Incident, str]], now: datetime) -> None:
    """Note for each channel what it is to be told. In quiet hours that waits, and is gathered."""
    if not news:
        return
    channels = list(Channel.objects.working().select_related("owner"))
    waiting = {
        delivery.channel_id: delivery
        for delivery in Delivery.objects.filter(
            channel__in=channels, about=Delivery.INCIDENTS, attempts=0, due_at__gt=now
        )
    }
    deliveries, notices = [], []
    for channel in channels:
        wanted = [(incident, what) for incident, what in news if channel.wants(incident)]
        if not wanted:
            continue
        delivery = waiting.get(channel.pk)
        if delivery is None:
            due_at = channel.quiet_ends(now) or now
            delivery = Delivery(
                channel=channel, about=Delivery.INCIDENTS, created_at=now, due_at=due_at
            )
            deliveries.append(delivery)
        notices += [Notice(delivery=delivery, incident=i, what=what) for i, what in wanted]
    Delivery.objects.bulk_create(deliveries)
    Notice.objects.bulk_create(notices, batch_size=1000)


def is_any_due(now: datetime) -> bool:
    return Delivery.objects.filter(due_at__lte=now).exists()


def deliver_due(now: datetime) -> Counter[str]:
    """Send what is due, side by side; return how many ended or wait in which way."""
    due = Delivery.objects.filter(due_at__lte=now).order_by("due_at")
    work = bulk.guarded(deliver, Delivery.WAITING)
    return Counter(bulk.side_by_side(work, list(due.values_list("pk", flat=True)[:BATCH])))


def deliver(pk: uuid.UUID) -> str:
    """Send one if it is due and nobody else does; return its status."""
    now = timezone.now()
    delivery = Delivery.objects.select_related("channel__owner").filter(pk=pk).first()
    if delivery is None:  # removed with its channel a moment ago
        return Delivery.DROPPED
    if not _take(delivery, now):
        return delivery.status
    channel = delivery.channel
    if not Channel.objects.working().filter(pk=channel.pk).exists():
        return _end(delivery, Delivery.DROPPED, channel.get_disabled_why_display())
    message = messages.compose(delivery, now)
    outcome = sending.send(channel, message)
    if outcome.error:
        return _note_failure(delivery, message, outcome)
    _note_success(channel)
    logger.info("Alert %s sent to channel %s", pk, channel.pk)
    return _end(delivery, Delivery.SENT, "", message.subject)


def send_test(channel: Channel) -> sending.Outcome:
    """Send a test message now, and note how it went."""
    outcome = sending.send(channel, messages.test_message(channel, timezone.now()))
    if outcome.error:
        Channel.objects.filter(pk=channel.pk).update(last_error=outcome.error)
    else:
        _note_success(channel)
    return outcome


def switch_off(channel: Channel, why: str) -> bool:
    """Stop telling this channel. False: it was off already."""
    on = Channel.objects.filter(pk=channel.pk, disabled_at=None)
    return bool(on.update(disabled_at=timezone.now(), disabled_why=why))


def switch_on(channel: Channel) -> None:
    Channel.objects.filter(pk=channel.pk).update(
        disabled_at=None, disabled_why="", failing_since=None, refusals=0, last_error=""
    )


def _take(delivery: Delivery, now: datetime) -> bool:
    pause = PAUSES[min(delivery.attempts, len(PAUSES) - 1)]
    mine = Delivery.objects.filter(pk=delivery.pk, attempts=delivery.attempts, due_at__lte=now)
    taken = bool(mine.update(attempts=F("attempts") + 1, due_at=now + pause))
    delivery.attempts += taken
    return taken


def _note_success(channel: Channel) -> None:
    Channel.objects.filter(pk=channel.pk).update(
        told_at=timezone.now(), failing_since=None, refusals=0, last_error=""
    )


def _note_failure(delivery: Delivery, message: messages.Message, outcome: sending.Outcome) -> str:
    now, channel = timezone.now(), delivery.channel
    logger.warning(
        "Alert %s not sent to channel %s, try %d: %s",
        delivery.pk,
        channel.pk,
        delivery.attempts,
        outcome.error,
    )
    with transaction.atomic():
        rows = Channel.objects.filter(pk=channel.pk)
        rows.filter(failing_since=None).update(failing_since=now)
        refused = F("refusals") + 1 if outcome.is_refusal else F("refusals")
        rows.update(refusals=refused, last_error=outcome.error)
        channel.refresh_from_db(fields=["refusals", "failing_since"])
        too_long = channel.failing_since and now - channel.failing_since >= PATIENCE
        if too_long or channel.refusals >= MOST_REFUSALS:
            switch_off(channel, Channel.FAILED)
            return _end(delivery, Delivery.DROPPED, outcome.error, message.subject)
        if delivery.attempts > len(PAUSES):
            return _end(delivery, Delivery.GIVEN_UP, outcome.error, message.subject)
        Delivery.objects.filter(pk=delivery.pk).update(error=outcome.error, subject=message.subject)
    return Delivery.WAITING


def _end(delivery: Delivery, status: str, error: str, subject: str = "") -> str:
    Delivery.objects.filter(pk=delivery.pk).update(
        status=status, error=error[:200], subject=subject, due_at=None, ended_at=timezone.now()
    )
    return status
