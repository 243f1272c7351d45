"""Which accounts a bulk action is for: the ticked ones, or all that the list's filter finds."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime

from django.http import QueryDict

from dashboard.filters import InstallFilter
from dashboard.htmx import HtmxRequest, installs_of
from dashboard.tables import PER_PAGE
from integrations import snapshots
from integrations.models import IntegrationQuerySet

MOST_TICKED = max(PER_PAGE)


@dataclass(frozen=True)
class Selection:
    """`fields`: the form fields that say the same again."""

    rows: IntegrationQuerySet
    fields: list[tuple[str, str]]

    def counts(self, now: datetime) -> dict[str, int]:
        return snapshots.count(self.rows, now)


def read_selection(request: HtmxRequest, asked: QueryDict) -> Selection:
    """Read `ids`, or `all` with the list's `query`. What cannot be read selects nothing."""
    rows, query = installs_of(request), asked.get("query", "")
    if asked.get("all"):
        found = InstallFilter(QueryDict(query), rows)
        return Selection(found.qs, [("query", query), ("all", "1")])
    ids = read_ids(asked.getlist("ids"))[:MOST_TICKED]
    return Selection(rows.filter(pk__in=ids), [("query", query), *(("ids", str(pk)) for pk in ids)])


def read_ids(texts: list[str]) -> list[uuid.UUID]:
    found = []
    for text in texts:
        try:
            found.append(uuid.UUID(text))
        except ValueError:
            continue
    return found
