from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from integrations.errors import json_error

_CODES = {404: "not_found", 405: "method_not_allowed"}


def is_machine_path(request: HttpRequest) -> bool:
    """Whether the caller of this address reads JSON."""
    return request.path_info.startswith(("/app/", "/ghl/"))


class JsonErrorMiddleware:
    """Give the plain 404 and 405 of Django under /app/ the JSON error shape."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        code = _CODES.get(response.status_code)
        is_json = response.get("Content-Type", "").startswith("application/json")
        if code is None or is_json or not is_machine_path(request):
            return response
        error = json_error(code, response.status_code)
        if "Allow" in response:
            error["Allow"] = response["Allow"]
        return error
