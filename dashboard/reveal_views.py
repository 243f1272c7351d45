from __future__ import annotations

import uuid

from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_POST

from access.audit import record
from access.models import AuditEvent
from access.roles import Permission
from dashboard.htmx import HtmxRequest, staff_page, wants_partial
from integrations.crypto import DecryptError
from integrations.health import Status
from integrations.models import GoHighLevelIntegration

SHOWN_FOR_S = 30


@require_POST
@staff_page(Permission.REVEAL, audit="token.reveal", sudo=True)
@sensitive_variables("token", "context")
def install_reveal(request: HtmxRequest, pk: uuid.UUID) -> HttpResponse:
    """Show an access token to a person, once it is on record that they saw it. There is no way
    to see a refresh token."""
    visible = GoHighLevelIntegration.objects.visible_to(request.user)
    install = get_object_or_404(visible.defer("refresh_token_encrypted"), pk=pk)
    token, problem = _token_of(install)
    with transaction.atomic():
        outcome = AuditEvent.DONE if token else AuditEvent.REFUSED
        record(request, "token.reveal", target=install, outcome=outcome)
    context = {
        "now": timezone.now(),
        "install": install,
        "token": token,
        "problem": problem,
        "seconds": SHOWN_FOR_S,
    }
    template = "_reveal_dialog.html" if wants_partial(request) else "reveal.html"
    return render(request, f"dashboard/{template}", context)


@sensitive_variables()
def _token_of(install: GoHighLevelIntegration) -> tuple[str, str]:
    """Return the token, or why there is none to show."""
    if install.status != Status.ACTIVE or install.is_expired(timezone.now()):
        return "", "There is no valid token. Refresh the account first."
    try:
        return install.open_access_token(), ""
    except DecryptError:
        return "", "The stored token cannot be read with the present keys."
