"""Outages: when renewals of many installs fail in passing, all wait and one tries for them.

A token that is not sent cannot be lost. So while HighLevel has a fault, or our own set-up has one,
installs are left alone but for one renewal at a time, at growing distance, and for those that
somebody asks for by name or by force. The first success, of whichever renewal, ends the outage.
Meanwhile valid tokens are handed out, and a refusal marks nobody: HighLevel is not to be believed.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.db.models import Count, F
from django.utils import timezone

from integrations.models import (
    PASSING_CAUSES,
    GoHighLevelIntegration,
    Outage,
    RefreshAttempt,
)

logger = logging.getLogger(__name__)

LOOK_BACK = timedelta(minutes=5)
# Of the renewals of LOOK_BACK: so many installs failed, and that is a good part of all …
MANY_INSTALLS, GOOD_PART = 5, 0.2
# … or nothing at all succeeded, with at least so many.
FEW_INSTALLS = 3
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=30), timedelta(minutes=10)
# One that comes back so soon had not ended.
SAME_WITHIN = timedelta(minutes=10)


def current() -> Outage | None:
    return Outage.objects.filter(is_open=True).first()


def note_failure(now: datetime) -> None:
    """Begin an outage if, with the failure just noted, enough have failed in passing."""
    if current() is None and (cause := _common_cause(now)):
        _begin(cause, now)


def take_turn(outage: Outage, now: datetime) -> bool:
    """Whether the caller may be the one that tries now; then nobody else may for a while."""
    pause = min(FIRST_PAUSE * 2 ** min(outage.tries, 10), LONGEST_PAUSE)
    turn = Outage.objects.filter(pk=outage.pk, is_open=True, tries=outage.tries, try_at__lte=now)
    return bool(turn.update(tries=F("tries") + 1, try_at=now + pause))


def end(*, begun_at: datetime) -> None:
    """HighLevel gave tokens by a call that was begun then: end the outage, and call back those that
    failed in it. A call from before the outage says nothing about it."""
    now = timezone.now()
    disproved = Outage.objects.filter(is_open=True, began_at__lte=begun_at)
    # Looked for first: most successes find none, and a write would take SQLite's only lock.
    if disproved.exists() and disproved.update(is_open=None, ended_at=now):
        woken = GoHighLevelIntegration.objects.wake_after_outage(now)
        logger.warning("The outage is over; %s installs are called back.", woken)


def _common_cause(now: datetime) -> str:
    """Return the cause that most installs failed for; empty when too few failed."""
    recent = RefreshAttempt.objects.filter(started_at__gt=now - LOOK_BACK)
    failed = recent.filter(outcome=RefreshAttempt.FAILED, cause__in=PASSING_CAUSES)
    by_cause = dict(
        failed.order_by().values_list("cause").annotate(n=Count("integration", distinct=True))
    )
    installs = sum(by_cause.values())
    if installs < FEW_INSTALLS:
        return ""
    renewed = recent.filter(outcome=RefreshAttempt.RENEWED).count()
    all_fail = renewed == 0
    many_fail = installs >= MANY_INSTALLS and installs >= GOOD_PART * (installs + renewed)
    return max(by_cause, key=by_cause.__getitem__) if all_fail or many_fail else ""


def _begin(cause: str, now: datetime) -> None:
    first = {"tries": 0, "try_at": now + FIRST_PAUSE}
    last = Outage.objects.order_by("-pk").first()
    # Several processes may see it at the same moment: the database lets one of them begin it.
    try:
        with transaction.atomic():
            if last and last.ended_at and last.ended_at > now - SAME_WITHIN:
                Outage.objects.filter(pk=last.pk).update(is_open=True, ended_at=None, **first)
            else:
                Outage.objects.create(began_at=now, cause=cause, **first)
    except IntegrityError:
        return
    logger.warning("Renewals of many installs fail (%s): all wait, one tries now and then.", cause)
