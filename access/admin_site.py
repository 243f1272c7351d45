from __future__ import annotations

from collections.abc import Iterable
from functools import wraps
from typing import Any

from allauth.core.exceptions import ReauthenticationRequired
from django.contrib.admin import AdminSite
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.http import HttpRequest, HttpResponse

from access.audit import record
from access.models import AuditEvent
from access.sudo import is_confirmed

# Sessions, second factors and mail addresses have pages here, which keep their keys to themselves.
NOT_SHOWN = {"account", "mfa", "usersessions"}
_ROWS_NAMED = 100


class StaffAdminSite(AdminSite):
    """Django's admin by our rules: closed to whoever is limited to agencies, of which its lists
    know nothing; a fresh proof of who it is before any change, and a record of each."""

    site_title = site_header = "WhatReach"

    def register(self, model_or_iterable: Any, admin_class: Any = None, **options: Any) -> None:
        is_one = not isinstance(model_or_iterable, Iterable)
        models = [model_or_iterable] if is_one else model_or_iterable
        shown = [model for model in models if model._meta.app_label not in NOT_SHOWN]
        super().register(shown, admin_class, **options)

    def has_permission(self, request: HttpRequest) -> bool:
        return super().has_permission(request) and not getattr(request.user, "agencies", None)

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        inner = super().admin_view(view, cacheable)

        @wraps(inner)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            is_change = request.method == "POST" and self.has_permission(request)
            match = request.resolver_match
            if not is_change or (match is not None and match.url_name == "logout"):
                return inner(request, *args, **kwargs)
            if not is_confirmed(request):
                raise ReauthenticationRequired
            response = inner(request, *args, **kwargs)
            outcome = AuditEvent.REFUSED if response.status_code >= 400 else AuditEvent.DONE
            record(request, "admin.change", outcome=outcome, **_what_was_done(request))
            return response

        return guarded


def _what_was_done(request: HttpRequest) -> dict[str, Any]:
    """The address; for an action on a list also its name and the ids, a hundred at most."""
    details: dict[str, Any] = {"path": request.path[:200]}
    if did := request.POST.get("action"):
        ids = request.POST.getlist(ACTION_CHECKBOX_NAME)
        rows = [pk[:100] for pk in ids[:_ROWS_NAMED]]
        every = request.POST.get("select_across") == "1"
        details |= {"did": did[:100], "to": "all that match" if every else rows}
    return details
