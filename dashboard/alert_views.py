"""The Alerts page: what is wrong, who is told, and what is snoozed; and the links in mails."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.cache import add_never_cache_headers
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_POST

from access.audience import Who, audience
from access.audit import record
from access.mail import has_mail_server
from access.models import AuditEvent, User
from access.roles import Permission
from alerts import delivery, incidents, links
from alerts.kinds import Kind
from alerts.links import Act, SignedLink
from alerts.messages import may_act
from alerts.models import Channel, Delivery, Incident, Snooze
from dashboard.alert_forms import ChannelForm, SnoozeForm
from dashboard.htmx import HtmxRequest, installs_of, next_page, panel, staff_page
from integrations.models import GoHighLevelIntegration

MOST_OPEN, MOST_ENDED, MOST_SENT = 100, 20, 10


@staff_page()
def alert_list(request: HtmxRequest) -> HttpResponse:
    return render(request, "dashboard/alert_list.html", _context(request))


@staff_page()
def live_alerts(request: HtmxRequest) -> HttpResponse:
    return panel(request, "dashboard/_alerts_panel.html", _context(request))


# --- Incidents and snoozes ---


@require_POST
@staff_page(Permission.OPERATE, audit="alert.acknowledge")
def alert_acknowledge(request: HtmxRequest, pk: uuid.UUID) -> HttpResponse:
    incident = get_object_or_404(Incident.objects.visible_to(request.user), pk=pk)
    with transaction.atomic():
        done = incidents.acknowledge(incident, by=request.user.get_username())
        outcome = AuditEvent.DONE if done else AuditEvent.REFUSED
        record(request, "alert.acknowledge", target=incident, outcome=outcome)
    text = f"You look after “{incident}”: nobody is reminded of it any more."
    messages.info(request, text if done else "Somebody looks after it already, or it is over.")
    return redirect("dashboard:alert-list")


@staff_page(Permission.OPERATE, audit="alert.snooze")
def alert_snooze(request: HtmxRequest, pk: uuid.UUID) -> HttpResponse:
    incident = get_object_or_404(Incident.objects.visible_to(request.user), pk=pk)
    return _snooze(request, incident.key, incident.subject, incident.integration)


@staff_page(Permission.OPERATE, audit="alert.snooze")
def install_snooze(request: HtmxRequest, pk: uuid.UUID) -> HttpResponse:
    install = get_object_or_404(installs_of(request), pk=pk)
    return _snooze(request, incidents.key_of(install), str(install), install)


@require_POST
@staff_page(Permission.OPERATE, audit="alert.unsnooze")
def alert_unsnooze(request: HtmxRequest, pk: uuid.UUID) -> HttpResponse:
    snooze = get_object_or_404(Snooze.objects.visible_to(request.user), pk=pk)
    with transaction.atomic():
        incidents.end_snooze(snooze)
        record(request, "alert.unsnooze", target=snooze)
    messages.info(request, f"Alerts about {snooze.subject} come again.")
    return redirect(next_page(request, "dashboard:alert-list"))


def snooze_of(install: GoHighLevelIntegration, now: datetime) -> Snooze | None:
    """What the account's page shows: the snooze that runs, if any."""
    return Snooze.objects.running(now).filter(key=incidents.key_of(install)).first()


def _snooze(
    request: HtmxRequest, key: str, subject: str, install: GoHighLevelIntegration | None
) -> HttpResponse:
    form = SnoozeForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        with transaction.atomic():
            snooze = _make_snooze(form, key, subject, install, request.user.get_username())
            record(request, "alert.snooze", target=snooze, reason=snooze.reason)
        messages.success(request, f"No alerts about {subject} for a while. It can be undone.")
        return redirect(next_page(request, "dashboard:alert-list"))
    back_to = next_page(request, "dashboard:alert-list")
    if install:
        back_to = redirect("dashboard:install-detail", pk=install.pk).url
    context = {"form": form, "subject": subject, "back_to": back_to}
    status = 400 if form.is_bound else 200
    return render(request, "dashboard/alert_snooze.html", context, status=status)


def _make_snooze(
    form: SnoozeForm, key: str, subject: str, install: GoHighLevelIntegration | None, by: str
) -> Snooze:
    return incidents.snooze(
        key,
        until=form.until(timezone.now()),
        reason=form.cleaned_data["reason"],
        by=by,
        subject=subject,
        install=install,
    )


# --- Channels ---


@staff_page(audit="alert.channel_add")
def channel_add(request: HtmxRequest) -> HttpResponse:
    form = ChannelForm(request.POST or None, user=request.user, may_operate=_may_operate(request))
    if request.method == "POST" and form.is_valid():
        with transaction.atomic():
            channel = form.save()
            record(request, "alert.channel_add", target=channel)
        messages.success(request, f"Added {channel}. Send a test to see that it arrives.")
        return redirect("dashboard:alert-list")
    status = 400 if form.is_bound else 200
    return render(request, "dashboard/alert_channel.html", {"form": form}, status=status)


@staff_page(audit="alert.channel_change")
def channel_change(request: HtmxRequest, pk: uuid.UUID) -> HttpResponse:
    channel = _channel(request, pk)
    form = ChannelForm(
        request.POST or None,
        user=request.user,
        may_operate=_may_operate(request),
        channel=channel,
    )
    if request.method == "POST" and form.is_valid():
        with transaction.atomic():
            form.save()
            if "address" in form.changed_data and channel.is_on:
                delivery.switch_on(channel)  # what went wrong, went wrong at the old address
            record(request, "alert.channel_change", target=channel, changed=form.changed_data)
        messages.success(request, f"Changed {channel}.")
        return redirect("dashboard:alert-list")
    context = {"form": form, "channel": channel}
    status = 400 if form.is_bound else 200
    return render(request, "dashboard/alert_channel.html", context, status=status)


@require_POST
@staff_page(audit="alert.channel_test")
def channel_test(request: HtmxRequest, pk: uuid.UUID) -> HttpResponse:
    """Send a test and say what the other side answered."""
    channel = _channel(request, pk)
    outcome = delivery.send_test(channel)
    result = AuditEvent.FAILED if outcome.error else AuditEvent.DONE
    record(request, "alert.channel_test", target=channel, outcome=result)
    if outcome.error:
        messages.error(request, f"The test did not get to {channel}. {outcome.error}")
    else:
        messages.success(
            request, f"The test was taken by {channel.label}. Look whether it is there."
        )
    return redirect("dashboard:alert-list")


@require_POST
@staff_page(audit="alert.channel_switch")
def channel_switch(request: HtmxRequest, pk: uuid.UUID) -> HttpResponse:
    """Switch a channel off, or on again."""
    channel = _channel(request, pk)
    with transaction.atomic():
        if channel.is_on:
            delivery.switch_off(channel, Channel.BY_PERSON)
        else:
            delivery.switch_on(channel)
        record(request, "alert.channel_switch", target=channel, on=not channel.is_on)
    messages.info(request, f"{channel} is switched {'off' if channel.is_on else 'on'}.")
    return redirect("dashboard:alert-list")


@require_POST
@staff_page(audit="alert.channel_remove")
def channel_remove(request: HtmxRequest, pk: uuid.UUID) -> HttpResponse:
    channel = _channel(request, pk)
    with transaction.atomic():
        record(request, "alert.channel_remove", target=channel)
        channel.delete()
    messages.info(request, f"{channel} is removed.")
    return redirect("dashboard:alert-list")


def _channel(request: HtmxRequest, pk: uuid.UUID) -> Channel:
    channel = get_object_or_404(Channel.objects.manageable_by(request.user), pk=pk)
    if not channel.managed_by(request.user, may_operate=_may_operate(request)):
        raise Http404
    return channel


def _may_operate(request: HtmxRequest) -> bool:
    return request.user.has_perm(Permission.OPERATE)


# --- The signed links in mails ---


@csrf_exempt  # a mail program's own "unsubscribe" posts here; the signature is the proof
@require_http_methods(["GET", "HEAD", "POST"])
@audience(Who.ANYONE, audit="alert.link")
def alert_link(request: HttpRequest, token: str) -> HttpResponse:
    """Show what the link would do; do it when the button is pressed."""
    link = links.read(token)
    channel = _channel_of(link) if link else None
    if link is None or channel is None:
        return _link_page(request, {"is_gone": True}, status=410)
    incident = _incident_of(link, channel)
    subject = incident.subject if incident else ""
    form = SnoozeForm(request.POST or None) if link.act is Act.SNOOZE else None
    context = {"act": link.act.value, "channel": channel, "incident": incident, "form": form}
    if request.method != "POST":
        return _link_page(request, context)
    if form is not None and not form.is_valid():
        return _link_page(request, context, status=400)
    with transaction.atomic():
        _carry_out(link, channel, incident, form)
        record(request, "alert.link", target=channel, act=link.act.value, about=subject)
    return _link_page(request, context | {"is_done": True})


def _channel_of(link: SignedLink) -> Channel | None:
    return Channel.objects.select_related("owner").filter(pk=link.channel_id).first()


def _incident_of(link: SignedLink, channel: Channel) -> Incident | None:
    if link.act is Act.UNSUBSCRIBE:
        return None
    incident = get_object_or_404(
        Incident.objects.select_related("integration"), pk=link.incident_id
    )
    # Roles may have changed since the mail was sent.
    if not may_act(channel) or not channel.is_on or not channel.wants(incident):
        raise PermissionDenied
    return incident


def _carry_out(
    link: SignedLink, channel: Channel, incident: Incident | None, form: SnoozeForm | None
) -> None:
    by = channel.owner.get_username() if channel.owner else f"a reader of {channel.name}"
    if incident is None:
        delivery.switch_off(channel, Channel.UNSUBSCRIBED)
    elif form is None:
        incidents.acknowledge(incident, by=by)
    else:
        _make_snooze(form, incident.key, incident.subject, incident.integration, by)


def _link_page(request: HttpRequest, context: dict[str, Any], status: int = 200) -> HttpResponse:
    response = render(request, "dashboard/alert_link.html", context, status=status)
    add_never_cache_headers(response)
    return response


# --- What the page shows ---


def _context(request: HtmxRequest) -> dict[str, Any]:
    now, user, may_operate = timezone.now(), request.user, _may_operate(request)
    seen = Incident.objects.visible_to(user)
    snoozes = list(Snooze.objects.running(now).visible_to(user).order_by("until")[:MOST_OPEN])
    channels = [
        channel
        for channel in Channel.objects.manageable_by(user)
        if channel.managed_by(user, may_operate=may_operate)
    ]
    sent = Delivery.objects.filter(channel__in=channels).select_related("channel")
    return {
        "now": now,
        "open": _open(user, seen, {snooze.key: snooze for snooze in snoozes}),
        "snoozes": snoozes,
        "channels": channels,
        "sent": list(sent.order_by("-created_at")[:MOST_SENT]),
        "ended": list(seen.filter(closed_at__isnull=False).order_by("-closed_at")[:MOST_ENDED]),
        "may_operate": may_operate,
        "mail_is_logged": not has_mail_server(),
    }


def _open(user: User, seen: Any, snoozes: dict[str, Snooze]) -> list[dict[str, Any]]:
    """The open incidents, the worst and oldest first, each with its page and the snooze that hides
    it."""
    rows = list(seen.open().order_by("opened_at")[:MOST_OPEN])
    rows.sort(key=lambda incident: not incident.about.is_red)
    return [
        {"incident": row, "path": _path_for(user, row), "snooze": snoozes.get(row.key)}
        for row in rows
    ]


def _path_for(user: User, incident: Incident) -> str:
    """Where this person sees more about it; empty where they may not look."""
    may_look = incident.kind != Kind.KEY_USE or user.has_perm(Permission.KEYS)
    return links.path_of(incident) if may_look else ""
