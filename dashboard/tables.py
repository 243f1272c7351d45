from __future__ import annotations

from typing import Any

import django_tables2 as tables
from django.http import QueryDict

PER_PAGE = (25, 50, 100)


class InstallTable(tables.Table):
    """Columns, order and paging; a row's cells are drawn by `_install_row.html`."""

    name = tables.Column(verbose_name="Account", order_by=("name", "pk"))
    agency = tables.Column(
        accessor="company_name", verbose_name="Agency", order_by=("company_name", "name", "pk")
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

    class Meta:
        template_name = "dashboard/_install_table.html"


def install_table(rows: Any, query: QueryDict, *, per_page: int | None = None) -> InstallTable:
    """Return the table that `?sort=&page=&per_page=` ask for; what cannot be read is left out."""
    table = InstallTable(rows, order_by=query.getlist("sort"))
    if not table.order_by:
        table.order_by = "name"
    table.paginate(per_page=per_page or _per_page(query))
    table.page = table.paginator.get_page(query.get("page"))
    return table


def _per_page(query: QueryDict) -> int:
    asked = query.get("per_page", "")
    sizes = {str(size): size for size in PER_PAGE}
    return sizes.get(asked, PER_PAGE[0])
