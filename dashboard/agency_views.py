"""An agency's page, and its sub-accounts at HighLevel beside those here."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.db import transaction
from django.http import HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST

from access.audit import record
from access.models import AuditEvent
from access.roles import Permission
from dashboard import agency as agencies
from dashboard.found import Found
from dashboard.htmx import HtmxRequest, installs_of, panel, staff_page
from dashboard.selection import read_ids
from dashboard.sentences import accounts
from dashboard.summary import TILES, summarise
from dashboard.tables import install_table, shown_columns
from integrations import reconcile, scopes, snapshots
from integrations.health import Status
from integrations.models import GoHighLevelIntegration

AGENCIES_PER_PAGE = 25
ACCOUNTS_SHOWN = 25


@staff_page()
def agency_list(request: HtmxRequest) -> HttpResponse:
    return render(request, "dashboard/agency_list.html", _list_context(request))


@staff_page()
def live_agency_list(request: HtmxRequest) -> HttpResponse:
    return panel(request, "dashboard/_agencies_panel.html", _list_context(request))


@require_POST
@staff_page(Permission.OPERATE, audit="agency.compare_all")
def agency_compare_all(request: HtmxRequest) -> HttpResponse:
    rows = agencies.agencies_of(request.user)
    with transaction.atomic():
        begun = reconcile.begin_all(rows, caller=request.user.get_username())
        record(request, "agency.compare_all", agencies=begun)
    text = f"Comparing {begun} {'agency' if begun == 1 else 'agencies'} with HighLevel…"
    messages.info(request, text if begun else "No agency is connected; there is no list to read.")
    return redirect("dashboard:agency-list")


@staff_page()
def agency_detail(request: HtmxRequest, company_id: str) -> HttpResponse:
    return render(request, "dashboard/agency_detail.html", _detail_context(request, company_id))


@staff_page()
def live_agency(request: HtmxRequest, company_id: str) -> HttpResponse:
    return panel(request, "dashboard/_agency_panel.html", _detail_context(request, company_id))


@staff_page()
def agency_reconcile(request: HtmxRequest, company_id: str) -> HttpResponse:
    context = _reconcile_context(request, company_id)
    return render(request, "dashboard/reconcile.html", context)


@staff_page()
def live_reconcile(request: HtmxRequest, company_id: str) -> HttpResponse:
    context = _reconcile_context(request, company_id)
    return panel(request, "dashboard/_reconcile_panel.html", context)


@require_POST
@staff_page(Permission.OPERATE, audit="agency.compare")
def agency_compare(request: HtmxRequest, company_id: str) -> HttpResponse:
    install = agencies.get_connected(request, company_id)
    if install.status == Status.ACTIVE:
        with transaction.atomic():
            reconcile.begin(install, caller=request.user.get_username())
            record(request, "agency.compare", target=install)
    else:
        record(request, "agency.compare", target=install, outcome=AuditEvent.REFUSED)
        messages.error(request, f"{install} is not connected itself; its list cannot be read.")
    return redirect("dashboard:agency-reconcile", company_id=company_id)


@require_POST
@staff_page(Permission.OPERATE, audit="agency.fetch")
def agency_fetch(request: HtmxRequest, company_id: str) -> HttpResponse:
    """Fetch the tokens of the named sub-accounts that are missing here, or of all."""
    install = agencies.get_connected(request, company_id)
    comparison = reconcile.newest([install]).get(install.pk)
    with transaction.atomic():
        if comparison is None:
            found = 0
        elif "all" in request.POST:
            found = reconcile.ask_to_fetch(comparison)
        else:
            # No id has a NUL in it, and PostgreSQL takes none.
            ids = [text.replace("\x00", "") for text in request.POST.getlist("ids")]
            found = reconcile.fetch(comparison, ids, ended_too=True)
        record(request, "agency.fetch", target=install, found=found)
    text = "Nothing to fetch any more."
    if found:
        text = f"Fetching {accounts(found)}; they show as waiting until HighLevel has answered."
    messages.info(request, text)
    return redirect("dashboard:agency-reconcile", company_id=company_id)


@require_POST
@staff_page(Permission.OPERATE, audit="agency.end_missing")
def agency_end_missing(request: HtmxRequest, company_id: str) -> HttpResponse:
    """Ask first, then have those marked as uninstalled that HighLevel no longer lists."""
    install = agencies.get_connected(request, company_id)
    comparison = reconcile.newest([install]).get(install.pk)
    rows = reconcile.missing_there(comparison) if comparison else installs_of(request).none()
    if "all" not in request.POST:
        rows = rows.filter(pk__in=read_ids(request.POST.getlist("ids")))
    if comparison is None or not rows.exists():
        messages.info(request, "Tick the accounts to mark first.")
    elif "confirmed" not in request.POST:
        context = {
            "agency": agencies.get_agency(request, company_id),
            "count": rows.count(),
            "rows": list(rows.order_by("name", "pk")[: agencies.MOST_SHOWN]),
            "is_all": "all" in request.POST,
        }
        return render(request, "dashboard/reconcile_end.html", context)
    else:
        ids = list(rows.values_list("pk", flat=True))
        with transaction.atomic():
            asked = reconcile.end_missing(comparison, ids, caller=request.user.get_username())
            record(request, "agency.end_missing", target=install, count=asked)
        text = (
            f"Asking HighLevel once more about {accounts(asked)}; what is gone there ends here. "
            "What HighLevel does not answer about stays in the list."
        )
        messages.info(request, text)
    return redirect("dashboard:agency-reconcile", company_id=company_id)


def _list_context(request: HtmxRequest) -> dict[str, Any]:
    pages = Paginator(agencies.agencies_of(request.user), AGENCIES_PER_PAGE)
    page, now = pages.get_page(request.GET.get("page")), timezone.now()
    connected, unconnected = list(page), agencies.unconnected(request.user, now)
    shown = (unconnected or [])[: agencies.MOST_SHOWN]
    ids = [row.resource_id for row in connected] + [agency.company_id for agency in shown]
    health = agencies.health(request.user, ids, now)
    return {
        "now": now,
        "page": page,
        "lines": list(zip(agencies.compared(connected), health, strict=False)),
        "unconnected": list(zip(shown, health[len(connected) :], strict=True)),
        "unconnected_count": None if unconnected is None else len(unconnected),
    }


def _detail_context(request: HtmxRequest, company_id: str) -> dict[str, Any]:
    now = timezone.now()
    agency = agencies.get_agency(request, company_id)
    rows = agencies.rows_of(request, company_id)
    worst_first = QueryDict("sort=state&col=expires&col=verified&col=used")
    summary = summarise(snapshots.count(rows, now))
    return {
        "now": now,
        "agency": agency,
        "summary": summary,
        "tiles": TILES,
        "permissions": scopes.progress(rows),
        "one": _compared(agency.install),
        "table": install_table(Found(rows, summary.total), worst_first, per_page=ACCOUNTS_SHOWN),
        "columns": shown_columns(worst_first),
    }


def _reconcile_context(request: HtmxRequest, company_id: str) -> dict[str, Any]:
    agency = agencies.get_agency(request, company_id)
    one = _compared(agency.install)
    return {
        "now": timezone.now(),
        "agency": agency,
        "one": one,
        "is_connected": agency.install is not None and agency.install.status == Status.ACTIVE,
        **(agencies.side_by_side(one) if one else {}),
    }


def _compared(install: GoHighLevelIntegration | None) -> agencies.Compared | None:
    return agencies.compared([install])[0] if install is not None else None
