from __future__ import annotations

from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.utils import timezone

from access.models import AuditEvent
from dashboard.activity import CSV_HEADER, ActivityForm, csv_rows, page_before
from dashboard.exports import csv_response
from dashboard.htmx import HtmxRequest, staff_page


@staff_page()
def activity(request: HtmxRequest) -> HttpResponse:
    form = ActivityForm(request.GET)
    events = form.apply(AuditEvent.objects.visible_to(request.user), request.user)
    page, next_from = page_before(events, request.GET.get("before", ""))
    query = request.GET.copy()
    query.pop("before", None)
    context = {
        "now": timezone.now(),
        "form": form,
        "events": page,
        "next_from": next_from,
        "query": query.urlencode(),
        "is_filtered": any(form.cleaned_data.values()),
    }
    return render(request, "dashboard/activity.html", context)


@staff_page()
def activity_export(request: HtmxRequest) -> HttpResponseBase:
    events = ActivityForm(request.GET).apply(
        AuditEvent.objects.visible_to(request.user), request.user
    )
    return csv_response("activity", CSV_HEADER, csv_rows(events))
