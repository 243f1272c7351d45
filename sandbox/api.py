"""What every API route shares: faults, Version and bearer checks, limits, traceId, the call log."""

from __future__ import annotations

import contextlib
import functools
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.http import HttpResponse
from django.http.multipartparser import MultiPartParserError

from sandbox import errors, ids
from sandbox.errors import ApiError
from sandbox.faults import Fault
from sandbox.http import Cut, SandboxRequest, SandboxResponse
from sandbox.tokens import Grant
from sandbox.world import ApiCall

_VERSIONS = {"2021-07-28", "2023-02-21", "2021-04-15", "v3"}
_PROXY_PAGE = (
    "<html>\n<head><title>{status} Bad Gateway</title></head>\n"
    "<body><center><h1>{status} Bad Gateway</h1></center></body>\n</html>\n"
)
_CUTS: dict[str, Cut] = {
    "reset": "reset",
    "drop_after_commit": "lost",
    "connect_timeout": "unreachable",
}


@dataclass
class Answer:
    """A JSON object to send."""

    body: dict[str, object]
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Params:
    """The parameters of a call, whether they came as form, JSON or query."""

    values: dict[str, str]
    is_camel: bool = False

    def get(self, name: str, default: str = "") -> str:
        return self.values.get(name, default)


_View = Callable[..., Answer]


def api(*methods: str) -> Callable[[_View], Callable[..., HttpResponse]]:
    """Make a view that returns an Answer or raises ApiError into an API route."""

    def decorate(view: _View) -> Callable[..., HttpResponse]:
        @functools.wraps(view)
        def route(request: SandboxRequest, **kwargs: str) -> HttpResponse:
            started = time.perf_counter()
            fault = request.world.next_fault(request.path_info, lambda: resources_of(request))
            if fault is not None and not fault.after_commit:
                result = Answer({}, 0)
            else:
                result = _call(view, methods, request, kwargs)
            _log(request, result, fault, started)
            return _render(request, result, fault)

        return route

    return decorate


def read_params(request: SandboxRequest) -> dict[str, str]:
    """Body parameters by name, from a form or a JSON object. Errors: ApiError 422."""
    cached = getattr(request, "_sandbox_params", None)
    if cached is None:
        cached = _read_body(request)
        request._sandbox_params = cached  # type: ignore[attr-defined]
    return dict(cached)


def bearer(
    request: SandboxRequest, scope: str, *, only: str = "", removed_in_v3: bool = False
) -> Grant:
    """The grant of the access token, after every check that comes before the work.

    `only`: "Company" or "Location", the one class this endpoint takes.
    Errors: ApiError 400, 401, 429 with HighLevel's texts.
    """
    version = check_version(request)
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    grant = request.world.tokens.bearer(token.strip() if kind.lower() == "bearer" else "")
    if version == "v3" and removed_in_v3 and request.world.knobs.version_gate:
        raise errors.removed_in_v3(request.get_full_path())
    count_call(request, grant.resource_id)
    if not grant.has_scope(scope):
        raise errors.scope_missing()
    if only and grant.user_type != only:
        wrong_class = {
            "Company": errors.user_type_not_supported,
            "Location": errors.class_not_allowed,
        }
        raise wrong_class[only]()
    return grant


def check_version(request: SandboxRequest) -> str:
    """The Version header. Errors: ApiError 401 missing, 400 or 401 unknown."""
    version = request.headers.get("Version", "")
    knobs = request.world.knobs
    if knobs.version_gate and not version:
        raise errors.version_missing()
    if knobs.version_gate and version not in _VERSIONS:
        raise errors.version_invalid(version, knobs.bad_version_error)
    return version


def count_call(request: SandboxRequest, resource_id: str) -> None:
    """Count the call towards the limits of this resource. Errors: ApiError 429."""
    world = request.world
    allowed, headers = world.limiter.take(resource_id, world.now(), world.knobs)
    request.META["sandbox.headers"] = headers
    if not allowed:
        retry_after = world.knobs.retry_after_seconds
        raise errors.too_many_requests(
            {} if retry_after is None else {"Retry-After": str(retry_after)}
        )


def require_ids(params: Params, *names: str) -> None:
    """Errors: ApiError 422 with one message for each missing parameter."""
    missing = [f"{name} should not be empty" for name in names if not params.get(name)]
    if missing:
        raise errors.unprocessable(*missing)


def check_company(grant: Grant, company_id: str) -> None:
    """Errors: ApiError 403 for another agency than the token's."""
    if company_id != grant.company_id:
        raise errors.wrong_company()


def resources_of(request: SandboxRequest) -> set[str]:
    """Every agency or sub-account this call is about: by token, path, query or body."""
    world, found = request.world, set(request.path_info.split("/"))
    values = {**request.GET.dict(), **_params_or_nothing(request)}
    found |= {str(values.get(name, "")) for name in ("locationId", "companyId")}
    tokens = world.tokens
    found.add(tokens.resource_of(values.get("refresh_token", values.get("refreshToken", ""))))
    found.add(tokens.resource_of_code(values.get("code", "")))
    token = request.headers.get("Authorization", "").rpartition(" ")[2]
    if token:
        with contextlib.suppress(ApiError):
            found.add(tokens.bearer(token).resource_id)
    return found - {""}


def _call(
    view: _View, methods: tuple[str, ...], request: SandboxRequest, kwargs: Mapping[str, str]
) -> Answer:
    try:
        if request.method not in methods:
            raise errors.no_such_route(request.method or "", request.path_info)
        result = view(request, **kwargs)
    except ApiError as error:
        result = Answer(error.body, error.status, error.headers)
    result.headers = request.META.get("sandbox.headers", {}) | result.headers
    return result


def _render(request: SandboxRequest, result: Answer, fault: Fault | None) -> SandboxResponse:
    response = _json(result) if fault is None else _broken(result, fault)
    response.delay_s += _latency(request)
    return response


def _json(result: Answer) -> SandboxResponse:
    body = result.body if "traceId" in result.body else result.body | {"traceId": ids.trace_id()}
    return SandboxResponse(
        json.dumps(body, separators=(",", ":")),
        status=result.status,
        content_type="application/json; charset=utf-8",
        headers=result.headers,
    )


def _broken(result: Answer, fault: Fault) -> SandboxResponse:
    kind = fault.fault
    if kind in _CUTS:
        response = SandboxResponse(status=502)
        response.cut = _CUTS[kind]
        return response
    if kind == "slow":
        response = _json(result) if result.status else _json(Answer({}, 504))
        response.delay_s = fault.seconds
        return response
    if kind == "html_body":
        page = _PROXY_PAGE.format(status=fault.status)
        return SandboxResponse(page, status=fault.status, content_type="text/html")
    if kind == "401":
        return _json(Answer(errors.invalid_client().body, 401))
    wait = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
    if kind == "429":
        return _json(Answer(errors.too_many_requests().body, 429, wait))
    body = {"statusCode": int(kind), "message": "Internal server error"}
    return _json(Answer(body, int(kind), wait))


def _latency(request: SandboxRequest) -> float:
    world = request.world
    own = world.resource_knobs()
    if not any("latency_seconds" in values for values in own.values()):
        return world.knobs.latency_seconds
    places = resources_of(request)
    return max(world.knobs_for(place).latency_seconds for place in [*(places & own.keys()), ""])


def _log(request: SandboxRequest, result: Answer, fault: Fault | None, started: float) -> None:
    world, body = request.world, result.body
    values = _params_or_nothing(request)
    message = body.get("message", body.get("error_description", ""))
    world.log_call(
        ApiCall(
            at=world.now(),
            method=request.method or "",
            path=request.path_info,
            route=_route(request),
            grant_type=values.get("grant_type", values.get("grantType", "")),
            resource_id=str(body.get("locationId") or body.get("companyId") or ""),
            status=result.status,
            message="" if result.status < 400 else str(message),
            fault=fault.fault if fault else "",
            ms=(time.perf_counter() - started) * 1000,
        )
    )


def _route(request: SandboxRequest) -> str:
    """The path with names in place of ids, such as /locations/{location_id}."""
    match = request.resolver_match
    return re.sub(r"<str:(\w+)>", r"{\1}", f"/{match.route}" if match else request.path_info)


def _params_or_nothing(request: SandboxRequest) -> dict[str, str]:
    try:
        return read_params(request)
    except ApiError:
        return {}


def _read_body(request: SandboxRequest) -> dict[str, str]:
    if not request.body:
        return {}
    try:
        if request.content_type != "application/json":
            return {name: str(value) for name, value in request.POST.items()}
        parsed: Any = json.loads(request.body)
    except (ValueError, RecursionError, MultiPartParserError):
        raise errors.unprocessable() from None
    if not isinstance(parsed, dict):
        raise errors.unprocessable()
    return {name: str(value) for name, value in parsed.items() if value is not None}
