"""Pages of events, their live parts, and the replay."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST

from access.audit import record
from access.roles import Permission
from dashboard import event_body, event_figures, events
from dashboard.htmx import HtmxRequest, list_as_shown, panel, staff_page, wants_partial
from integrations.deadlocks import atomically
from webhooks import meter, processing
from webhooks.handlers import effect_of
from webhooks.models import GoHighLevelWebhook


@staff_page()
def event_list(request: HtmxRequest) -> HttpResponse:
    context = _list_context(request)
    if wants_partial(request):
        return panel(request, "dashboard/_events_panel.html", context)
    return render(request, "dashboard/event_list.html", context)


@staff_page()
def live_event_list(request: HtmxRequest) -> HttpResponse:
    return panel(request, "dashboard/_events_panel.html", _list_context(request))


@staff_page()
def event_detail(request: HtmxRequest, pk: uuid.UUID) -> HttpResponse:
    return render(request, "dashboard/event_detail.html", _detail_context(request, pk))


@staff_page()
def live_event_detail(request: HtmxRequest, pk: uuid.UUID) -> HttpResponse:
    return panel(request, "dashboard/_event_panel.html", _detail_context(request, pk))


@staff_page()
def event_figures_page(request: HtmxRequest) -> HttpResponse:
    return render(request, "dashboard/event_figures.html", _figures_context(request))


@staff_page()
def live_event_figures(request: HtmxRequest) -> HttpResponse:
    return panel(request, "dashboard/_event_figures_panel.html", _figures_context(request))


@require_POST
@staff_page(Permission.OPERATE, audit="event.replay")
def event_replay(request: HtmxRequest, pk: uuid.UUID) -> HttpResponse:
    event = _event(request, pk)

    @atomically
    def replay() -> None:
        processing.request_replay(GoHighLevelWebhook.objects.filter(pk=pk))
        record(request, "event.replay", target=event, type=event.type)

    replay()
    messages.info(request, f"{event.type or 'The event'} is processed again.")
    return redirect("dashboard:event-detail", pk=pk)


@staff_page(Permission.OPERATE)
def event_bulk(request: HtmxRequest) -> HttpResponse:
    """Show what a replay of many would do, before it is done."""
    chosen = events.read_selection(request.user, request.GET, timezone.now())
    back = list_as_shown("dashboard:event-list", request.GET)
    shares = chosen.shares()
    if not shares:
        messages.info(request, "Tick the events to replay first.")
        return redirect(back)
    first, last = chosen.period()
    context = {
        "now": timezone.now(),
        "shares": shares,
        "total": sum(share.count for share in shares),
        "fields": chosen.fields,
        "first": first,
        "last": last,
        "back": back,
    }
    return render(request, "dashboard/event_bulk.html", context)


@require_POST
@staff_page(Permission.OPERATE, audit="event.bulk_replay")
def event_bulk_run(request: HtmxRequest) -> HttpResponse:
    chosen = events.read_selection(request.user, request.POST, timezone.now())

    # Before anything is done, and by itself: deliveries would wait for one transaction of them all.
    record(
        request,
        "event.bulk_replay",
        events=chosen.events.count(),
        query=request.POST.get("query", ""),
    )
    asked = processing.request_replay(chosen.events)
    word = "event is" if asked == 1 else "events are"
    messages.info(request, f"{asked} {word} processed again.")
    return redirect(list_as_shown("dashboard:event-list", request.POST))


def _event(request: HtmxRequest, pk: uuid.UUID) -> GoHighLevelWebhook:
    return get_object_or_404(GoHighLevelWebhook.objects.visible_to(request.user), pk=pk)


def _list_context(request: HtmxRequest) -> dict[str, Any]:
    now = timezone.now()
    return {
        "now": now,
        "page": events.read_page(request.user, request.GET, now),
        "can_replay": request.user.has_perm(Permission.OPERATE),
    }


def _detail_context(request: HtmxRequest, pk: uuid.UUID) -> dict[str, Any]:
    event = _event(request, pk)
    payload = event.payload
    return {
        "now": timezone.now(),
        "event": event,
        "look": events.look_of(event),
        "install": events.install_of(request.user, event),
        "effect": effect_of(event.type),
        "lateness": events.lateness(event),
        "failures": list(event.failures.order_by("-at")),
        "nodes": event_body.read_body(payload),
        "raw": event_body.pretty(payload),
        "can_replay": request.user.has_perm(Permission.OPERATE),
    }


def _figures_context(request: HtmxRequest) -> dict[str, Any]:
    """The counts are of all agencies: whoever is limited to some sees only the silent accounts."""
    now = timezone.now()
    return {
        "now": now,
        "figures": None if request.user.agencies else event_figures.read_figures(now),
        "silent": event_figures.silent_accounts(request.user, now),
        "keep_rules": event_figures.keep_rules(),
        "pause_below": meter.PAUSE_BELOW,
        "pause_from": meter.PAUSE_FROM,
    }
