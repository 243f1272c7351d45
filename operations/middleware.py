from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse

from operations import request_ids, web_metrics

logger = logging.getLogger(__name__)

# Polled every few seconds, by monitoring and by each open page.
_QUIET = ("healthz", "readyz", "metrics", "live/")


class RequestMiddleware:
    """Give a request its id, and note afterwards how it was answered: in the log and in /metrics.

    The log names the route, never the path or the query: these may carry codes and signed links.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request_id = request_ids.begin(request.headers.get(request_ids.HEADER, ""))
        started = time.perf_counter()
        response = self.get_response(request)
        seconds = time.perf_counter() - started
        response[request_ids.HEADER] = request_id
        if request.method == "HEAD" and not response.streaming:
            # Its length stays. The web server drops the body too, but warns each time.
            response.content = b""
        web_metrics.count(request, response.status_code, seconds)
        _log(request, response.status_code, seconds)
        return response


def _log(request: HttpRequest, status: int, seconds: float) -> None:
    match = request.resolver_match
    route = match.route if match else ""
    if status >= 500:
        level = logging.WARNING
    else:
        level = logging.DEBUG if route.startswith(_QUIET) else logging.INFO
    about: dict[str, Any] = {
        "method": request.method,
        "route": route,
        "status": status,
        "ms": round(seconds * 1000, 1),
    }
    if match and "pk" in match.kwargs:
        about["id"] = str(match.kwargs["pk"])
    logger.log(level, "request", extra=about)
