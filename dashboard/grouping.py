"""The list of accounts by agency: each agency's title says how its worst account is."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.db.models import Min

from dashboard.sentences import LOOKS, Look
from integrations.health import WORST_FIRST
from integrations.models import GoHighLevelIntegration
from integrations.states import unwell


def worst_of_agencies(
    rows: Any, shown: Iterable[GoHighLevelIntegration], now: datetime
) -> dict[str, Look]:
    """Return {agency id: look of its worst account}, of the agencies of the accounts shown.

    `rows`: all accounts that the list finds. Of those on other pages only the ones in trouble are
    read: the index finds them, however many are fine.
    """
    worst: dict[str, int] = {}
    for row in shown:
        severity = WORST_FIRST.index(row.state(now))
        worst[row.company_id] = min(severity, worst.get(row.company_id, severity))
    there = rows.with_state(now).filter(unwell(now), company_id__in=worst).order_by()
    worst_there = there.values("company_id").annotate(worst=Min("severity"))
    for company_id, severity in worst_there.values_list("company_id", "worst"):
        worst[company_id] = min(severity, worst[company_id])
    return {company_id: LOOKS[WORST_FIRST[n]] for company_id, n in worst.items()}
