"""Renewals per second of a bulk job, beside the least that could do the same work.

python -m bench.renewals [--database-url URL] [--installs N] [--threads N] [--latency SECONDS]
"""

from __future__ import annotations

import statistics
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from queue import Empty, SimpleQueue
from typing import Any

from django.utils import timezone

from bench import stage
from bench.results import Figure, note

GOAL = 0.8
ROUNDS = 4
MINUTES_2, DAY = timedelta(minutes=2), timedelta(days=1)

# What the product writes to an install for each renewal, in the database's own words.
CLAIM = """
UPDATE integrations_install
   SET lease_id = %s, lease_until = %s, renew_at = %s, sent_at = %s
 WHERE id = %s AND generation = %s AND status = 'active' AND sent_at IS NULL
   AND (lease_until IS NULL OR lease_until < %s)
"""
STORE = """
UPDATE integrations_install
   SET access_token_encrypted = %s, refresh_token_encrypted = %s, key_id = %s,
       refresh_token_id = %s, trace_id = %s, client_id = %s, generation = generation + 1,
       status = 'active', cause = '', cause_since = NULL, failures = 0, requested_at = NULL,
       lease_id = NULL, lease_until = NULL, sent_at = NULL, verify_cause = '',
       expires_at = %s, renew_at = %s, renewed_at = %s, verified_at = %s, verify_at = %s
 WHERE id = %s AND generation = %s AND lease_id = %s AND status = 'active'
"""


@dataclass(frozen=True)
class Plan:
    """Units: `latency` seconds that the provider takes for each answer."""

    database_url: str = ""
    installs: int = 2000
    threads: int = 8
    latency: float = 0.1


@dataclass
class Side:
    """Rounds of one contestant. Units: renewals per second; CPU milliseconds per renewal."""

    per_second: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)

    def measure(self, renew: Callable[[], int]) -> None:
        cpu, start = time.process_time(), time.perf_counter()
        count = renew()
        seconds = time.perf_counter() - start
        self.per_second.append(count / seconds)
        self.cpu_ms.append((time.process_time() - cpu) * 1000 / count)

    @property
    def rate(self) -> float:
        return statistics.median(self.per_second)

    def __str__(self) -> str:
        rounds = " ".join(f"{rate:.0f}" for rate in self.per_second)
        cpu = statistics.median(self.cpu_ms)
        return f"{self.rate:7.1f} /s   {cpu:5.1f} ms CPU each   rounds: {rounds}"


def measure(plan: Plan) -> float:
    """Print what was measured; return product / floor."""
    with stage.staged(plan.database_url) as sandbox:
        from django.conf import settings
        from django.db import connection

        settings.RENEWAL_THREADS = plan.threads
        print(stage.machine(), f"{plan.threads} threads, {plan.latency * 1000:.0f} ms", flush=True)
        try:
            stage.connect_installs(sandbox, plan.installs // ROUNDS)
            ceiling, product, floor = Side(), Side(), Side()
            ceiling.measure(lambda: _renew_bare(plan.threads))
            sandbox.be_late_by(plan.latency)
            for number in range(ROUNDS):
                contest = [(product, _renew_as_job), (floor, lambda: _renew_bare(plan.threads))]
                # Neither side always goes first.
                for side, renew in contest[:: 1 if number % 2 else -1]:
                    side.measure(renew)
            assert sandbox.summary()["max_uses"] == 1
        finally:
            stage.forget_installs()
            connection.close()
    ratio = product.rate / floor.rate
    print(f"  no latency   {ceiling}   (the floor, as fast as sandbox and machine allow)")
    print(f"  ideal        {plan.threads / plan.latency:7.1f} /s   (threads / latency)")
    print(f"  product      {product}")
    print(f"  floor        {floor}")
    print(
        f"  ratio        {ratio:7.2f}      goal {GOAL} {'reached' if ratio >= GOAL else 'missed'}"
    )
    said = f"{product.rate:.0f} /s", f"{floor.rate:.0f} /s"
    note(Figure("renewals", *said, "ratio", ratio, GOAL))
    return ratio


def _renew_as_job() -> int:
    """Do what one worker process does with a job, batch by batch."""
    from integrations import bulk, tasks
    from integrations.models import GoHighLevelIntegration

    ids = list(GoHighLevelIntegration.objects.values_list("pk", flat=True))
    job = bulk.create_job(ids, caller="bench")
    for batch in bulk.batches(ids):
        tasks.renew_batch(str(job.pk), [str(pk) for pk in batch])
    while not job.progress().is_finished:  # some of a batch were left when its time was over
        bulk.run_batch(job, ids)
    assert job.progress().renewed == len(ids)
    return len(ids)


# --- The floor: the same calls over the same session, two statements, no framework ---


def _renew_bare(threads: int) -> int:
    from integrations.highlevel import SESSION
    from integrations.models import GoHighLevelIntegration

    todo: SimpleQueue[GoHighLevelIntegration] = SimpleQueue()
    rows = list(GoHighLevelIntegration.objects.all())
    for row in rows:
        todo.put(row)

    def work() -> None:
        with _raw_connection() as (execute, value), suppress(Empty):
            while True:
                row = todo.get_nowait()
                lease, now = value(uuid.uuid4()), timezone.now()
                until, later = value(now + MINUTES_2), value(now + DAY)
                before = (value(row.pk), row.generation)
                execute(CLAIM, (lease, until, later, value(now), *before, value(now)))
                tokens = _post(SESSION, row.user_type, row.open_refresh_token())
                answer = (
                    row.seal("access_token", tokens["access_token"]),
                    row.seal("refresh_token", tokens["refresh_token"]),
                    *(row.key_id, row.refresh_token_id, tokens.get("traceId", ""), row.client_id),
                )
                moments = (later, later, value(now), value(now), later)
                execute(STORE, (*answer, *moments, *before, lease))

    with ThreadPoolExecutor(max_workers=threads) as pool:
        for done in [pool.submit(work) for _ in range(threads)]:
            done.result()
    return len(rows)


def _post(session: Any, user_type: str, refresh_token: str) -> dict[str, Any]:
    from django.conf import settings

    response = session.post(
        f"{settings.GHL_API_BASE_URL}/oauth/token",
        data={
            "client_id": stage.CLIENT_ID,
            "client_secret": stage.CLIENT_SECRET,
            "grant_type": "refresh_token",
            "refresh_token": refresh_token,
            "user_type": user_type,
        },
        headers={"Accept": "application/json", "Version": "2021-07-28"},
        timeout=(3, 10),
    )
    response.raise_for_status()
    answer: dict[str, Any] = response.json()
    return answer


@contextmanager
def _raw_connection() -> Iterator[tuple[Callable[[str, tuple[Any, ...]], None], Any]]:
    """Give `execute` on the driver's own connection, and `value`: a moment or an id as the driver
    wants it. Every statement commits itself."""
    from django.db import connection

    driver = connection.get_new_connection(connection.get_connection_params())
    sqlite = connection.vendor == "sqlite"
    if sqlite:
        driver.isolation_level = None
    elif connection.vendor == "mysql":
        driver.autocommit(True)
    else:
        driver.autocommit = True
    cursor = driver.cursor()

    def execute(sql: str, values: tuple[Any, ...]) -> None:
        cursor.execute(sql.replace("%s", "?") if sqlite else sql, values)
        assert cursor.rowcount == 1

    def value(plain: datetime | uuid.UUID) -> Any:
        if isinstance(plain, datetime):
            return connection.ops.adapt_datetimefield_value(plain)
        return plain if connection.features.has_native_uuid_field else plain.hex

    try:
        yield execute, value
    finally:
        driver.close()


def plan_from_arguments() -> Plan:
    parser = stage.arguments("Renewals per second of a bulk job.")
    parser.add_argument("--installs", type=int, default=Plan.installs, help="In all rounds.")
    parser.add_argument("--threads", type=int, default=Plan.threads)
    parser.add_argument("--latency", type=float, default=Plan.latency, help="Seconds.")
    return Plan(**vars(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(0 if measure(plan_from_arguments()) >= GOAL else 1)
