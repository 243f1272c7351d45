"""What a look at /metrics costs as the number of installs grows: server time and queries.

python -m bench.metrics [--database-url URL] [--sizes N N]
"""

from __future__ import annotations

import sys
from typing import Any

from bench import due, stage
from bench.pages import _median_ms
from bench.results import Figure, note

GOAL = 2.0
SIZES = (100, 100_000)


def measure(database_url: str, sizes: list[int]) -> float:
    """Print what was measured; return the growth from the smallest to the largest table."""
    with stage.staged(database_url):
        from django.conf import settings
        from django.db import connection
        from django.test import Client

        from operations import metrics

        settings.ALLOWED_HOSTS, settings.METRICS_TOKEN = ["testserver"], "bench"
        print(stage.machine(), flush=True)
        client: Any = Client(headers={"Authorization": "Bearer bench"})
        took = []
        try:
            for size in sizes:
                due._grow_to(size)
                metrics._STATES.forget()
                first, queries = _median_ms(client, "/metrics", runs=0)
                later, fewer = _median_ms(client, "/metrics")
                took.append(later)
                print(
                    f"  {size:>9,} installs   with the states counted {first:7.1f} ms, "
                    f"{queries} queries   else {later:6.1f} ms, {fewer} queries",
                    flush=True,
                )
        finally:
            due._empty()
            connection.close()
    growth = took[-1] / took[0]
    note(Figure("metrics", f"{took[-1]:.1f} ms", f"{took[0]:.1f} ms", "growth", growth, GOAL))
    print(f"  growth {growth:.2f}      goal {GOAL} {'reached' if growth <= GOAL else 'missed'}")
    return growth


if __name__ == "__main__":
    parser = stage.arguments("The cost of /metrics by the number of installs.")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="Installs, growing.")
    given = parser.parse_args()
    sys.exit(0 if measure(given.database_url, given.sizes) <= GOAL else 1)
