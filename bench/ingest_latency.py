"""How long HighLevel waits for an answer at a steady 50 events a second, with no worker running.

    python -m bench.ingest_latency [--database-url URL] [--per-second N] [--seconds S] [--locked]

Each event is sent at its own moment, whether those before it have been answered or not, so that a
slow answer is not hidden by the pause that it causes. --locked: somebody else has the table of
events to himself meanwhile, so each is to be put off; afterwards all of them are delivered again.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from http.client import HTTPConnection

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.harness import Plan, prepared
from bench.ingest import delivery_parts, public_key
from bench.results import Figure, note

GOAL_MS = 100
# Of each single answer that puts HighLevel off.
LOCKED_GOAL_MS = 2000
# More than are under way at once, even while a lock is waited for.
SENDERS = 100
TABLE = "webhooks_gohighlevelwebhook"
LOCK = {
    "sqlite": ["BEGIN IMMEDIATE"],
    "postgresql": ["BEGIN", f"LOCK TABLE {TABLE} IN ACCESS EXCLUSIVE MODE"],
    "mysql": [f"LOCK TABLES {TABLE} WRITE"],
}

Delivery = tuple[dict[str, str], bytes]
Send = Callable[[Delivery, float], tuple[int, float]]
"""Takes headers and body, and when it is due; returns status and milliseconds since then."""


def measure(database_url: str, per_second: int, seconds: int, *, locked: bool) -> bool:
    """Print the quantiles; return whether the goal was reached."""
    key = Ed25519PrivateKey.generate()
    with (
        prepared(Plan(database_url), GHL_WEBHOOK_PUBLIC_KEYS=public_key(key)) as bench,
        bench.server("product") as port,
        ThreadPoolExecutor(SENDERS) as senders,
    ):
        send = _sender(port)
        # Each thread of the web server has its connection before anything is timed.
        _send_all(senders, send, [delivery_parts(key) for _ in range(200)], per_second=200)
        deliveries = [delivery_parts(key) for _ in range(per_second * seconds)]
        with _locked(bench.environ) if locked else nullcontext():
            answers = _send_all(senders, send, deliveries, per_second)
        took_ms = sorted(ms for _status, ms in answers)
        late = took_ms[int(len(took_ms) * 0.95)]
        print(
            f"{len(took_ms)} events at {per_second}/s: median {statistics.median(took_ms):.1f} ms,"
            f" 95 % within {late:.1f} ms, slowest {took_ms[-1]:.1f} ms;"
            f" answers {_statuses(answers)}"
        )
        if locked:
            again = _send_all(senders, send, deliveries, per_second)
            print(f"delivered again: {_statuses(again)}")
            put_off = [_statuses(answers), _statuses(again)] == [
                {429: len(answers)},
                {200: len(again)},
            ]
            return put_off and took_ms[-1] <= LOCKED_GOAL_MS
    said = f"95 % within {late:.0f} ms", f"{per_second} events a second"
    note(Figure("ingest_latency", *said, "ms", late, GOAL_MS))
    return late <= GOAL_MS


def _send_all(
    senders: ThreadPoolExecutor, send: Send, deliveries: Sequence[Delivery], per_second: int
) -> list[tuple[int, float]]:
    start = time.perf_counter() + 0.5
    waits = []
    for n, delivery in enumerate(deliveries):
        due = start + n / per_second
        time.sleep(max(0.0, due - time.perf_counter()))
        waits.append(senders.submit(send, delivery, due))
    return [wait.result() for wait in waits]


def _statuses(answers: Sequence[tuple[int, float]]) -> dict[int, int]:
    return dict(Counter(status for status, _ms in answers))


@contextmanager
def _locked(environ: dict[str, str]) -> Iterator[None]:
    import django

    os.environ |= environ | {"DJANGO_SETTINGS_MODULE": "config.settings"}
    django.setup()
    from django.db import connection

    with connection.cursor() as cursor:
        for statement in LOCK[connection.vendor]:
            cursor.execute(statement)
        yield
    connection.close()


def _sender(port: int) -> Send:
    """Return a function that delivers one event over a connection of its own."""

    def send(delivery: Delivery, due: float) -> tuple[int, float]:
        headers, body = delivery
        with closing(HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
            connection.request("POST", "/app/webhook/", body, headers)
            status = connection.getresponse().status
        return status, (time.perf_counter() - due) * 1000

    return send


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Time to the answer at a steady rate.")
    parser.add_argument("--database-url", default="", help="Default: a new SQLite file.")
    parser.add_argument("--per-second", type=int, default=50)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--locked", action="store_true", help="While the table is locked.")
    given = parser.parse_args()
    reached = measure(given.database_url, given.per_second, given.seconds, locked=given.locked)
    sys.exit(0 if reached else 1)
