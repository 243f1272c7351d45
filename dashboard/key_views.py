"""Pages about API keys. A key's text is shown once, in the answer to the form, and kept nowhere."""

from __future__ import annotations

import uuid
from datetime import timedelta

from django.contrib import messages
from django.db import transaction
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST

from access.audit import record
from access.keys import (
    KeyExists,
    change_api_key,
    create_api_key,
    disable_api_key,
    enable_api_key,
    end_old_secret,
    rotate_api_key,
)
from access.models import ApiKey, KeyAlert
from access.roles import Permission
from dashboard import keys
from dashboard.htmx import HtmxRequest, next_page, staff_page
from dashboard.keys import KeyChangeForm, KeyForm


@staff_page(Permission.KEYS)
def key_list(request: HtmxRequest) -> HttpResponse:
    now = timezone.now()
    visible = keys.keys_of(request.user)
    context = {
        "now": now,
        "lines": [keys.line(key, now) for key in visible],
        "alerts": keys.open_alerts(visible),
    }
    return render(request, "dashboard/key_list.html", context)


@staff_page(Permission.KEYS, audit="key.create", sudo=True)
def key_new(request: HtmxRequest) -> HttpResponse:
    form = KeyForm(request.POST or None, person=request.user, initial={"id": uuid.uuid4()})
    if request.method == "POST" and form.is_valid():
        made = form.cleaned_data
        try:
            with transaction.atomic():
                key, text = create_api_key(
                    made["name"],
                    scopes=made["scopes"],
                    **form.limits(),
                    expires_at=form.expires_at(),
                    created_by=request.user.get_username(),
                    pk=made["id"],
                )
                limits = {"agencies": key.agencies, "installs": key.installs}
                record(request, "key.create", target=key, scopes=key.scopes, limits=limits)
        except KeyExists:
            messages.info(request, "This key was made already. Its text cannot be shown again.")
            return redirect("dashboard:key-list")
        return _show_once(request, key, text)
    return render(request, "dashboard/key_new.html", {"form": form}, status=_status(form))


@staff_page(Permission.KEYS)
def key_detail(request: HtmxRequest, pk: uuid.UUID) -> HttpResponse:
    key = keys.get_key(request.user, pk)
    context = keys.detail(request.user, key, timezone.now())
    return render(request, "dashboard/key_detail.html", context)


@staff_page(Permission.KEYS, audit="key.change", sudo=True)
def key_change(request: HtmxRequest, pk: uuid.UUID) -> HttpResponse:
    key = keys.get_key(request.user, pk)
    form = KeyChangeForm(request.POST or None, person=request.user, key=key)
    if request.method == "POST" and form.is_valid():
        with transaction.atomic():
            changes = change_api_key(
                key,
                name=form.cleaned_data["name"],
                scopes=form.cleaned_data["scopes"],
                **form.limits(),
                expires_at=form.expires_at(),
            )
            record(request, "key.change", target=key, **changes)
        messages.success(request, f"{key.name} is changed." if changes else "Nothing is changed.")
        return redirect("dashboard:key-detail", pk=pk)
    context = {"form": form, "key": key}
    return render(request, "dashboard/key_change.html", context, status=_status(form))


@require_POST
@staff_page(Permission.KEYS, audit="key.rotate", sudo=True)
def key_rotate(request: HtmxRequest, pk: uuid.UUID) -> HttpResponse:
    """Show a new secret; the old one works on for the chosen time."""
    key = keys.get_key(request.user, pk)
    asked = request.POST.get("overlap", "")
    hours = next((h for h, _words in keys.OVERLAPS if str(h) == asked), keys.OVERLAPS[-2][0])
    until = timezone.now() + timedelta(hours=hours) if hours else None
    with transaction.atomic():
        text = rotate_api_key(key, old_works_until=until)
        record(request, "key.rotate", target=key, overlap_hours=hours)
    return _show_once(request, key, text)


@require_POST
@staff_page(Permission.KEYS, audit="key.end_old_secret")
def key_end_old_secret(request: HtmxRequest, pk: uuid.UUID) -> HttpResponse:
    key = keys.get_key(request.user, pk)
    with transaction.atomic():
        end_old_secret(key)
        record(request, "key.end_old_secret", target=key)
    messages.success(request, "Only the new secret works now.")
    return redirect("dashboard:key-detail", pk=pk)


@require_POST
@staff_page(Permission.KEYS, audit="key.disable")
def key_disable(request: HtmxRequest, pk: uuid.UUID) -> HttpResponse:
    key = keys.get_key(request.user, pk)
    with transaction.atomic():
        disable_api_key(key)
        record(request, "key.disable", target=key)
    messages.success(request, f"{key.name} opens nothing any more.")
    return redirect("dashboard:key-detail", pk=pk)  # where it can be undone


@require_POST
@staff_page(Permission.KEYS, audit="key.enable", sudo=True)
def key_enable(request: HtmxRequest, pk: uuid.UUID) -> HttpResponse:
    key = keys.get_key(request.user, pk)
    with transaction.atomic():
        enable_api_key(key)
        record(request, "key.enable", target=key)
    messages.success(request, f"{key.name} works again.")
    return redirect("dashboard:key-detail", pk=pk)


@require_POST
@staff_page(Permission.KEYS, audit="key.accept_use")
def key_alert_accept(request: HtmxRequest, pk: int) -> HttpResponse:
    """Somebody says that an unusual use is expected."""
    alert = get_object_or_404(KeyAlert, pk=pk)
    key = keys.get_key(request.user, alert.key_id)
    if alert.accepted_at is not None:
        raise Http404
    with transaction.atomic():
        alert.accepted_at = timezone.now()
        alert.accepted_by = request.user.get_username()
        alert.save(update_fields=["accepted_at", "accepted_by"])
        record(request, "key.accept_use", target=key, kind=alert.kind, **alert.details)
    return redirect(next_page(request, "dashboard:key-list"))


def _show_once(request: HtmxRequest, key: ApiKey, text: str) -> HttpResponse:
    context = {"now": timezone.now(), "key": key, "text": text}
    return render(request, "dashboard/key_shown.html", context)


def _status(form: KeyForm) -> int:
    return 422 if form.errors else 200
