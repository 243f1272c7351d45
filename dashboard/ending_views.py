"""Switching an account off and on, disconnecting it, and forgetting it. What cannot be undone
asks first, on a page of its own."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import messages
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from access.audit import record
from access.models import AuditEvent
from access.roles import Permission
from dashboard import forgetting
from dashboard.htmx import HtmxRequest, installs_of, staff_page
from dashboard.links import install_link
from dashboard.undo import offer_undo
from integrations import ending
from integrations.causes import CAUSES, Cause
from integrations.crypto import DecryptError
from integrations.health import Status
from integrations.highlevel import HighLevelError, TokenRejected
from integrations.install import of_agency
from integrations.models import GoHighLevelIntegration


@require_POST
@staff_page(Permission.OPERATE, audit="install.deactivate")
def install_switch_off(request: HtmxRequest, pk: uuid.UUID) -> HttpResponse:
    install = _install(request, pk)
    rows = GoHighLevelIntegration.objects.filter(pk=pk)
    with transaction.atomic():
        done = ending.deactivate(rows, caller=request.user.get_username())
        record(request, "install.deactivate", target=install, outcome=_outcome(done))
    if done:
        offer_undo(request, f"{install} switched off.", "deactivate", [str(pk)])
    else:
        messages.info(request, f"{install} is off already.")
    return redirect("dashboard:install-detail", pk=pk)


@require_POST
@staff_page(Permission.OPERATE, audit="install.reactivate")
def install_switch_on(request: HtmxRequest, pk: uuid.UUID) -> HttpResponse:
    install = _install(request, pk)
    rows = GoHighLevelIntegration.objects.filter(pk=pk)
    with transaction.atomic():
        done = ending.reactivate(rows, caller=request.user.get_username())
        record(request, "install.reactivate", target=install, outcome=_outcome(done))
    text = f"{install} switched on again; its access is being renewed."
    messages.info(request, text if done else f"{install} is not switched off.")
    return redirect("dashboard:install-detail", pk=pk)


@staff_page(Permission.DISCONNECT, audit="install.disconnect", sudo=True)
def install_disconnect(request: HtmxRequest, pk: uuid.UUID) -> HttpResponse:
    """Ask, then remove the app at HighLevel and end the install here; or, where HighLevel cannot
    be told, end it here only."""
    install = _install(request, pk)
    if install.status == Status.UNINSTALLED:
        messages.info(request, f"{install} is disconnected already.")
        return redirect("dashboard:install-detail", pk=pk)
    if request.method != "POST":
        return render(request, "dashboard/disconnect.html", _disconnect_context(request, install))
    if "here_only" in request.POST:
        return _end_here(request, install)
    caller = request.user.get_username()
    try:
        ended = ending.disconnect(install, caller=caller)
    except (HighLevelError, DecryptError, ending.NothingToShow) as error:
        return _not_disconnected(request, install, error)
    record(request, "install.disconnect", target=install, ended=ended)
    messages.success(request, _ended_text(install, ended, "disconnected"))
    return redirect("dashboard:install-detail", pk=pk)


@staff_page(Permission.DISCONNECT, audit="install.forget", sudo=True)
def install_forget(request: HtmxRequest, pk: uuid.UUID) -> HttpResponse:
    """Ask, then erase an ended account and all that is known about it."""
    install = _install(request, pk)
    if install.is_active:
        messages.error(request, f"{install} is still connected. Disconnect it first.")
        record(request, "install.forget", target=install, outcome=AuditEvent.REFUSED)
        return redirect("dashboard:install-detail", pk=pk)
    if request.method != "POST":
        return render(request, "dashboard/forget.html", _forget_context(install))
    erased = forgetting.forget(install, lambda n: _record_forgotten(request, install, n))
    text = "The account was erased." if erased.installs == 1 else f"{erased.installs} were erased."
    messages.success(request, f"{text} Events deleted with it: {erased.events}.")
    return redirect("dashboard:install-list")


def _install(request: HtmxRequest, pk: uuid.UUID) -> GoHighLevelIntegration:
    return get_object_or_404(installs_of(request), pk=pk)


def _outcome(done: int) -> str:
    return AuditEvent.DONE if done else AuditEvent.REFUSED


def _end_here(request: HtmxRequest, install: GoHighLevelIntegration) -> HttpResponse:
    with transaction.atomic():
        ended = ending.end_here(install, caller=request.user.get_username())
        record(request, "install.disconnect", target=install, ended=ended, here_only=True)
    messages.success(request, _ended_text(install, ended, "ended here. HighLevel was not told"))
    return redirect("dashboard:install-detail", pk=install.pk)


def _not_disconnected(
    request: HtmxRequest, install: GoHighLevelIntegration, error: Exception
) -> HttpResponse:
    record(request, "install.disconnect", target=install, outcome=AuditEvent.FAILED)
    context = _disconnect_context(request, install) | {
        "problem": _problem(error),
        "detail": getattr(error, "detail", ""),
    }
    return render(request, "dashboard/disconnect.html", context, status=502)


def _problem(error: Exception) -> Cause:
    match error:
        case DecryptError():
            return CAUSES["token_damaged"]
        case TokenRejected() | ending.NothingToShow():
            return CAUSES["no_proof"]
        case HighLevelError():
            return CAUSES[error.cause]
        case _:
            return CAUSES["internal_error"]


def _ended_text(install: GoHighLevelIntegration, ended: int, how: str) -> str:
    others = ended - 1
    more = f", with {others} of its sub-accounts" if install.is_agency and others > 0 else ""
    return f"{install} {how}{more}."


def _disconnect_context(request: HtmxRequest, install: GoHighLevelIntegration) -> dict[str, Any]:
    with_it = GoHighLevelIntegration.objects.exclude(status=Status.UNINSTALLED)
    sub_accounts = 0
    if install.is_agency:
        mine = with_it.filter(of_agency(install.resource_id))
        sub_accounts = mine.exclude(pk=install.pk).count()
    return {
        "install": install,
        "sub_accounts": sub_accounts,
        "can_tell": bool(install.generation) and install.status != Status.WAITING,
        "install_link": install_link(request),
    }


def _forget_context(install: GoHighLevelIntegration) -> dict[str, Any]:
    rows = ending.forgettable(install)
    return {
        "install": install,
        "count": rows.count(),
        "events": forgetting.events_of(rows).count(),
        "stay": ending.still_there(install),
        "comes_back": forgetting.may_come_back(install),
    }


def _record_forgotten(
    request: HtmxRequest, install: GoHighLevelIntegration, erased: int
) -> AuditEvent:
    """Without anything about the person or company behind the account: its id here is enough."""
    return record(request, "install.forget", install=str(install.pk), erased=erased)
