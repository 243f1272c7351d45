"""What it costs to find the due installs among many, and a tick with nothing to do.

python -m bench.due [--database-url URL] [--sizes N N N]
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from bench import stage
from bench.results import Figure, note

GOAL = 2.0
RUNS = 200
SIZES = (1_000, 100_000, 1_000_000)


def measure(database_url: str, sizes: list[int]) -> float:
    """Print what was measured; return how much more the largest table costs than the smallest."""
    with stage.staged(database_url):
        from django.db import connection

        from integrations import tasks

        print(stage.machine(), flush=True)
        costs: list[tuple[float, float]] = []
        try:
            for size in sizes:
                _grow_to(size)
                query, tick = _median_ms(_read), _median_ms(tasks.tick)
                costs.append((query, tick))
                print(f"  {size:>9,} installs   query {query:6.2f} ms   tick {tick:6.2f} ms")
            for line in _plan():
                print(f"    {line}")
        finally:
            _empty()
            connection.close()
    for name, number in (("query", 0), ("tick", 1)):
        first, last = costs[0][number], costs[-1][number]
        said = f"{name} {last:.2f} ms", f"{first:.2f} ms"
        note(Figure("due", *said, "growth", last / first, GOAL))
    growth = max(costs[-1][n] / costs[0][n] for n in (0, 1))
    print(f"  growth {growth:.2f}      goal {GOAL} {'reached' if growth <= GOAL else 'missed'}")
    return growth


def _read() -> None:
    from integrations import tasks

    tasks._read_due({"failures": 0})


def _median_ms(work: Callable[[], Any]) -> float:
    work()
    took = []
    for _ in range(RUNS):
        start = time.perf_counter()
        work()
        took.append(time.perf_counter() - start)
    return statistics.median(took) * 1000


def _grow_to(size: int) -> None:
    """Have so many installs, none of them due, all of them within a day."""
    from django.db import connection

    from integrations.models import GoHighLevelIntegration

    while (count := GoHighLevelIntegration.objects.count()) < size:
        if count < 1000:
            GoHighLevelIntegration.objects.bulk_create(_first_ones(count, min(size, 1000)))
        else:
            _copy(min(size - count, 100_000), offset=count)
    with connection.cursor() as cursor:
        table = "" if connection.vendor == "sqlite" else GoHighLevelIntegration._meta.db_table
        cursor.execute(f"ANALYZE {'TABLE' if connection.vendor == 'mysql' else ''} {table}")


def _first_ones(first: int, end: int) -> list[Any]:
    from django.utils import timezone

    from integrations.health import Status
    from integrations.models import LOCATION, GoHighLevelIntegration

    now = timezone.now()
    return [
        GoHighLevelIntegration(
            user_type=LOCATION,
            resource_id=f"due-{number}",
            company_id=f"agency-{number % 50}",
            name=f"Sub-account {number}",
            status=Status.ACTIVE,
            generation=1,
            access_token_encrypted=b"c" * 1200,
            refresh_token_encrypted=b"c" * 700,
            expires_at=now + timedelta(hours=25, seconds=number),
            renew_at=now + timedelta(hours=1, minutes=1.38 * number),
            installed_at=now - timedelta(days=number),
            renewed_at=now - timedelta(minutes=number),
            verified_at=now - timedelta(minutes=number / 3),
            # Each third was never used.
            last_used_at=now - timedelta(hours=number) if number % 3 else None,
        )
        for number in range(first, end)
    ]


def _empty() -> None:
    """Leave nothing behind; a million rows one by one would take minutes on PostgreSQL."""
    from django.db import connection

    from integrations.models import GoHighLevelIntegration

    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE {GoHighLevelIntegration._meta.db_table} CASCADE")
    else:
        GoHighLevelIntegration.objects.all()._raw_delete(connection.alias)


def _copy(count: int, *, offset: int) -> None:
    """Copy rows inside the database, under new ids."""
    from django.db import connection

    from integrations.models import GoHighLevelIntegration

    table = GoHighLevelIntegration._meta.db_table
    kept = [
        field.column
        for field in GoHighLevelIntegration._meta.concrete_fields
        if field.column and field.column not in ("id", "resource_id")
    ]
    new_id, new_name = {
        "sqlite": ("lower(hex(randomblob(16)))", f"'due-' || ({offset} + row_number() OVER ())"),
        "postgresql": ("gen_random_uuid()", f"'due-' || ({offset} + row_number() OVER ())"),
        "mysql": ("uuid()", f"concat('due-', {offset} + row_number() OVER ())"),
    }[connection.vendor]
    columns = ", ".join(f"{table}.{column}" for column in kept)
    times = -(-count // offset)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} (id, resource_id, {', '.join(kept)}) "  # noqa: S608
            f"SELECT {new_id}, {new_name}, {columns} FROM {table} "
            f"CROSS JOIN (SELECT 1 FROM {table} LIMIT {times}) AS times LIMIT {count}"
        )


def _plan() -> list[str]:
    """What the database does to find them."""
    from django.utils import timezone

    from integrations.models import GoHighLevelIntegration
    from integrations.tasks import TICK_BATCH

    due = GoHighLevelIntegration.objects.due(timezone.now()).filter(failures=0)
    return [line for line in due[:TICK_BATCH].explain().splitlines() if line]


if __name__ == "__main__":
    parser = stage.arguments("The cost of finding the due installs.")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="Installs, growing.")
    given = parser.parse_args()
    sys.exit(0 if measure(given.database_url, given.sizes) <= GOAL else 1)
