"""What the page of events and the purge cost as more events are kept.

    python -m bench.ingest_stock [--database-url URL] [--sizes N N]

The purge is timed for one batch of 500 rows, whatever else is kept beside them.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
import uuid
from datetime import timedelta
from typing import Any

from bench import stage
from bench.ingest import CONTACT
from bench.pages import _median_ms, visiting, worst_growth

GOAL = 2.0
# The smaller one fills each page too.
SIZES = (20_000, 200_000)
PURGED = 500
RUNS = 5
PAGES = {
    "list": "/events/",
    "one type": "/events/?type=INSTALL",
    "parked": "/events/?state=parked",
    "an id": f"/events/?q={uuid.UUID(int=7)}",
    "text": "/events/?q=nobody+is+called+so",
    "figures": "/live/events/figures/",
}


def measure(database_url: str, sizes: list[int]) -> float:
    """Print what was measured; return the worst growth from the smallest to the largest stock."""
    with visiting(database_url) as client:
        from webhooks.models import GoHighLevelWebhook

        costs: dict[str, list[float]] = {}
        try:
            for size in sizes:
                _grow_to(size)
                print(f"  {size:>9,} events", flush=True)
                for name, path in PAGES.items():
                    took, queries = _median_ms(client, path)
                    costs.setdefault(name, []).append(took)
                    print(f"    {name:<10} {took:8.1f} ms  {queries:3} queries", flush=True)
                took = _purge_ms()
                costs.setdefault("purge", []).append(took)
                print(f"    {'purge':<10} {took:8.1f} ms for {PURGED} rows", flush=True)
        finally:
            GoHighLevelWebhook.objects.all()._raw_delete("default")
    return worst_growth("ingest_stock", costs, GOAL)


def _grow_to(size: int) -> None:
    from django.db import connection

    from webhooks.models import GoHighLevelWebhook

    while (count := GoHighLevelWebhook.objects.count()) < size:
        n = min(size - count, 2_000)
        GoHighLevelWebhook.objects.bulk_create(_events(count, n), batch_size=500)
    table = GoHighLevelWebhook._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(f"ANALYZE {'TABLE' if connection.vendor == 'mysql' else ''} {table}")


def _events(first: int, count: int, *, days_old: float = 0) -> list[Any]:
    from django.utils import timezone

    from webhooks.models import GoHighLevelWebhook

    now = timezone.now() - timedelta(days=days_old)
    return [
        GoHighLevelWebhook(
            webhook_id=str(uuid.uuid4()),
            type="INSTALL" if number % 100 == 0 else "ContactCreate",
            location_id=f"location-{number % 300}",
            body=json.dumps(CONTACT),
            status="parked" if number % 1000 == 0 else "ignored",
            occurred_at=now,
            received_at=now - timedelta(seconds=number % 1_000_000),
        )
        for number in range(first, first + count)
    ]


def _purge_ms() -> float:
    """Let so many rows become too old, and delete them; the count of what is kept is not timed."""
    from django.utils import timezone

    from webhooks import retention
    from webhooks.models import GoHighLevelWebhook

    took = []
    for _ in range(RUNS):
        old = _events(1, PURGED, days_old=40)
        for event in old:
            event.status, event.type = "ignored", "ContactCreate"
        GoHighLevelWebhook.objects.bulk_create(old, batch_size=500)
        start = time.perf_counter()
        deleted = sum(map(retention._delete, retention._too_old(timezone.now())))
        took.append(time.perf_counter() - start)
        if deleted != PURGED:
            raise SystemExit(f"{deleted} were purged, not {PURGED}")
    return statistics.median(took) * 1000


if __name__ == "__main__":
    parser = stage.arguments("The cost of pages and purge by the number of events.")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="Events, growing.")
    given = parser.parse_args()
    sys.exit(0 if measure(given.database_url, given.sizes) <= GOAL else 1)
