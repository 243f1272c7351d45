"""Pages of the endpoints that get the events too: their log, their secrets, sending again."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import messages
from django.db import IntegrityError, transaction
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST

from access.audit import record
from access.models import AuditEvent
from access.roles import Permission
from dashboard import endpoints as pages
from dashboard.endpoints import EndpointForm
from dashboard.htmx import HtmxRequest, panel, staff_page, wants_partial
from integrations.crypto import DecryptError
from webhooks import endpoints
from webhooks.models import Delivery, Endpoint


@staff_page()
def endpoint_list(request: HtmxRequest) -> HttpResponse:
    return render(request, "dashboard/endpoint_list.html", _list_context(request))


@staff_page()
def live_endpoint_list(request: HtmxRequest) -> HttpResponse:
    return panel(request, "dashboard/_endpoints_panel.html", _list_context(request))


@staff_page()
def endpoint_detail(request: HtmxRequest, pk: uuid.UUID) -> HttpResponse:
    context = _detail_context(request, pk)
    if wants_partial(request):
        return panel(request, "dashboard/_endpoint_panel.html", context)
    return render(request, "dashboard/endpoint_detail.html", context)


@staff_page()
def live_endpoint(request: HtmxRequest, pk: uuid.UUID) -> HttpResponse:
    return panel(request, "dashboard/_endpoint_panel.html", _detail_context(request, pk))


@staff_page(Permission.KEYS, audit="endpoint.create", sudo=True)
def endpoint_new(request: HtmxRequest) -> HttpResponse:
    form = EndpointForm(request.POST or None, person=request.user, initial={"id": uuid.uuid4()})
    if request.method == "POST" and form.is_valid():
        try:
            with transaction.atomic():
                endpoint = endpoints.create(
                    id=form.cleaned_data["id"],
                    by=request.user.get_username(),
                    **form.fields_of_row,
                )
                record(request, "endpoint.create", target=endpoint, **_told(endpoint))
        except IntegrityError:
            messages.info(request, "This endpoint was made already.")
            return redirect("dashboard:endpoint-list")
        except endpoints.TooManyEndpoints:
            form.add_error(None, f"There are {endpoints.MOST} endpoints already: no more fit.")
        else:
            return _show_secret(request, endpoint, is_new=True)
    return _form_page(request, form, None)


@staff_page(Permission.KEYS, audit="endpoint.change", sudo=True)
def endpoint_edit(request: HtmxRequest, pk: uuid.UUID) -> HttpResponse:
    endpoint = pages.get_endpoint(request.user, pk)
    form = EndpointForm(
        request.POST or None,
        person=request.user,
        endpoint=endpoint,
        initial=EndpointForm.initial_of(endpoint),
    )
    if request.method == "POST" and form.is_valid():
        with transaction.atomic():
            endpoints.change(endpoint, form.fields_of_row)
            changed = pages.get_endpoint(request.user, pk)
            record(request, "endpoint.change", target=changed, **_told(changed))
        messages.success(request, "Saved. It counts for the events from now on.")
        return redirect("dashboard:endpoint-detail", pk=pk)
    return _form_page(request, form, endpoint)


@require_POST
@staff_page(Permission.OPERATE, audit="endpoint.disable")
def endpoint_disable(request: HtmxRequest, pk: uuid.UUID) -> HttpResponse:
    endpoint = pages.get_endpoint(request.user, pk)
    with transaction.atomic():
        done = endpoints.disable(endpoint, by=request.user.get_username())
        record(request, "endpoint.disable", target=endpoint, outcome=_outcome(done))
    text = (
        f"{endpoint} gets nothing any more. What waits is kept." if done else "It is off already."
    )
    messages.success(request, text)
    return redirect("dashboard:endpoint-detail", pk=pk)  # where it can be undone


@require_POST
@staff_page(Permission.OPERATE, audit="endpoint.enable")
def endpoint_enable(request: HtmxRequest, pk: uuid.UUID) -> HttpResponse:
    endpoint = pages.get_endpoint(request.user, pk)
    with transaction.atomic():
        done = endpoints.enable(endpoint)
        record(request, "endpoint.enable", target=endpoint, outcome=_outcome(done))
    text = f"{endpoint} gets events again." if done else "It is on already."
    messages.success(request, text)
    return redirect("dashboard:endpoint-detail", pk=pk)


@require_POST
@staff_page(Permission.KEYS, audit="endpoint.delete", sudo=True)
def endpoint_delete(request: HtmxRequest, pk: uuid.UUID) -> HttpResponse:
    endpoint = pages.get_endpoint(request.user, pk)
    with transaction.atomic():
        record(request, "endpoint.delete", target=endpoint, **_told(endpoint))
        endpoints.delete(endpoint)
    messages.success(request, f"{endpoint} is deleted, with its log.")
    return redirect("dashboard:endpoint-list")


@require_POST
@staff_page(Permission.KEYS, audit="endpoint.reveal", sudo=True)
def endpoint_secret(request: HtmxRequest, pk: uuid.UUID) -> HttpResponse:
    endpoint = pages.get_endpoint(request.user, pk, with_secrets=True)
    with transaction.atomic():
        record(request, "endpoint.reveal", target=endpoint)
    return _show_secret(request, endpoint)


@require_POST
@staff_page(Permission.KEYS, audit="endpoint.rotate", sudo=True)
def endpoint_rotate(request: HtmxRequest, pk: uuid.UUID) -> HttpResponse:
    """Show a new secret; for a day both sign."""
    endpoint = pages.get_endpoint(request.user, pk, with_secrets=True)
    with transaction.atomic():
        endpoints.rotate_secret(endpoint)
        record(request, "endpoint.rotate", target=endpoint)
    endpoint.refresh_from_db()
    return _show_secret(request, endpoint)


@require_POST
@staff_page(Permission.OPERATE, audit="endpoint.test")
def endpoint_test(request: HtmxRequest, pk: uuid.UUID) -> HttpResponse:
    endpoint = pages.get_endpoint(request.user, pk)
    if _is_on(request, endpoint, "endpoint.test"):
        with transaction.atomic():
            endpoints.send_test(endpoint)
            record(request, "endpoint.test", target=endpoint)
        messages.info(request, "A test event is on its way. The log shows what comes of it.")
    return redirect("dashboard:endpoint-detail", pk=pk)


@require_POST
@staff_page(Permission.OPERATE, audit="endpoint.send_again")
def endpoint_send_again(request: HtmxRequest, pk: uuid.UUID) -> HttpResponse:
    """Send again what failed, or all events since a time."""
    endpoint = pages.get_endpoint(request.user, pk)
    hours = request.POST.get("hours", "")
    since = pages.since_of(hours)
    if not _is_on(request, endpoint, "endpoint.send_again"):
        return redirect("dashboard:endpoint-detail", pk=pk)
    with transaction.atomic():
        if since is None:
            asked = endpoints.send_again(endpoint, status=Delivery.FAILED)
            record(request, "endpoint.send_again", target=endpoint, deliveries=asked)
            word = "delivery is" if asked == 1 else "deliveries are"
            text = f"{asked} failed {word} sent again."
        else:
            endpoints.request_resend(endpoint, since, timezone.now())
            record(request, "endpoint.send_again", target=endpoint, hours=int(hours))
            text = f"The events of {dict(pages.SINCE)[hours]} are sent again, the oldest first."
    messages.info(request, text)
    return redirect("dashboard:endpoint-detail", pk=pk)


@require_POST
@staff_page(Permission.OPERATE, audit="delivery.send_again")
def delivery_send_again(request: HtmxRequest, pk: uuid.UUID, number: int) -> HttpResponse:
    endpoint = pages.get_endpoint(request.user, pk)
    delivery = get_object_or_404(Delivery, endpoint=endpoint, pk=number)
    if _is_on(request, endpoint, "delivery.send_again"):
        with transaction.atomic():
            endpoints.send_again(endpoint, pk=delivery.pk)
            record(request, "delivery.send_again", target=endpoint, message=delivery.message_id)
        messages.info(request, "It is sent again.")
    return redirect("dashboard:endpoint-detail", pk=pk)


def _is_on(request: HtmxRequest, endpoint: Endpoint, action: str) -> bool:
    if endpoint.is_active:
        return True
    messages.error(request, f"{endpoint} is switched off: switch it on first.")
    record(request, action, target=endpoint, outcome=AuditEvent.REFUSED)
    return False


def _outcome(done: bool) -> str:
    return AuditEvent.DONE if done else AuditEvent.REFUSED


def _told(endpoint: Endpoint) -> dict[str, Any]:
    """What the trail keeps of an endpoint: of the address only the host, the rest may be secret."""
    return {
        "host": endpoint.host,
        "event_types": endpoint.event_types,
        "agencies": endpoint.agencies,
    }


def _show_secret(request: HtmxRequest, endpoint: Endpoint, *, is_new: bool = False) -> HttpResponse:
    now = timezone.now()
    try:
        secret = endpoint.open_secret()
    except DecryptError:
        messages.error(request, "The secret cannot be read with the present key. Make a new one.")
        return redirect("dashboard:endpoint-detail", pk=endpoint.pk)
    context = {
        "now": now,
        "endpoint": endpoint,
        "secret": secret,
        "is_new": is_new,
        "has_old_secret": endpoint.has_old_secret(now),
    }
    return render(request, "dashboard/endpoint_secret.html", context)


def _form_page(request: HtmxRequest, form: EndpointForm, endpoint: Endpoint | None) -> HttpResponse:
    context = {"form": form, "endpoint": endpoint, "known_types": pages.known_types()}
    status = 422 if form.errors else 200
    return render(request, "dashboard/endpoint_form.html", context, status=status)


def _list_context(request: HtmxRequest) -> dict[str, Any]:
    now = timezone.now()
    return {
        "now": now,
        "lines": pages.lines(pages.endpoints_of(request.user), now),
        "may_change": request.user.has_perm(Permission.KEYS),
    }


def _detail_context(request: HtmxRequest, pk: uuid.UUID) -> dict[str, Any]:
    now = timezone.now()
    endpoint = pages.get_endpoint(request.user, pk)
    (line,) = pages.lines([endpoint], now)
    return {
        "now": now,
        "endpoint": endpoint,
        "line": line,
        "agencies": pages.names_of(endpoint.agencies),
        "log": pages.read_log(endpoint, request.GET),
        "statuses": pages.STATUSES,
        "since": pages.SINCE,
        "has_old_secret": endpoint.has_old_secret(now),
        "may_operate": request.user.has_perm(Permission.OPERATE),
        "may_change": request.user.has_perm(Permission.KEYS),
    }
