"""The operator's pages: is everything in place, what does the queue do, which version runs."""

from __future__ import annotations

import platform
from typing import Any

import django
from django.conf import settings
from django.contrib import messages
from django.db import connection
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST

from access.audit import record
from access.models import AuditEvent
from access.roles import Permission
from dashboard import queue
from dashboard.htmx import HtmxRequest, panel, staff_page
from dashboard.rates import read_rates
from dashboard.times import span
from dashboard.worker import read_worker
from integrations import heartbeat
from operations import readiness
from operations.readiness import Verdict

# A check that asks HighLevel is made when the page is opened, not with each tick.
_ORDER = [Verdict.RED, Verdict.WARN, Verdict.OK]


@staff_page()
def system(request: HtmxRequest) -> HttpResponse:
    return render(request, "dashboard/system.html", _system_context(request))


@staff_page()
def live_system(request: HtmxRequest) -> HttpResponse:
    return panel(request, "dashboard/_system_panel.html", _system_context(request))


@staff_page()
def setup(request: HtmxRequest) -> HttpResponse:
    return render(request, "dashboard/setup.html", _setup_context(ask_highlevel=True))


@staff_page()
def live_setup(request: HtmxRequest) -> HttpResponse:
    return panel(request, "dashboard/_setup_panel.html", _setup_context(ask_highlevel=False))


@require_POST
@staff_page(Permission.ROTATE, audit="queue.retry")
def task_retry(request: HtmxRequest, pk: str) -> HttpResponse:
    done = queue.try_again(pk)
    record(request, "queue.retry", outcome=_outcome(done), task=pk)
    messages.info(request, "It is in the queue again." if done else "It is not there any more.")
    return redirect("dashboard:system")


@require_POST
@staff_page(Permission.ROTATE, audit="queue.cancel")
def task_cancel(request: HtmxRequest, pk: int) -> HttpResponse:
    done = queue.cancel(pk, timezone.now())
    record(request, "queue.cancel", outcome=_outcome(done), task=pk)
    messages.info(request, "Taken out of the queue." if done else "It runs already, or has ended.")
    return redirect("dashboard:system")


def _outcome(done: bool) -> str:
    return AuditEvent.DONE if done else AuditEvent.FAILED


def _system_context(request: HtmxRequest) -> dict[str, Any]:
    now, signs = timezone.now(), heartbeat.read_all()
    web_seen = signs.pop(heartbeat.WEB, None)
    return {
        "now": now,
        "web_seen": web_seen,
        "worker": read_worker(now),
        "signs": signs,
        "queue": queue.read_queue(now),
        # Of all agencies together.
        "rates": read_rates(now) if not request.user.agencies else None,
        "versions": [
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


def _setup_context(*, ask_highlevel: bool) -> dict[str, Any]:
    checks = readiness.run(ask_highlevel=ask_highlevel)
    return {
        "checks": checks,
        "done": sum(check.verdict == Verdict.OK for check in checks),
        "red": sum(check.verdict == Verdict.RED for check in checks),
    }
