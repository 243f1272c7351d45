"""/metrics for Prometheus: what the database says of all hosts, and what this host counted."""

from __future__ import annotations

import platform
import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from ipaddress import ip_address

import django
from django.conf import settings
from django.db import connection
from django.db.models import Count, Min
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe
from django_q.brokers import get_broker
from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from access.audience import ONLY_SHOWS, Who, audience
from config import __version__
from integrations import heartbeat
from integrations.health import State, Status
from integrations.models import GoHighLevelIntegration
from operations import hand_out_counts, renewal_counts, web_metrics
from webhooks.models import GoHighLevelWebhook

# Counting all accounts by state reads them all: 0.2 to 0.5 s for a million. No counter may be kept
# so: where the next process shows less than the last one, Prometheus sees a restart from 0.
KEPT_S = 15


@audience(Who.OPERATOR, no_audit=ONLY_SHOWS)
@csrf_exempt  # another method gets 405
@require_safe
@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """404 where nothing is set up or the address is not allowed; 401 for a wrong or missing key."""
    if not _is_allowed(request):
        if not settings.METRICS_TOKEN:
            return HttpResponse(status=404)
        return HttpResponse(status=401, headers={"WWW-Authenticate": "Bearer"})
    database = CollectorRegistry()
    database.register(_Database())
    text = generate_latest(web_metrics.registry()) + generate_latest(database)
    return HttpResponse(text, content_type=CONTENT_TYPE_LATEST)


def _is_allowed(request: HttpRequest) -> bool:
    return _has_key(request) or _comes_from_allowed_address(request)


def _has_key(request: HttpRequest) -> bool:
    kind, _, key = request.headers.get("Authorization", "").partition(" ")
    return (
        bool(settings.METRICS_TOKEN)
        and kind.lower() == "bearer"
        and secrets.compare_digest(key.strip().encode(), settings.METRICS_TOKEN.encode())
    )


def _comes_from_allowed_address(request: HttpRequest) -> bool:
    """A proxy that we are not told to trust hides who asks: then nobody is allowed by address."""
    if not settings.TRUST_PROXY and "X-Forwarded-For" in request.headers:
        return False
    try:
        address = ip_address(request.META.get("REMOTE_ADDR", ""))
    except ValueError:
        return False
    return any(address in network for network in settings.METRICS_ALLOW)


class _Database(Collector):
    """The same on every host: in a query over several, take the maximum, not the sum."""

    def collect(self) -> Iterator[Metric]:
        now = timezone.now()
        yield _info()
        yield _by_label(
            "whatreach_accounts",
            f"Accounts in each state; counted at most every {KEPT_S} s.",
            "state",
            {state.value: number for state, number in _STATES.get().items()},
        )
        yield from _expiry(now)
        yield from _due(now)
        yield from _renewals(now)
        yield _hand_outs()
        yield from _events(now)
        yield _by_label(
            "whatreach_heartbeat_age_seconds",
            "Since when a part of WhatReach last showed itself.",
            "part",
            {name: _seconds(now, at) for name, at in sorted(heartbeat.read_all().items())},
        )
        with suppress(ConnectionError):
            waiting = get_broker().queue_size()
            yield GaugeMetricFamily("whatreach_queue_tasks", "Tasks in the queue.", value=waiting)


class _States:
    """The accounts by state, kept for a moment by each process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counted: tuple[float, dict[State, int]] | None = None

    def get(self) -> dict[State, int]:
        with self._lock:
            if self._counted is None or time.monotonic() - self._counted[0] > KEPT_S:
                counts = GoHighLevelIntegration.objects.count_by_state(timezone.now())
                self._counted = time.monotonic(), counts
            return self._counted[1]

    def forget(self) -> None:
        self._counted = None


_STATES = _States()


def _info() -> Metric:
    return InfoMetricFamily(
        "whatreach",
        "What runs here.",
        value={
            "version": __version__,
            "python": platform.python_version(),
            "django": django.get_version(),
            "database": connection.vendor,
        },
    )


def _expiry(now: datetime) -> Iterator[Metric]:
    """Left out when no account has a token that is still valid."""
    valid = GoHighLevelIntegration.objects.filter(status=Status.ACTIVE, expires_at__gt=now)
    nearest = valid.order_by("expires_at").values_list("expires_at", flat=True).first()
    if nearest is not None:
        yield GaugeMetricFamily(
            "whatreach_nearest_expiry_seconds",
            "Until the next access token ends that is still valid now.",
            value=-_seconds(now, nearest),
        )


def _due(now: datetime) -> Iterator[Metric]:
    due = GoHighLevelIntegration.objects.filter(renew_at__lte=now)
    found = due.aggregate(count=Count("pk"), oldest=Min("renew_at"))
    yield GaugeMetricFamily(
        "whatreach_renewals_due", "Accounts whose renewal is due.", value=found["count"]
    )
    yield GaugeMetricFamily(
        "whatreach_renewals_overdue_seconds",
        "Since when the longest overdue of them is due; 0: none is.",
        value=_seconds(now, found["oldest"] or now),
    )


def _renewals(now: datetime) -> Iterator[Metric]:
    tallies = renewal_counts.read(now)
    totals: defaultdict[tuple[str, str], int] = defaultdict(int)
    for kind, tally in tallies.items():
        totals[kind.way, kind.outcome] += tally.number
    counter = CounterMetricFamily(
        "whatreach_renewals", "Renewals that ended, on all hosts.", labels=["way", "outcome"]
    )
    for labels, count in sorted(totals.items()):
        counter.add_metric(labels, count)
    yield counter
    histogram = HistogramMetricFamily(
        "whatreach_renewal_seconds", "How long they took.", labels=["outcome"]
    )
    for outcome in sorted({outcome for _way, outcome in totals}):
        of_outcome = {k: tally for k, tally in tallies.items() if k.outcome == outcome}
        seconds = sum(tally.microseconds for tally in of_outcome.values()) / 1_000_000
        histogram.add_metric([outcome], _buckets(of_outcome), seconds)
    yield histogram


def _buckets(
    tallies: dict[renewal_counts.Kind, renewal_counts.Tally],
) -> list[tuple[str, float]]:
    """Prometheus' buckets: how many took at most so long, for each bound."""
    return [
        ("+Inf" if bound == renewal_counts.INFINITE else str(bound), float(below))
        for bound in (*renewal_counts.BUCKETS_S, renewal_counts.INFINITE)
        for below in [sum(t.number for kind, t in tallies.items() if kind.bucket <= bound)]
    ]


def _hand_outs() -> Metric:
    total = hand_out_counts.read()
    counter = CounterMetricFamily(
        "whatreach_hand_outs",
        "Tokens handed out and calls passed on, on all hosts.",
        labels=["as"],
    )
    counter.add_metric(["token"], total.tokens)
    counter.add_metric(["call"], total.calls)
    return counter


def _events(now: datetime) -> Iterator[Metric]:
    due = GoHighLevelWebhook.objects.filter(process_at__lte=now)
    waiting = due.aggregate(count=Count("pk"), oldest=Min("process_at"))
    parked = GoHighLevelWebhook.objects.filter(status=GoHighLevelWebhook.PARKED).count()
    yield GaugeMetricFamily(
        "whatreach_events_waiting", "Events to be processed now.", value=waiting["count"]
    )
    yield GaugeMetricFamily(
        "whatreach_events_backlog_seconds",
        "Since when the oldest of them waits; 0: none does.",
        value=_seconds(now, waiting["oldest"] or now),
    )
    yield GaugeMetricFamily(
        "whatreach_events_parked", "Events that failed too often and are left alone.", value=parked
    )


def _by_label(name: str, help_text: str, label: str, values: Mapping[str, float]) -> Metric:
    gauge = GaugeMetricFamily(name, help_text, labels=[label])
    for value_of, value in values.items():
        gauge.add_metric([value_of], value)
    return gauge


def _seconds(now: datetime, since: datetime) -> float:
    return (now - since).total_seconds()
