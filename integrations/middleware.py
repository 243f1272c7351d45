from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from django.core.exceptions import ObjectDoesNotExist
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.utils.deprecation import MiddlewareMixin

from access.models import Scope
from integrations.auth import Caller, Requires
from integrations.errors import ApiError, answer, json_error
from integrations.tokens import AccessToken, get_access_token

V = TypeVar("V", bound=Callable[..., Any])

_CODES = {404: "not_found", 405: "method_not_allowed", 500: "internal_error"}
# What Django refuses before it knows the address, a strange Host for example. Later a 400 is a
# page for browsers.
_EARLY_CODES = _CODES | {400: "invalid_input"}


class FreshTokenRequest(HttpRequest):
    """What a view marked with `needs_fresh_token` gets."""

    auth: Caller
    access_token: AccessToken


def needs_fresh_token(scope: Scope) -> Callable[[V], V]:
    """Mark a view that takes `pk`: it runs only for a caller with the scope that may see this
    install, and with a token that lasts for five minutes, renewed before if need be."""

    def mark(view: V) -> V:
        view.needs_fresh_token = scope  # type: ignore[attr-defined]
        return view

    return mark


class FreshTokenMiddleware(MiddlewareMixin):
    """Put caller and token into the request of each view marked with `needs_fresh_token`."""

    def process_view(
        self, request: FreshTokenRequest, view: Any, args: object, kwargs: Mapping[str, Any]
    ) -> HttpResponse | None:
        scope = getattr(view, "needs_fresh_token", None)
        if scope is None:
            return None
        try:
            request.auth = Requires(scope)(request)
            request.auth.check_install(kwargs["pk"])
            request.access_token = get_access_token(kwargs["pk"], caller=request.auth.name)
        except (ApiError, ObjectDoesNotExist, OperationalError, InterfaceError) as error:
            return answer(error)
        return None


def is_machine_path(request: HttpRequest) -> bool:
    """Whether the caller of this address reads JSON."""
    return request.path_info.startswith(("/app/", "/ghl/"))


class JsonErrorMiddleware(MiddlewareMixin):
    """Give Django's own 400, 404, 405 and 500 under /app/ the JSON error shape."""

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        codes = _CODES if request.resolver_match else _EARLY_CODES
        code = codes.get(response.status_code)
        is_json = response.get("Content-Type", "").startswith("application/json")
        # What the proxy passes on is streamed: HighLevel's own words.
        if code is None or is_json or response.streaming or not is_machine_path(request):
            return response
        error = json_error(code, response.status_code)
        if "Allow" in response:
            error["Allow"] = response["Allow"]
        return error
