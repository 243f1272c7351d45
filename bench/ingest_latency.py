"""How long HighLevel waits for an answer at a steady 50 events a second, with no worker running.

    python -m bench.ingest_latency [--database-url URL] [--per-second N] [--seconds S]

Each event is sent at its own moment, whether those before it have been answered or not, so that a
slow answer is not hidden by the pause that it causes.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.harness import Plan, prepared
from bench.ingest import delivery_parts, public_key
from bench.results import Figure, note

GOAL_MS = 100
SENDERS = 16


def measure(database_url: str, per_second: int, seconds: int) -> float:
    """Print the quantiles; return the 95th percentile in milliseconds."""
    key = Ed25519PrivateKey.generate()
    with (
        prepared(Plan(database_url), GHL_WEBHOOK_PUBLIC_KEYS=public_key(key)) as bench,
        bench.server("product") as port,
        ThreadPoolExecutor(SENDERS) as senders,
    ):
        send = _sender(port)
        for _ in range(SENDERS):
            send(delivery_parts(key), time.perf_counter())
        start = time.perf_counter() + 0.5
        waits = []
        for n in range(per_second * seconds):
            due = start + n / per_second
            parts = delivery_parts(key)
            time.sleep(max(0.0, due - time.perf_counter()))
            waits.append(senders.submit(send, parts, due))
        answers = [wait.result() for wait in waits]
    took_ms = sorted(ms for _status, ms in answers)
    late = took_ms[int(len(took_ms) * 0.95)]
    print(
        f"{len(took_ms)} events at {per_second}/s: median {statistics.median(took_ms):.1f} ms,"
        f" 95 % within {late:.1f} ms, slowest {took_ms[-1]:.1f} ms;"
        f" answers {dict(Counter(status for status, _ms in answers))}"
    )
    said = f"95 % within {late:.0f} ms", f"{per_second} events a second"
    note(Figure("ingest_latency", *said, "ms", late, GOAL_MS))
    return late


def _sender(port: int):  # type: ignore[no-untyped-def]
    """Return a function that delivers one event over its thread's own connection."""
    local = threading.local()

    def send(parts: tuple[dict[str, str], bytes], due: float) -> tuple[int, float]:
        headers, body = parts
        if not hasattr(local, "connection"):
            local.connection = HTTPConnection("127.0.0.1", port, timeout=30)
        local.connection.request("POST", "/app/webhook/", body, headers)
        answer = local.connection.getresponse()
        answer.read()
        return answer.status, (time.perf_counter() - due) * 1000

    return send


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Time to the answer at a steady rate.")
    parser.add_argument("--database-url", default="", help="Default: a new SQLite file.")
    parser.add_argument("--per-second", type=int, default=50)
    parser.add_argument("--seconds", type=int, default=20)
    given = parser.parse_args()
    late_ms = measure(given.database_url, given.per_second, given.seconds)
    sys.exit(0 if late_ms <= GOAL_MS else 1)
