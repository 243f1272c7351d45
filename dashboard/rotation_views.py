"""The page about the keys that tokens are sealed with, and the app's client secrets."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST

from access.audit import record
from access.roles import Permission
from dashboard.htmx import HtmxRequest, panel, staff_page
from integrations import rotation
from integrations.crypto import keyring
from integrations.highlevel import HighLevel
from integrations.models import KeyRotation


@staff_page(Permission.ROTATE)
def encryption(request: HtmxRequest) -> HttpResponse:
    return render(request, "dashboard/rotation.html", _context())


@staff_page(Permission.ROTATE)
def live_encryption(request: HtmxRequest) -> HttpResponse:
    return panel(request, "dashboard/_rotation_panel.html", _context())


@require_POST
@staff_page(Permission.ROTATE, audit="keys.rotate", sudo=True)
def encryption_rotate(request: HtmxRequest) -> HttpResponse:
    """Hand the rotation to the worker."""
    if not keyring().old_ids:
        messages.error(request, "There is one key only; put a new one in front of it first.")
        return redirect("dashboard:encryption")
    with transaction.atomic():
        begun = rotation.start(by=request.user.get_username())
        rotation.hand_to_worker(begun)
        record(request, "keys.rotate", key_id=begun.key_id, rows=begun.total)
    return redirect("dashboard:encryption")


@require_POST
@staff_page(Permission.ROTATE, audit="client_secret.ask", sudo=True)
def encryption_ask_secrets(request: HtmxRequest) -> HttpResponse:
    """Ask HighLevel which client secret is good. No token is in the calls."""
    verdicts = HighLevel.from_settings().accepted_secrets()
    for name, accepted in verdicts.items():
        if accepted is None:
            messages.info(request, f"{name}: HighLevel gave no verdict. Ask again in a minute.")
        elif accepted:
            messages.success(request, f"{name}: HighLevel accepts it.")
        else:
            messages.error(request, f"{name}: HighLevel does not accept it.")
    record(request, "client_secret.ask", verdicts=verdicts)
    return redirect("dashboard:encryption")


def _context() -> dict[str, Any]:
    left = rotation.rows_left()
    present = rotation.under_way()
    last = KeyRotation.objects.exclude(ended_at=None).order_by("-ended_at").first()
    now = timezone.now()
    return {
        "now": now,
        "key_id": keyring().present_id,
        "left": left,
        "rotation": present,
        "last": last,
        "done": max(present.total - left.total, 0) if present else 0,
        "stands_still": present is not None and present.beat_at < now - 2 * rotation.STALLED_AFTER,
    }
