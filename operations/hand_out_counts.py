"""How many tokens were handed out and calls passed on, on all hosts, since the first look at
/metrics: exactly those that handouts.py recorded.

Its rows are the truth, one for each key, install and hour. Hours that are over are added up in
Counter rows, so that a look sums up two hours at most, and the count stays when rows are deleted.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from django.db import transaction
from django.db.models import F, QuerySet, Sum
from django.utils import timezone

from access.times import hour_of
from integrations.models import HandOut
from operations.models import Counter
from operations.renewal_counts import SETTLED_AFTER, microseconds_of, moment_of

_MARK = "hand-outs counted before (microseconds since 1970)"
_TOKENS, _CALLS = "hand-outs tokens", "hand-outs calls"


class Total(NamedTuple):
    tokens: int
    calls: int


def read(now: datetime | None = None) -> Total:
    """Return what was counted, exact to this moment. Adds up first the hours that are over."""
    now = now or timezone.now()
    stored = _stored()
    if _MARK not in stored:
        Counter.objects.get_or_create(
            key=_MARK, defaults={"value": microseconds_of(hour_of(now - SETTLED_AFTER))}
        )
        stored = _stored()
    if moment_of(stored[_MARK]) < hour_of(now - SETTLED_AFTER):
        _add_up(stored[_MARK], hour_of(now - SETTLED_AFTER))
        stored = _stored()
    while True:
        since = _sum(HandOut.objects.filter(hour__gte=moment_of(stored[_MARK])))
        before, stored = stored, _stored()
        # `keep` moves numbers from the rows into the counts: both are of one moment if the counts
        # did not change, and else the same number would be in neither of them.
        if stored == before:
            return Total(stored.get(_TOKENS, 0) + since.tokens, stored.get(_CALLS, 0) + since.calls)


def keep(installs: Sequence[uuid.UUID]) -> None:
    """Count for good what these installs had: their rows are about to be deleted. Call it in the
    transaction that does so."""
    mark = Counter.objects.select_for_update().filter(key=_MARK).first()
    if mark is not None:
        since = moment_of(mark.value)
        _add(_sum(HandOut.objects.filter(integration__in=installs, hour__gte=since)))


def _stored() -> dict[str, int]:
    mine = Counter.objects.filter(key__in=[_MARK, _TOKENS, _CALLS])
    return dict(mine.values_list("key", "value"))


def _add_up(mark: int, until: datetime) -> None:
    """Move the mark, and add to the counts what it passes; one process wins, the others do not."""
    with transaction.atomic():
        mine = Counter.objects.filter(key=_MARK, value=mark)
        if mine.update(value=microseconds_of(until)):
            _add(_sum(HandOut.objects.filter(hour__gte=moment_of(mark), hour__lt=until)))


def _add(total: Total) -> None:
    for key, value in ((_TOKENS, total.tokens), (_CALLS, total.calls)):
        Counter.objects.get_or_create(key=key)
        Counter.objects.filter(key=key).update(value=F("value") + value)


def _sum(rows: QuerySet[HandOut]) -> Total:
    told = rows.aggregate(tokens=Sum("tokens"), calls=Sum("calls"))
    return Total(told["tokens"] or 0, told["calls"] or 0)
