"""GET /app/get-token/ with few and with many installs and keys in the database: it stays flat.

python -m bench.get_token_growth [--database-url URL] [--rounds N] [--requests N]

The database is emptied by nobody: with --database-url each size wants a new one, so that one URL
measures one size (BENCH_INSTALLS and BENCH_KEYS in the environment).
"""

from __future__ import annotations

import os
import statistics
import sys
from contextlib import ExitStack

from bench.client import request_bytes
from bench.harness import Bench, Plan, plan_from_arguments, prepared

# (installs, keys)
SIZES = [(100, 1), (20_000, 1), (100, 2_000)]


def measure(plan: Plan) -> dict[tuple[int, int], float]:
    """Return the hand-outs a second for each size. The servers are asked in turns."""
    with ExitStack() as stack:
        sides = {}
        for installs, keys in _sizes(plan):
            environ = {"BENCH_INSTALLS": str(installs), "BENCH_KEYS": str(keys)}
            bench = stack.enter_context(prepared(plan, **environ))
            sides[installs, keys] = bench, stack.enter_context(bench.server("product"))
        rounds: dict[tuple[int, int], list[float]] = {size: [] for size in sides}
        for number in range(plan.rounds + 1):
            for size, (bench, port) in sides.items():
                measured = bench.round(port, _requests(bench, plan.requests))
                if number:
                    rounds[size].append(measured.per_second)
    return {size: statistics.median(each) for size, each in rounds.items()}


def _sizes(plan: Plan) -> list[tuple[int, int]]:
    if not plan.database_url:
        return SIZES
    return [(int(os.environ.get("BENCH_INSTALLS", "1000")), int(os.environ.get("BENCH_KEYS", "1")))]


def _requests(bench: Bench, count: int) -> list[bytes]:
    headers = {"Authorization": f"Bearer {bench.key}"}
    ids = bench.install_ids
    return [
        request_bytes("GET", f"/app/get-token/{ids[number % len(ids)]}/", headers)
        for number in range(count)
    ]


def main() -> int:
    found = measure(plan_from_arguments("Hand-outs a second by installs and keys."))
    for (installs, keys), per_second in found.items():
        print(f"{installs:7} installs {keys:6} keys {per_second:7.0f} /s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
