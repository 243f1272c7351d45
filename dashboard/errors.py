"""Error pages: JSON for machines, the product's look for people."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string

from integrations.errors import json_error
from integrations.middleware import is_machine_path


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _answer(request, 400, "invalid_input")


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _answer(request, 403, "key_lacks_scope")


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _answer(request, 404, "not_found")


def server_error(request: HttpRequest) -> HttpResponse:
    try:
        return _answer(request, 500, "internal_error")
    except Exception:  # the fault may be in what pages are made of
        return HttpResponse("WhatReach has a fault. It is in the log.", "text/plain", status=500)


def _answer(request: HttpRequest, status: int, code: str) -> HttpResponse:
    """Pages are rendered without the request: no database is needed to say what is wrong."""
    if is_machine_path(request):
        return json_error(code, status)
    return HttpResponse(render_to_string(f"errors/{status}.html"), status=status)
