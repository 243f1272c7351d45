"""The operator's pages: is everything in place, what does the queue do, which version runs."""

from __future__ import annotations

import platform
from contextlib import suppress
from datetime import datetime
from typing import Any

import django
from django.conf import settings
from django.contrib import messages
from django.core.cache import cache
from django.db import connection, transaction
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.crypto import salted_hmac
from django.views.decorators.http import require_POST

from access.audit import record
from access.models import AuditEvent
from access.roles import Permission
from config import __version__
from dashboard import queue
from dashboard.htmx import HtmxRequest, panel, staff_page
from dashboard.rates import read_rates
from dashboard.times import span
from dashboard.worker import read_worker
from integrations import heartbeat
from operations import readiness
from operations.readiness import Check, Verdict

# The check that asks HighLevel is made when the page is opened; ticks show that verdict so long.
_ASKED_KEPT_S = 600


@staff_page()
def system(request: HtmxRequest) -> HttpResponse:
    return render(request, "dashboard/system.html", _system_context(request))


@staff_page()
def live_system(request: HtmxRequest) -> HttpResponse:
    return panel(request, "dashboard/_system_panel.html", _system_context(request))


@staff_page()
def setup(request: HtmxRequest) -> HttpResponse:
    return render(request, "dashboard/setup.html", _setup_context(anew=True))


@staff_page()
def live_setup(request: HtmxRequest) -> HttpResponse:
    return panel(request, "dashboard/_setup_panel.html", _setup_context(anew=False))


@require_POST
@staff_page(Permission.ROTATE, audit="queue.retry")
def task_retry(request: HtmxRequest, pk: str) -> HttpResponse:
    with transaction.atomic():
        done = queue.try_again(pk)
        record(request, "queue.retry", outcome=_outcome(done), task=pk)
    messages.info(request, "It is in the queue again." if done else "It is not there any more.")
    return redirect("dashboard:system")


@require_POST
@staff_page(Permission.ROTATE, audit="queue.cancel")
def task_cancel(request: HtmxRequest, pk: int) -> HttpResponse:
    with transaction.atomic():
        done = queue.cancel(pk, timezone.now())
        record(request, "queue.cancel", outcome=_outcome(done), task=pk)
    messages.info(request, "Taken out of the queue." if done else "It runs already, or has ended.")
    return redirect("dashboard:system")


def _outcome(done: bool) -> str:
    return AuditEvent.DONE if done else AuditEvent.FAILED


def _ask_highlevel(*, anew: bool) -> tuple[Check, datetime]:
    """Return whether client id and secret are accepted, and when HighLevel was asked."""
    # Other ones, after a restart, have no verdict yet.
    names = ("GHL_CLIENT_ID", "GHL_CLIENT_SECRET", "GHL_CLIENT_SECRET_NEXT")
    asked = repr([getattr(settings, name) for name in names])
    key = f"setup-credentials-{salted_hmac('setup', asked, algorithm='sha256').hexdigest()}"
    known: tuple[Check, datetime] | None = None
    # The page opens also while Redis, where the cache may be, is what has to be mended.
    with suppress(Exception):
        known = None if anew else cache.get(key)
    if known is None:
        known = readiness.find_out("credentials"), timezone.now()
        with suppress(Exception):
            cache.set(key, known, _ASKED_KEPT_S)
    return known


def _system_context(request: HtmxRequest) -> dict[str, Any]:
    now, signs = timezone.now(), heartbeat.read_all()
    is_limited = bool(request.user.agencies)
    return {
        "now": now,
        "web_seen": signs.get(heartbeat.WEB),
        "worker": read_worker(now),
        "signs": {name: signs[name] for name in heartbeat.PARTS if name in signs},
        # Of all agencies together.
        "queue": None if is_limited else queue.read_queue(now),
        "rates": None if is_limited else read_rates(now),
        "versions": [
            ("WhatReach", __version__),
            ("Python", platform.python_version()),
            ("Django", django.get_version()),
            ("Database", f"{connection.display_name} {readiness.server_version()}"),
            ("Database size", readiness.in_words(readiness.database_bytes())),
        ],
        "settings_shown": [
            ("Worker processes", settings.Q_CLUSTER["workers"]),
            ("Renewals at once in each", settings.RENEWAL_THREADS),
            ("Renews before the end", span(settings.REFRESH_MARGIN)),
        ],
    }


def _setup_context(*, anew: bool) -> dict[str, Any]:
    """`anew`: ask HighLevel, whatever it said a while ago."""
    credentials, asked_at = _ask_highlevel(anew=anew)
    checks = [
        credentials if name == credentials.name else readiness.find_out(name)
        for name in readiness.CHECKS
    ]
    return {
        "now": timezone.now(),
        "checks": checks,
        "asked_at": asked_at,
        "done": sum(check.verdict == Verdict.OK for check in checks),
        "red": sum(check.verdict == Verdict.RED for check in checks),
    }
