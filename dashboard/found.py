"""The accounts that a list is about, and how many they are: all are counted where there are few."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# Further pages are nobody's way to find an account.
PAGED_UP_TO = 10_000
# So many are shown of what a search finds among very many: sorted they are, not all are read.
FOUND_UP_TO = 500


@dataclass(frozen=True)
class Found:
    """`total`: how many `rows` there are; counted they are up to one more than `most`, which the
    list pages through. `are_first`: these are the first of all in their order, else any."""

    rows: Any
    total: int
    most: int = PAGED_UP_TO
    are_first: bool = True

    @property
    def shown(self) -> int:
        return min(self.total, self.most)

    @property
    def is_cut(self) -> bool:
        return self.total > self.most

    @property
    def is_total_known(self) -> bool:
        return self.total > self.most + 1


def first_of(rows: Any, known: int = 0) -> Found:
    """Return the first of these rows in any order that an index has. `known`: how many there were
    at the last look, which has to do where they are not counted."""
    most = PAGED_UP_TO
    return Found(rows, known if known > most else rows.order_by()[: most + 1].count(), most)


def any_of(rows: Any) -> Found:
    """Return some of these rows: to find some in any order is quick where to find the first by
    name may be to try all."""
    most = FOUND_UP_TO
    ids = list(rows.order_by().values_list("pk", flat=True)[: most + 1])
    some = rows.model.objects.without_secrets().filter(pk__in=ids[:most])
    return Found(some, len(ids), most, are_first=False)
