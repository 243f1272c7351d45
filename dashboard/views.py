"""Pages, their live parts, and the few actions. What they show is put together in the modules
beside; what they do is done by integrations."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import messages
from django.http import HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from dashboard import account, demo, jobs
from dashboard.filters import InstallFilter
from dashboard.htmx import (
    HtmxRequest,
    announce_change,
    next_page,
    panel,
    staff_page,
    toast,
    wants_partial,
)
from dashboard.links import install_link
from dashboard.summary import TILES, summarise, worst_first
from dashboard.tables import PER_PAGE, install_table
from dashboard.worker import read_worker
from integrations import bulk
from integrations.models import GoHighLevelIntegration, RenewalJob
from integrations.refresh import request_refresh

MOST_ATTENTION = 8
# How many of all accounts the overview shows.
BRIEF = 10
MOST_AT_ONCE = max(PER_PAGE)


@require_safe
@staff_page
def overview(request: HtmxRequest) -> HttpResponse:
    return render(request, "dashboard/overview.html", _overview_context())


@require_safe
@staff_page
def live_overview(request: HtmxRequest) -> HttpResponse:
    return panel(request, "dashboard/_overview_panel.html", _overview_context())


@require_safe
@staff_page
def install_list(request: HtmxRequest) -> HttpResponse:
    context = _list_context(request)
    if wants_partial(request):
        return panel(request, "dashboard/_installs_panel.html", context)
    return render(request, "dashboard/install_list.html", context)


@require_safe
@staff_page
def live_install_list(request: HtmxRequest) -> HttpResponse:
    return panel(request, "dashboard/_installs_panel.html", _list_context(request))


@require_safe
@staff_page
def install_detail(request: HtmxRequest, pk: uuid.UUID) -> HttpResponse:
    return render(request, "dashboard/install_detail.html", _detail_context(request, _install(pk)))


@require_safe
@staff_page
def live_install_detail(request: HtmxRequest, pk: uuid.UUID) -> HttpResponse:
    return panel(request, "dashboard/_install_panel.html", _detail_context(request, _install(pk)))


@require_POST
@staff_page
def install_refresh(request: HtmxRequest, pk: uuid.UUID) -> HttpResponse:
    """Ask for a renewal; answer with the changed part of the page that the click came from."""
    install = _install(pk)
    if not install.is_active:
        text, tone = f"{install} was removed; there is nothing to refresh.", "amber"
    else:
        request_refresh(pk, trigger="dashboard", caller=request.user.get_username())
        text, tone = f"Refreshing {install}…", "blue"
        install.refresh_from_db(fields=["requested_at"])
    if not request.htmx:
        messages.info(request, text)
        return redirect(next_page(request, "dashboard:install-list"))
    response = announce_change(_changed_part(request, install))
    return toast(response, text, tone) if tone == "amber" else response


@require_POST
@staff_page
def install_bulk_refresh(request: HtmxRequest) -> HttpResponse:
    """Ask for the renewal of the ticked accounts: those of one page at most."""
    caller = request.user.get_username()
    chosen = _uuids(request.POST.getlist("ids"))[:MOST_AT_ONCE]
    asked = sum(request_refresh(pk, trigger="dashboard", caller=caller) for pk in chosen)
    text = _bulk_sentence(asked, len(chosen) - asked)
    if not request.htmx:
        messages.info(request, text)
        return redirect(next_page(request, "dashboard:install-list"))
    return toast(announce_change(HttpResponse(status=204)), text, "blue")


@require_safe
@staff_page
def job_list(request: HtmxRequest) -> HttpResponse:
    now = timezone.now()
    due = GoHighLevelIntegration.objects.needing_refresh(now).count()
    context = {"now": now, "jobs": jobs.newest_jobs(), "due": due}
    return render(request, "dashboard/job_list.html", context)


@require_safe
@staff_page
def job_detail(request: HtmxRequest, pk: uuid.UUID) -> HttpResponse:
    return render(request, "dashboard/job_detail.html", _job_context(pk))


@require_safe
@staff_page
def live_job(request: HtmxRequest, pk: uuid.UUID) -> HttpResponse:
    return panel(request, "dashboard/_job_panel.html", _job_context(pk))


@require_POST
@staff_page
def job_create(request: HtmxRequest) -> HttpResponse:
    """Hand all that need a renewal to the worker, and show how it goes."""
    needing = GoHighLevelIntegration.objects.needing_refresh(timezone.now())
    ids = needing.values_list("pk", flat=True)
    job = bulk.create_job(ids.iterator(), caller=request.user.get_username())
    bulk.hand_to_worker(job)
    return redirect("dashboard:job-detail", pk=job.pk)


@require_POST
@staff_page
def job_cancel(request: HtmxRequest, pk: uuid.UUID) -> HttpResponse:
    left = bulk.cancel(get_object_or_404(RenewalJob, pk=pk))
    messages.info(request, f"Stopped. {left} left as they were.")
    return redirect("dashboard:job-detail", pk=pk)


@require_POST
@staff_page
def demo_data_remove(request: HtmxRequest) -> HttpResponse:
    removed = demo.remove()
    accounts = "1 demo account" if removed == 1 else f"{removed} demo accounts"
    messages.success(request, f"{accounts} removed, with their renewals and events.")
    return redirect("dashboard:overview")


# --- What the pages show ---


def _overview_context() -> dict[str, Any]:
    now = timezone.now()
    listed = GoHighLevelIntegration.objects.without_secrets().with_state(now)
    return {
        "now": now,
        "summary": summarise(now),
        "tiles": TILES,
        "attention": worst_first(now, MOST_ATTENTION),
        "worker": read_worker(now),
        "table": install_table(listed, QueryDict(), per_page=BRIEF),
    }


def _list_context(request: HtmxRequest) -> dict[str, Any]:
    now = timezone.now()
    rows = GoHighLevelIntegration.objects.without_secrets().with_state(now)
    found = InstallFilter(request.GET, rows)
    return {
        "now": now,
        "summary": summarise(now),
        "tiles": TILES,
        "filter": found,
        "table": install_table(found.qs, request.GET),
        "page_sizes": PER_PAGE,
        "selectable": True,
    }


def _detail_context(request: HtmxRequest, install: GoHighLevelIntegration) -> dict[str, Any]:
    cause = install.cause_info
    message = cause.client_message if cause else ""
    return {
        "now": timezone.now(),
        "install": install,
        "message": message.format(reconnect_url=install_link(request)) if message else "",
        "curl": account.curl_example(install, request.build_absolute_uri("/")),
        "attempts": account.newest_attempts(install),
        "events": account.newest_events(install),
        "progress": account.progress(install),
        "runway": account.runway(install),
    }


def _job_context(pk: uuid.UUID) -> dict[str, Any]:
    job = get_object_or_404(RenewalJob, pk=pk)
    return {"now": timezone.now(), **jobs.context(job)}


def _install(pk: uuid.UUID) -> GoHighLevelIntegration:
    return get_object_or_404(GoHighLevelIntegration.objects.without_secrets(), pk=pk)


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
            selectable = "/installs/" in (request.htmx.current_url_abs_path or "")
            context |= {"selectable": selectable}
            return render(request, "dashboard/_install_row.html", context)


def _uuids(texts: list[str]) -> list[uuid.UUID]:
    found = []
    for text in texts:
        try:
            found.append(uuid.UUID(text))
        except ValueError:
            continue
    return found


def _bulk_sentence(asked: int, skipped: int) -> str:
    if not asked and not skipped:
        return "Tick the accounts to refresh first."
    accounts = "1 account" if asked == 1 else f"{asked} accounts"
    text = f"Refreshing {accounts}"
    return f"{text}; {skipped} skipped (removed, or refreshing already)." if skipped else f"{text}…"
