"""How all is, for whoever has the link: a badge, figures as JSON, a screen for the wall. No names
of accounts, no times of renewals: only how many are in which group."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from access.audience import Who, audience
from access.audit import record
from access.models import StatusLink
from access.roles import Permission
from dashboard.htmx import HtmxRequest, staff_page
from dashboard.summary import TILES, Summary, summarise
from integrations import snapshots

CACHE_S = 30
# How wide a letter of the badge is, about, in its font of 11 px.
_LETTER = 6.6
_KINDS = [
    ("Wall screen", "dashboard:status-wall"),
    ("Badge", "dashboard:status-badge"),
    ("JSON", "dashboard:status-json"),
]

public = audience(
    Who.ANYONE,
    needs="the link",
    no_audit="Numbers only, for whoever was given the link.",
)


class StatusLinkForm(forms.ModelForm):
    class Meta:
        model = StatusLink
        fields = ["name", "company_id"]
        labels = {"name": "Name", "company_id": "Agency id"}
        widgets = {
            "name": forms.TextInput(attrs={"class": "form-control"}),
            "company_id": forms.TextInput(attrs={"class": "form-control"}),
        }


@staff_page(Permission.KEYS, audit="status_link.create")
def status_link_list(request: HtmxRequest) -> HttpResponse:
    form = StatusLinkForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        agencies = request.user.agencies
        if agencies and form.cleaned_data["company_id"] not in agencies:
            form.add_error("company_id", "Give the id of one of your agencies.")
        else:
            with transaction.atomic():
                form.instance.created_by = request.user.get_username()
                link = form.save()
                record(request, "status_link.create", target=link)
            messages.success(request, f"The link “{link}” is ready.")
            return redirect("dashboard:status-link-list")
    context = {"now": timezone.now(), "form": form, "links": _shown_links(request)}
    return render(
        request, "dashboard/status_link_list.html", context, status=422 if form.errors else 200
    )


@require_POST
@staff_page(Permission.KEYS, audit="status_link.delete")
def status_link_delete(request: HtmxRequest, pk: uuid.UUID) -> HttpResponse:
    link = get_object_or_404(_links(request), pk=pk)
    with transaction.atomic():
        record(request, "status_link.delete", target=link)
        link.delete()
    messages.success(request, f"The link “{link}” leads nowhere any more.")
    return redirect("dashboard:status-link-list")


@public
@require_safe
def status_badge(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    summary = _summary(get_object_or_404(StatusLink, pk=pk), timezone.now())
    label, text = "HighLevel accounts", _short(summary)
    left, right = round(len(label) * _LETTER + 12), round(len(text) * _LETTER + 12)
    context = {
        "label": label,
        "text": text,
        "tone": summary.tone,
        "left": left,
        "right": right,
        "width": left + right,
        "left_middle": left / 2,
        "right_middle": left + right / 2,
    }
    response = render(request, "dashboard/status_badge.svg", context, "image/svg+xml")
    return _cached(response)


@public
@require_safe
def status_json(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    summary = _summary(get_object_or_404(StatusLink, pk=pk), timezone.now())
    counts = {tile.group: summary.counts[tile.group] for tile in TILES}
    told = {"status": summary.tone, "sentence": summary.sentence, "total": summary.live}
    return _cached(JsonResponse({**told, **counts, "health_percentage": summary.percentage}))


@public
@require_safe
def status_wall(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """The screen for a television; it loads itself anew."""
    now = timezone.now()
    link = get_object_or_404(StatusLink, pk=pk)
    summary = _summary(link, now)
    context = {"now": now, "link": link, "summary": summary, "tiles": TILES, "every_s": CACHE_S}
    return _cached(render(request, "dashboard/status_wall.html", context))


def _summary(link: StatusLink, now: datetime) -> Summary:
    return summarise(snapshots.counts_of_agency(link.company_id, now))


def _short(summary: Summary) -> str:
    if summary.needs_you:
        return f"{summary.needs_you} need attention"
    return f"{summary.live} connected"


def _cached(response: HttpResponse) -> HttpResponse:
    response["Cache-Control"] = f"private, max-age={CACHE_S}"
    response["X-Robots-Tag"] = "noindex"
    return response


def _links(request: HtmxRequest) -> Any:
    links = StatusLink.objects.all()
    return links.filter(company_id__in=request.user.agencies) if request.user.agencies else links


def _shown_links(request: HtmxRequest) -> list[tuple[StatusLink, list[tuple[str, str]]]]:
    """Each link with its three addresses: [(what it is, address), …]."""
    return [(link, [_address(request, link, *kind) for kind in _KINDS]) for link in _links(request)]


def _address(request: HtmxRequest, link: StatusLink, kind: str, url_name: str) -> tuple[str, str]:
    return kind, request.build_absolute_uri(reverse(url_name, args=[link.pk]))
