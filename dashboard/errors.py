"""Error pages: JSON for machines, the product's look for people."""

from __future__ import annotations

import sys

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string

from integrations.errors import DATABASE_RETRY_AFTER_S, answer, json_error
from integrations.middleware import is_machine_path


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _answer(request, 400, "invalid_input")


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _answer(request, 403, "key_lacks_scope")


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    return _answer(request, 403, "csrf_refused", "403_csrf")


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _answer(request, 404, "not_found")


def server_error(request: HttpRequest) -> HttpResponse:
    """500; or 503 and when to come back, if it was only the database that did not answer."""
    fault = sys.exc_info()[1]
    try:
        if isinstance(fault, OperationalError | InterfaceError):
            return _database_away(request, fault)
        return _answer(request, 500, "internal_error")
    except Exception:  # the fault may be in what pages are made of
        return HttpResponse("WhatReach has a fault. It is in the log.", "text/plain", status=500)


def _database_away(request: HttpRequest, fault: Exception) -> HttpResponse:
    if is_machine_path(request):
        return answer(fault)
    page = _answer(request, 503, "database_unavailable")
    page["Retry-After"] = str(DATABASE_RETRY_AFTER_S)
    return page


def _answer(request: HttpRequest, status: int, code: str, page: str = "") -> HttpResponse:
    """Pages are rendered without the request: no database is needed to say what is wrong."""
    if is_machine_path(request):
        return json_error(code, status)
    return HttpResponse(render_to_string(f"errors/{page or status}.html"), status=status)
