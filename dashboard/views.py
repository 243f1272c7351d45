"""Pages, their live parts, and the few actions. What they show is put together in the modules
beside; what they do is done by integrations."""

from __future__ import annotations

import uuid
from typing import Any
from urllib.parse import urlsplit

from django.contrib import messages
from django.db import transaction
from django.http import HttpResponse, QueryDict, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.views.decorators.http import require_POST
from django_htmx.http import HttpResponseClientRedirect

from access.audit import record
from access.models import AuditEvent
from access.roles import Permission
from dashboard import account, charts, demo, jobs, keys, worst
from dashboard.alert_views import snooze_of
from dashboard.exports import csv_response
from dashboard.filters import InstallFilter
from dashboard.found import Found
from dashboard.grouping import worst_of_agencies
from dashboard.htmx import (
    HtmxRequest,
    announce_change,
    installs_of,
    next_page,
    panel,
    shared_panel,
    staff_page,
    toast,
    wants_partial,
)
from dashboard.links import install_link
from dashboard.selection import MOST_TICKED, read_ids
from dashboard.sentences import accounts
from dashboard.summary import TILES, summarise, worst_first
from dashboard.tables import (
    COLUMNS,
    EXPORT_HEADER,
    PER_PAGE,
    USUAL_COLUMNS,
    export_row,
    install_table,
    is_grouped,
    shown_columns,
)
from dashboard.timeline import KINDS, timeline
from dashboard.worker import read_worker
from integrations import bulk, outage, snapshots
from integrations.deadlocks import atomically
from integrations.models import GoHighLevelIntegration, IntegrationQuerySet
from integrations.refresh import request_refresh
from webhooks import meter

MOST_ATTENTION = 8
# How many of all accounts the overview shows.
BRIEF = 10


@staff_page()
def overview(request: HtmxRequest) -> HttpResponse:
    return render(request, "dashboard/overview.html", _overview_context(request))


@staff_page()
def live_overview(request: HtmxRequest) -> HttpResponse:
    return shared_panel(
        request, "dashboard/_overview_panel.html", lambda: _overview_context(request)
    )


@staff_page()
def live_worst(request: HtmxRequest) -> HttpResponse:
    """For pages that have nothing else to ask for."""
    return HttpResponse(
        status=204, headers={worst.HEADER: worst.as_header(worst.worst_for(request.user))}
    )


@staff_page()
def install_list(request: HtmxRequest) -> HttpResponse:
    context = _list_context(request)
    if wants_partial(request):
        return panel(request, "dashboard/_installs_panel.html", context)
    return render(request, "dashboard/install_list.html", context)


@staff_page()
def install_export(request: HtmxRequest) -> StreamingHttpResponse:
    """What the list's filter finds, as CSV."""
    now = timezone.now()
    found = InstallFilter(request.GET, installs_of(request)).qs.order_by("name", "pk")
    return csv_response(
        "accounts", EXPORT_HEADER, (export_row(row, now) for row in found.iterator(1000))
    )


@staff_page()
def live_install_list(request: HtmxRequest) -> HttpResponse:
    return shared_panel(request, "dashboard/_installs_panel.html", lambda: _list_context(request))


@staff_page()
def install_detail(request: HtmxRequest, pk: uuid.UUID) -> HttpResponse:
    return render(
        request, "dashboard/install_detail.html", _detail_context(request, _install(request, pk))
    )


@staff_page()
def live_install_detail(request: HtmxRequest, pk: uuid.UUID) -> HttpResponse:
    return panel(
        request, "dashboard/_install_panel.html", _detail_context(request, _install(request, pk))
    )


@require_POST
@staff_page(Permission.OPERATE, audit="install.refresh")
def install_refresh(request: HtmxRequest, pk: uuid.UUID) -> HttpResponse:
    """Ask for a renewal; answer with the changed part of the page that the click came from."""
    install = _install(request, pk)
    if not install.is_active:
        text, tone = f"{install} was removed; there is nothing to refresh.", "amber"
        record(request, "install.refresh", target=install, outcome=AuditEvent.REFUSED)
    else:
        with transaction.atomic():
            request_refresh(pk, trigger="dashboard", caller=request.user.get_username())
            record(request, "install.refresh", target=install)
        text, tone = f"Refreshing {install}…", "blue"
        install.refresh_from_db(fields=["requested_at"])
    if not request.htmx:
        messages.info(request, text)
        return redirect(next_page(request, "dashboard:install-list"))
    response = announce_change(_changed_part(request, install))
    return toast(response, text, tone) if tone == "amber" else response


@require_POST
@staff_page(Permission.OPERATE, audit="install.bulk_refresh")
def install_bulk_refresh(request: HtmxRequest) -> HttpResponse:
    """Ask for the renewal of the ticked accounts: those of one page at most."""
    if request.POST.get("all"):
        preview = urlencode(
            {"action": "refresh", "all": "1", "query": request.POST.get("query", "")}
        )
        return HttpResponseClientRedirect(f"{reverse('dashboard:install-bulk')}?{preview}")
    caller = request.user.get_username()
    ticked = read_ids(request.POST.getlist("ids"))[:MOST_TICKED]
    chosen = list(installs_of(request).filter(pk__in=ticked).values_list("pk", flat=True))
    with transaction.atomic():
        asked = sum(request_refresh(pk, trigger="dashboard", caller=caller) for pk in chosen)
        record(request, "install.bulk_refresh", asked=asked, ids=[str(pk) for pk in chosen])
    text = _bulk_sentence(asked, len(ticked) - asked)
    if not request.htmx:
        messages.info(request, text)
        return redirect(next_page(request, "dashboard:install-list"))
    return toast(announce_change(HttpResponse(status=204)), text, "blue")


@staff_page()
def job_list(request: HtmxRequest) -> HttpResponse:
    return render(request, "dashboard/job_list.html", _jobs_context(request))


@staff_page()
def live_job_list(request: HtmxRequest) -> HttpResponse:
    return panel(request, "dashboard/_jobs_panel.html", _jobs_context(request))


@staff_page()
def job_detail(request: HtmxRequest, pk: uuid.UUID) -> HttpResponse:
    return render(request, "dashboard/job_detail.html", _job_context(request, pk))


@staff_page()
def live_job(request: HtmxRequest, pk: uuid.UUID) -> HttpResponse:
    return panel(request, "dashboard/_job_panel.html", _job_context(request, pk))


@require_POST
@staff_page(Permission.OPERATE, audit="job.create")
def job_create(request: HtmxRequest) -> HttpResponse:
    """Hand all that need a renewal to the worker, and show how it goes."""
    return _begin_job(request, installs_of(request).needing_refresh(timezone.now()))


@require_POST
@staff_page(Permission.OPERATE, audit="job.create")
def job_again(request: HtmxRequest, pk: uuid.UUID) -> HttpResponse:
    """The same for those that failed in a job."""
    job = jobs.get_job(request.user, pk)
    return _begin_job(request, jobs.failed_of(job, installs_of(request)))


def _begin_job(request: HtmxRequest, rows: IntegrationQuerySet) -> HttpResponse:
    ids = rows.order_by().values_list("pk", flat=True)
    with transaction.atomic():
        job = bulk.create_job(ids.iterator(), caller=request.user.get_username())
        bulk.hand_to_worker(job)
        record(request, "job.create", target=job, total=job.total)
    return redirect("dashboard:job-detail", pk=job.pk)


@require_POST
@staff_page(Permission.OPERATE, audit="job.cancel")
def job_cancel(request: HtmxRequest, pk: uuid.UUID) -> HttpResponse:
    job = jobs.get_job(request.user, pk)

    @atomically
    def cancel() -> int:
        left = bulk.cancel(job)
        record(request, "job.cancel", target=job, left=left)
        return left

    left = cancel()
    messages.info(request, f"Stopped. {left} left as they were.")
    return redirect("dashboard:job-detail", pk=pk)


@require_POST
@staff_page(Permission.DISCONNECT, audit="demo.remove")
def demo_data_remove(request: HtmxRequest) -> HttpResponse:
    @atomically
    def remove() -> int:
        removed = demo.remove()
        record(request, "demo.remove", removed=removed)
        return removed

    removed = remove()
    gone = "1 demo account" if removed == 1 else f"{removed} demo accounts"
    messages.success(request, f"{gone} removed, with their renewals and events.")
    return redirect("dashboard:overview")


# --- What the pages show ---


def _overview_context(request: HtmxRequest) -> dict[str, Any]:
    now = timezone.now()
    rows = installs_of(request)
    seen = snapshots.current(request.user, now)
    summary = summarise(seen.counts)
    return {
        "now": now,
        "summary": summary,
        "worst": summary,
        "tiles": TILES,
        "ahead": charts.next_hours(seen, now),
        "days": charts.last_days(now) if not request.user.agencies else [],
        "attention": worst_first(rows, now, MOST_ATTENTION),
        "worker": read_worker(now),
        "outage": outage.current(),
        # Of all agencies together, as the 30 days above.
        "meter": meter.read(now) if not request.user.agencies else None,
        "table": install_table(Found(rows, seen.total), QueryDict(), per_page=BRIEF),
        "columns": USUAL_COLUMNS,
    }


def _list_context(request: HtmxRequest) -> dict[str, Any]:
    now = timezone.now()
    rows = installs_of(request)
    asked = InstallFilter(request.GET, rows)
    summary = summarise(snapshots.counts(request.user, now))
    found = asked.found(summary)
    table = install_table(found, request.GET)
    grouped = is_grouped(request.GET)
    shown = [row.record for row in table.paginated_rows] if grouped else []
    return {
        "now": now,
        "summary": summary,
        "worst": summary,
        "tiles": TILES,
        "filter": asked,
        "found": found,
        "table": table,
        "is_grouped": grouped,
        "agency_looks": worst_of_agencies(asked.qs, shown, now) if grouped else {},
        "columns": shown_columns(request.GET),
        "all_columns": COLUMNS,
        "usual_columns": USUAL_COLUMNS,
        "page_sizes": PER_PAGE,
        "selectable": True,
    }


def _detail_context(request: HtmxRequest, install: GoHighLevelIntegration) -> dict[str, Any]:
    cause = install.cause_info
    message = cause.client_message if cause else ""
    now = timezone.now()
    kind = request.GET.get("show", "")
    kind = kind if kind in KINDS else ""
    return {
        "now": now,
        "install": install,
        "message": message.format(reconnect_url=install_link(request)) if message else "",
        "curl": account.curl_example(install, request.build_absolute_uri("/")),
        "python": account.python_example(install, request.build_absolute_uri("/")),
        "holders": keys.who_has_token(install, now),
        "last_attempt": account.last_attempt(install),
        "timeline": timeline(install, account.events_of(install), kind),
        "timeline_kind": kind,
        "timeline_kinds": KINDS,
        "progress": account.progress(install),
        "runway": account.runway(install),
        "missing_scopes": account.missing_scopes(install),
        "snooze": snooze_of(install, timezone.now()),
    }


def _jobs_context(request: HtmxRequest) -> dict[str, Any]:
    now = timezone.now()
    due = installs_of(request).needing_refresh(now).count()
    return {"now": now, "jobs": jobs.newest_jobs(request.user), "due": due}


def _job_context(request: HtmxRequest, pk: uuid.UUID) -> dict[str, Any]:
    return {"now": timezone.now(), **jobs.context(jobs.get_job(request.user, pk))}


def _install(request: HtmxRequest, pk: uuid.UUID) -> GoHighLevelIntegration:
    return get_object_or_404(installs_of(request), pk=pk)


def _changed_part(request: HtmxRequest, install: GoHighLevelIntegration) -> HttpResponse:
    context: dict[str, Any] = {"now": timezone.now(), "install": install}
    match (request.htmx.target or "").partition("-")[0]:
        case "account":
            return render(
                request, "dashboard/_install_panel.html", _detail_context(request, install)
            )
        case "attention":
            return render(request, "dashboard/_attention_item.html", context)
        case _:
            # Only the list's rows can be ticked; its address is not this one.
            page = urlsplit(request.htmx.current_url_abs_path or "")
            columns = shown_columns(QueryDict(page.query))
            context |= {"selectable": "/installs/" in page.path, "columns": columns}
            return render(request, "dashboard/_install_row.html", context)


def _bulk_sentence(asked: int, skipped: int) -> str:
    if not asked and not skipped:
        return "Tick the accounts to refresh first."
    text = f"Refreshing {accounts(asked)}"
    return f"{text}; {skipped} skipped (removed, or refreshing already)." if skipped else f"{text}…"
