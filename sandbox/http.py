"""One HTTP call in, one outcome out: shared by the server and the in-process transport.

No product middleware takes part: the path is looked up in sandbox.urls and the view is called.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Literal
from urllib.parse import unquote_to_bytes, urlsplit

from django.core.handlers.wsgi import WSGIRequest
from django.http import Http404, HttpResponse, JsonResponse
from django.urls import resolve

from sandbox.errors import NotFound, no_such_route
from sandbox.knobs import BadKnob
from sandbox.world import World

URLCONF = "sandbox.urls"

# How an answer fails to arrive: "reset" before the call took effect, "lost" after it,
# "unreachable" before it was even sent.
Cut = Literal["", "reset", "lost", "unreachable"]


@dataclass(frozen=True)
class Outcome:
    """What the caller gets. Units: `delay_s` seconds to wait before answering."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay_s: float = 0.0
    cut: Cut = ""


class SandboxRequest(WSGIRequest):
    """A request that knows its world."""

    def __init__(self, world: World, environ: dict[str, object]) -> None:
        super().__init__(environ)
        self.world = world


class SandboxResponse(HttpResponse):
    """An answer that may come late, or not at all."""

    delay_s = 0.0
    cut: Cut = ""


def answer(
    world: World, method: str, target: str, headers: Mapping[str, str], body: bytes = b""
) -> Outcome:
    """Answer one call. Shapes: `target` a path with query or a whole URL; `body` raw bytes."""
    request = SandboxRequest(world, _environ(method, target, headers, body))
    response = _respond(request)
    return Outcome(
        status=response.status_code,
        headers=dict(response.items()),
        body=response.content,
        delay_s=getattr(response, "delay_s", 0.0),
        cut=getattr(response, "cut", ""),
    )


def _respond(request: SandboxRequest) -> HttpResponse:
    try:
        match = resolve(request.path_info, URLCONF)
        request.resolver_match = match
        response: HttpResponse = match.func(request, *match.args, **match.kwargs)
    except Http404:
        error = no_such_route(request.method or "", request.path_info)
        return JsonResponse(error.body, status=error.status)
    except BadKnob as error:
        body = {"error": "bad_value", "name": error.name, "details": str(error)}
        return JsonResponse(body, status=400)
    except NotFound as error:
        return JsonResponse({"error": "not_found", "details": str(error)}, status=404)
    return response


def _environ(
    method: str, target: str, headers: Mapping[str, str], body: bytes
) -> dict[str, object]:
    parts = urlsplit(target)
    environ: dict[str, object] = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        # WSGI wants the decoded bytes of the path as latin-1 text.
        "PATH_INFO": unquote_to_bytes(parts.path).decode("latin-1"),
        "QUERY_STRING": parts.query,
        "SERVER_NAME": "sandbox",
        "SERVER_PORT": "80",
        "wsgi.url_scheme": "http",
        "wsgi.input": BytesIO(body),
        "CONTENT_LENGTH": str(len(body)),
    }
    for name, value in headers.items():
        key = name.upper().replace("-", "_")
        if key == "CONTENT_TYPE":
            environ[key] = value
        elif key != "CONTENT_LENGTH":
            environ[f"HTTP_{key}"] = value
    return environ
