"""What the web server itself counts: requests and how long their answers took.

Under gunicorn each process writes to files in PROMETHEUS_MULTIPROC_DIR (gunicorn.conf.py makes
one), so that whichever of them answers /metrics sees the sum of all on this host.
"""

from __future__ import annotations

import os

from django.http import HttpRequest
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.multiprocess import MultiProcessCollector

REGISTRY = CollectorRegistry()
REQUESTS = Counter(
    "whatreach_http_requests",
    "Requests answered by this host since its web server started, by door and status.",
    ["door", "status"],
    registry=REGISTRY,
)
SECONDS = Histogram(
    "whatreach_http_request_seconds",
    "How long their answers took, on this host. Door webhook: until the event is stored.",
    ["door"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
    registry=REGISTRY,
)

# The first part of a machine's address, behind /app/ or /ghl/.
_MACHINE_DOORS = {"webhook": "webhook", "get-token": "get_token", "api": "proxy"}
# Monitoring that measures itself says nothing.
_NOT_COUNTED = ("healthz", "readyz", "metrics")


def door(route: str) -> str:
    """Return through which door a route leads; "" for one that is not counted."""
    first, _, rest = route.partition("/")
    if first in ("app", "ghl"):
        return _MACHINE_DOORS.get(rest.partition("/")[0], "api")
    return "" if first in _NOT_COUNTED else "page"


def count(request: HttpRequest, status: int, seconds: float) -> None:
    route = request.resolver_match.route if request.resolver_match else ""
    through = door(route)
    if through:
        REQUESTS.labels(through, status).inc()
        SECONDS.labels(through).observe(seconds)


def registry() -> CollectorRegistry:
    """Return what was counted on this host, by all its web processes."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return REGISTRY
    all_processes = CollectorRegistry()
    MultiProcessCollector(all_processes)
    return all_processes
