from __future__ import annotations

from datetime import datetime
from typing import Any

import django_tables2 as tables
from django.core.paginator import Paginator
from django.http import QueryDict
from django.utils import timezone

from dashboard.found import Found
from dashboard.sentences import tell
from integrations.models import GoHighLevelIntegration
from integrations.states import ended, unwell, well

PER_PAGE = (25, 50, 100)
# What the list can show beside name and state.
COLUMNS = {
    "agency": "Agency",
    "expires": "Expires",
    "verified": "Last verified",
    "used": "Last used",
    "renewed": "Renewed",
    "installed": "Installed",
    "highlevel_id": "HighLevel id",
}
USUAL_COLUMNS = ["agency", "expires", "verified", "used"]


class Shelves:
    """Rows that are sorted by which shelf they are on, and on each by the shelf's own order.

    Only what a page shows is read, and of shelves before it how many are on them.
    """

    def __init__(self, shelves: list[Any]) -> None:
        self.shelves = shelves

    def __getitem__(self, asked: slice) -> list[GoHighLevelIntegration]:
        found: list[GoHighLevelIntegration] = []
        skip, left = asked.start, asked.stop - asked.start
        for shelf in self.shelves:
            here = list(shelf[skip : skip + left])
            found += here
            left -= len(here)
            if not left:
                break
            skip = skip - shelf.count() if skip and not here else 0
        return found


class InstallTable(tables.Table):
    """Columns, order and paging; a row's cells are drawn by `_install_row.html`."""

    name = tables.Column(verbose_name="Account", order_by=("name", "pk"))
    agency = tables.Column(
        accessor="company_name",
        verbose_name="Agency",
        order_by=("company_name", "company_id", "name", "pk"),
    )
    state = tables.Column(empty_values=(), order_by=("severity", "name", "pk"))
    expires = tables.Column(
        accessor="expires_at", verbose_name="Expires", order_by=("expires_at", "pk")
    )
    verified = tables.Column(
        accessor="verified_at", verbose_name="Last verified", order_by=("verified_at", "pk")
    )
    used = tables.Column(
        accessor="last_used_at", verbose_name="Last used", order_by=("last_used_at", "pk")
    )

    renewed = tables.Column(
        accessor="renewed_at", verbose_name="Renewed", order_by=("renewed_at", "pk")
    )
    installed = tables.Column(
        accessor="installed_at", verbose_name="Installed", order_by=("installed_at", "pk")
    )
    highlevel_id = tables.Column(
        accessor="resource_id", verbose_name="HighLevel id", order_by=("user_type", "resource_id")
    )

    # By which the rows are grouped; no column of its own.
    group = tables.Column(
        accessor="company_id", order_by=("company_name", "company_id"), visible=False
    )

    class Meta:
        template_name = "dashboard/_install_table.html"

    def order_state(self, rows: Any, is_descending: bool) -> tuple[Any, bool]:
        """By nothing else: the unwell before all others, which are in one state each. A healthy
        one keeps its place while it is being renewed."""
        if len(self.order_by) > 1:
            return rows, False
        now = timezone.now()
        shelves = [
            rows.filter(unwell(now)).order_by("severity", "name", "pk"),
            rows.filter(well(now)).order_by("name", "pk"),
            rows.filter(ended()).order_by("name", "pk"),
        ]
        if is_descending:
            shelves = [shelf.reverse() for shelf in reversed(shelves)]
        return Shelves(shelves), True


def install_table(found: Found, query: QueryDict, *, per_page: int | None = None) -> InstallTable:
    """Return the table that `?sort=&page=&per_page=&col=&group=` ask for; what cannot be read is
    left out."""
    rows, shown, sort = found.rows, shown_columns(query), query.getlist("sort")
    if any("state" in column for column in sort):
        rows = rows.with_state(timezone.now())
    table = InstallTable(
        rows,
        order_by=sort,
        exclude=[name for name in COLUMNS if name not in shown],
    )
    if not table.order_by:
        table.order_by = "name"
    if is_grouped(query):
        table.order_by = ("group", *table.order_by)
    table.paginator = Paginator(table.rows, per_page or _per_page(query))
    table.paginator.count = found.shown
    table.page = table.paginator.get_page(query.get("page"))
    return table


def is_grouped(query: QueryDict) -> bool:
    return query.get("group") == "agency"


def shown_columns(query: QueryDict) -> list[str]:
    asked = query.getlist("col")
    return [name for name in COLUMNS if name in asked] or USUAL_COLUMNS


def _per_page(query: QueryDict) -> int:
    asked = query.get("per_page", "")
    sizes = {str(size): size for size in PER_PAGE}
    return sizes.get(asked, PER_PAGE[0])


EXPORT_HEADER = (
    "id",
    "kind",
    "name",
    "agency",
    "agency id",
    "HighLevel id",
    "state",
    "what happened",
    "expires (UTC)",
    "last verified (UTC)",
    "last used (UTC)",
    "installed (UTC)",
)


def export_row(install: GoHighLevelIntegration, now: datetime) -> tuple[object, ...]:
    story = tell(install, now)
    return (
        install.pk,
        "agency" if install.is_agency else "sub-account",
        install,
        install.company_name,
        install.company_id,
        install.resource_id,
        story.look.label,
        story.sentence,
        *(
            f"{moment:%Y-%m-%d %H:%M:%S}" if moment else ""
            for moment in (
                install.expires_at,
                install.verified_at,
                install.last_used_at,
                install.installed_at,
            )
        ),
    )
