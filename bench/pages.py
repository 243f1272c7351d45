"""What the dashboard's pages cost as the number of installs grows: server time and queries.

python -m bench.pages [--database-url URL] [--sizes N N N]
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from bench import due, stage
from bench.results import Figure, note

GOAL = 2.0
RUNS = 25
SIZES = (100, 10_000, 1_000_000)
PAGES = {
    "first screen": "/",
    "its tick": "/live/overview/",
    "accounts": "/installs/",
    "needs you": "/installs/?state=needs_you",
    "sorted by state": "/installs/?sort=state",
    "by agency": "/installs/?group=agency",
    "by last use": "/installs/?sort=-used",
    "by last check": "/installs/?sort=verified",
    "by renewal": "/installs/?sort=renewed&col=renewed",
    "newest first": "/installs/?sort=-installed&col=installed",
    "an agency's": "/installs/?agency=agency-7",
    "its healthy": "/installs/?agency=agency-7&state=healthy",
    "search": "/installs/?q=Sub-account+77",
    "vain search": "/installs/?q=no+such+name",
    "one account": "",
}


def measure(database_url: str, sizes: list[int]) -> float:
    """Print what was measured; return the worst growth from the smallest to the largest table."""
    with visiting(database_url) as client, ExitStack() as stack:
        from integrations.models import HealthDay

        stack.callback(HealthDay.objects.all().delete)
        stack.callback(due._empty)
        costs: dict[str, list[float]] = {name: [] for name in PAGES}
        for size in sizes:
            due._grow_to(size)
            with _some_unwell():
                _tick()
                _ask_for_all(client, size, costs)
    return worst_growth("pages", costs, GOAL)


def _ask_for_all(client: Any, size: int, costs: dict[str, list[float]]) -> None:
    print(f"  {size:>9,} installs", flush=True)
    for name, path in PAGES.items():
        path = path or _an_account()
        ms, queries = _median_ms(client, path)
        costs[name].append(ms)
        said = f"{ms:8.1f} ms  {_median_cpu_ms(client, path):8.1f} ms of CPU  {queries:3} queries"
        print(f"    {name:<15} {said}", flush=True)


@contextmanager
def _some_unwell() -> Iterator[None]:
    """Have five each that are refused, paused, failing, expired and being renewed, at each size."""
    from django.utils import timezone

    from integrations.health import Status
    from integrations.models import GoHighLevelIntegration

    now, rows = timezone.now(), GoHighLevelIntegration.objects
    kinds: list[dict[str, Any]] = [
        {"status": Status.REFUSED, "cause": "refused", "cause_since": now},
        {"status": Status.PAUSED, "cause": "paused_by_highlevel", "cause_since": now},
        {"failures": 2, "cause": "no_answer", "cause_since": now},
        {"expires_at": now - timedelta(minutes=5)},
        {"lease_until": now + timedelta(hours=1)},
    ]
    ids = list(rows.order_by("name").values_list("pk", flat=True)[: 5 * len(kinds)])
    for number, kind in enumerate(kinds):
        rows.filter(pk__in=ids[5 * number : 5 * (number + 1)]).update(**kind)
    yield
    well = {"status": Status.ACTIVE, "failures": 0, "expires_at": now + timedelta(hours=25)}
    rows.filter(pk__in=ids).update(cause="", cause_since=None, lease_until=None, **well)


def worst_growth(bench: str, costs: Mapping[str, Sequence[float]], goal: float) -> float:
    """Print how each cost, in ms, has grown from the first to the last; return the worst."""
    worst = 0.0
    for name, took_ms in costs.items():
        growth = took_ms[-1] / took_ms[0]
        worst = max(worst, growth)
        said = f"{name} {took_ms[-1]:.1f} ms", f"{took_ms[0]:.1f} ms"
        note(Figure(bench, *said, "growth", growth, goal))
        print(f"  {name:<15} growth {growth:.2f}")
    print(f"  goal {goal} {'reached' if worst <= goal else 'missed'}")
    return worst


@contextmanager
def visiting(database_url: str) -> Iterator[Any]:
    """Yield an owner's browser that asks this process, in a database made ready."""
    with stage.staged(database_url), ExitStack() as stack:
        from django.conf import settings
        from django.core.management import call_command
        from django.db import connection

        settings.ALLOWED_HOSTS = ["testserver"]
        call_command("collectstatic", "--noinput", verbosity=0)
        print(stage.machine(), flush=True)
        stack.callback(connection.close)
        yield stack.enter_context(signed_in())


@contextmanager
def signed_in() -> Iterator[Any]:
    """Yield the browser of an owner who is there for the measurement alone."""
    from django.test import Client

    from access.models import User

    owner = User.objects.create_superuser("bench", password=None)
    client = Client()
    client.force_login(owner)
    try:
        yield client
    finally:
        client.logout()
        owner.delete()


def _tick() -> None:
    """The tick keeps the numbers that the first screen shows of many installs."""
    from django.utils import timezone

    from integrations import snapshots
    from integrations.models import HealthDay

    HealthDay.objects.all().delete()
    started = time.perf_counter()
    snapshots.record(timezone.now())
    print(f"  the tick's look took {(time.perf_counter() - started) * 1000:.0f} ms")


def _an_account() -> str:
    from integrations.models import GoHighLevelIntegration

    return f"/installs/{GoHighLevelIntegration.objects.values_list('pk', flat=True).first()}/"


def _median_ms(client: Any, path: str, *, runs: int = RUNS) -> tuple[float, int]:
    """Return the time after a first look, in ms, and the first look's queries. Without runs, the
    first look's own time."""
    from django.db import connection

    queries = 0

    def count(execute: Any, *arguments: Any) -> Any:
        nonlocal queries
        queries += 1
        return execute(*arguments)

    start = time.perf_counter()
    with connection.execute_wrapper(count):
        answer = client.get(path)
    took = [time.perf_counter() - start]
    if answer.status_code != 200:
        raise SystemExit(f"{path} answered {answer.status_code}")
    for _ in range(runs):
        start = time.perf_counter()
        client.get(path)
        took.append(time.perf_counter() - start)
    return statistics.median(took[1:] or took) * 1000, queries


def _median_cpu_ms(client: Any, path: str) -> float:
    """Return the CPU time of this process and of the database behind its connection: what others
    do on the machine lengthens it little. A database elsewhere than here on Linux is left out."""
    took = []
    for _ in range(RUNS):
        before = _cpu_ms()
        client.get(path)
        took.append(_cpu_ms() - before)
    return statistics.median(took)


def _cpu_ms() -> float:
    from django.db import connection

    database_ns = 0
    if connection.vendor == "postgresql":
        serving = Path(f"/proc/{connection.connection.info.backend_pid}/schedstat")
        database_ns = int(serving.read_text().split()[0]) if serving.exists() else 0
    return (time.process_time_ns() + database_ns) / 1e6


if __name__ == "__main__":
    parser = stage.arguments("The cost of pages by the number of installs.")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="Installs, growing.")
    given = parser.parse_args()
    sys.exit(0 if measure(given.database_url, given.sizes) <= GOAL else 1)
