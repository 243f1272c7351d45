"""Accounts that allow less than the app asks for now: who they are, and how to catch up."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.db import transaction
from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST

from access.audit import record
from access.roles import Permission
from dashboard.exports import csv_response
from dashboard.htmx import HtmxRequest, installs_of, panel, staff_page
from dashboard.links import install_link
from integrations import scopes
from integrations.models import COMPANY, GoHighLevelIntegration, IntegrationQuerySet

PER_PAGE = 50
CSV_HEADER = (
    "account",
    "kind",
    "HighLevel id",
    "agency",
    "agency id",
    "missing permissions",
    "reconnect link",
)


@staff_page()
def scope_list(request: HtmxRequest) -> HttpResponse:
    return render(request, "dashboard/scope_list.html", _context(request))


@staff_page()
def live_scopes(request: HtmxRequest) -> HttpResponse:
    return panel(request, "dashboard/_scopes_panel.html", _context(request))


@staff_page()
def scope_csv(request: HtmxRequest) -> HttpResponseBase:
    rows = scopes.behind(_rows(request)).order_by("company_name", "name", "pk")
    return csv_response("missing-permissions", CSV_HEADER, _lines(rows, install_link(request)))


@require_POST
@staff_page(Permission.OPERATE, audit="agency.catch_up")
def scope_catch_up(request: HtmxRequest, pk: uuid.UUID) -> HttpResponse:
    """Get new tokens for the sub-accounts of an agency that allows all itself."""
    agency = get_object_or_404(installs_of(request), pk=pk, user_type=COMPANY)
    with transaction.atomic():
        scopes.ask_to_catch_up(agency)
        record(request, "agency.catch_up", target=agency)
    messages.info(request, f"Fetching new tokens for the sub-accounts of {agency}…")
    return redirect("dashboard:scope-list")


def _rows(request: HtmxRequest) -> IntegrationQuerySet:
    rows = installs_of(request)
    company_id = _agency_id(request)
    return rows.filter(company_id=company_id) if company_id else rows


def _agency_id(request: HtmxRequest) -> str:
    return request.GET.get("agency", "").replace("\x00", "")


def _context(request: HtmxRequest) -> dict[str, Any]:
    rows = _rows(request)
    # Agencies first: what they allow, their sub-accounts get with a new token.
    found = scopes.behind(rows).order_by("company_name", "company_id", "user_type", "name", "pk")
    page = Paginator(found, PER_PAGE).get_page(request.GET.get("page"))
    accounts = list(page)
    able = scopes.able_agencies(accounts)
    return {
        "now": timezone.now(),
        "wanted": scopes.wanted(),
        "progress": scopes.progress(rows),
        "page": page,
        "agency_id": _agency_id(request),
        "accounts": [
            {
                "install": row,
                "missing": scopes.missing(row.scope),
                "agency": None if row.is_agency else able.get(row.company_id),
            }
            for row in accounts
        ],
    }


def _lines(rows: IntegrationQuerySet, link: str) -> Iterator[tuple[object, ...]]:
    for row in rows.iterator(chunk_size=500):
        yield _line(row, link)


def _line(row: GoHighLevelIntegration, link: str) -> tuple[object, ...]:
    return (
        row.name,
        "agency" if row.is_agency else "sub-account",
        row.resource_id,
        row.company_name,
        row.company_id,
        " ".join(scopes.missing(row.scope)),
        link,
    )
