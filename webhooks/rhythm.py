"""How often each account usually sends events, and which have fallen silent.

Kept in one small row for each account: the gaps between its events, smoothed, and the longest of
them, which nights and weekends make and which fades over weeks. An account is silent when it has
sent nothing for well longer than that.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Exists, OuterRef

from integrations.models import (
    COMPANY,
    LOCATION,
    GoHighLevelIntegration,
    IntegrationQuerySet,
)
from webhooks.models import EventRhythm, GoHighLevelWebhook

# Events within a minute of each other are one sign of life.
SAME_MOMENT_S = 60.0
# A rhythm is known after so many gaps.
ENOUGH_GAPS = 20
NEWEST_COUNTS = 0.05
LONGEST_HALVES_IN_S = 14 * 86_400.0
# Silence is remarkable after so many times the longest gap, and never before an hour.
PATIENCE = 1.5
LEAST_PATIENCE_S = 3600.0


@dataclass(frozen=True)
class Silence:
    """An account that has sent nothing for longer than it ever did lately. Units: seconds."""

    install: GoHighLevelIntegration
    last_at: datetime
    usual_s: float
    longest_s: float


def note(events: Iterable[GoHighLevelWebhook]) -> None:
    """Take in new events. Those not later than what is known of their account say nothing new, so
    that an event noted twice, or replayed, counts once."""
    moments: dict[str, list[datetime]] = {}
    for event in events:
        if event.account_id:
            moments.setdefault(event.account_id, []).append(event.received_at)
    if not moments:
        return
    known = EventRhythm.objects.in_bulk(list(moments))
    new, changed = [], []
    for account_id, times in moments.items():
        times.sort()
        rhythm = known.get(account_id)
        if rhythm is None:
            rhythm = EventRhythm(account_id=account_id, last_at=times[0])
            new.append(rhythm)
        elif times[-1] > rhythm.last_at:
            changed.append(rhythm)
        for moment in times:
            _take_in(rhythm, moment)
    EventRhythm.objects.bulk_create(new, ignore_conflicts=True)
    EventRhythm.objects.bulk_update(
        changed, ["last_at", "gaps", "usual_s", "longest_s", "silent_at"]
    )


def silent(
    now: datetime, *, among: IntegrationQuerySet | None = None, most: int = 100
) -> list[Silence]:
    """Return the silent accounts whose install has not ended, the longest silent first; of the
    installs `among` alone, if these are given."""
    installs = GoHighLevelIntegration.objects.all() if among is None else among
    installs = installs.renewable().filter(user_type__in=(LOCATION, COMPANY))
    its_install = installs.filter(resource_id=OuterRef("account_id"))
    rhythms = EventRhythm.objects.filter(Exists(its_install), silent_at__lte=now)
    found = {rhythm.account_id: rhythm for rhythm in rhythms.order_by("silent_at")[:most]}
    if not found:
        return []
    theirs = installs.filter(resource_id__in=found).without_secrets()
    by_id = {install.resource_id: install for install in theirs}
    return [
        Silence(by_id[account_id], rhythm.last_at, rhythm.usual_s, rhythm.longest_s)
        for account_id, rhythm in found.items()
        if account_id in by_id
    ]


def _take_in(rhythm: EventRhythm, moment: datetime) -> None:
    gap_s = (moment - rhythm.last_at).total_seconds()
    if gap_s <= 0:
        return
    rhythm.last_at = moment
    if gap_s > SAME_MOMENT_S:
        rhythm.gaps += 1
        # The first gaps count alike, later ones fade the older.
        weight = max(1 / rhythm.gaps, NEWEST_COUNTS)
        rhythm.usual_s += weight * (gap_s - rhythm.usual_s)
        faded = rhythm.longest_s * 0.5 ** (gap_s / LONGEST_HALVES_IN_S)
        rhythm.longest_s = max(gap_s, faded)
    if rhythm.gaps >= ENOUGH_GAPS:
        patience_s = max(PATIENCE * rhythm.longest_s, LEAST_PATIENCE_S)
        rhythm.silent_at = moment + timedelta(seconds=patience_s)
