"""Hand-outs a second on PostgreSQL by the way that connections are kept.

kept: one for each thread, as the product has it; pool: psycopg's; new: one for each request.

python -m bench.connections --database-url postgres://… [--rounds N] [--requests N]
"""

from __future__ import annotations

import statistics
import sys
from contextlib import ExitStack
from dataclasses import replace

from bench.client import request_bytes
from bench.harness import Plan, plan_from_arguments, prepared

WAYS = ("kept", "pool", "new")


def measure(plan: Plan) -> dict[str, float]:
    """Return the hand-outs a second for each way. The servers are asked in turns."""
    rounds: dict[str, list[float]] = {way: [] for way in WAYS}
    with ExitStack() as stack:
        bench = stack.enter_context(prepared(plan))
        headers = {"Authorization": f"Bearer {bench.key}"}
        each = [request_bytes("GET", f"/app/get-token/{pk}/", headers) for pk in bench.install_ids]
        asked = [each[number % len(each)] for number in range(plan.requests)]
        ports = {}
        for way in WAYS:
            told = {
                "BENCH_CONNECTIONS": way,
                "DJANGO_SETTINGS_MODULE": "bench.connection_settings",
            }
            server = replace(bench, environ=bench.environ | told).server("product")
            ports[way] = stack.enter_context(server)
        for number in range(plan.rounds + 1):
            for way, port in ports.items():
                measured = bench.round(port, asked)
                if number:
                    rounds[way].append(measured.per_second)
    return {way: statistics.median(each) for way, each in rounds.items()}


def main() -> int:
    plan = plan_from_arguments("Hand-outs a second by the way that connections are kept.")
    if not plan.database_url.startswith("postgres"):
        print("Needs --database-url postgres://…, an empty database.", file=sys.stderr)
        return 2
    for way, per_second in measure(plan).items():
        print(f"{way:6} {per_second:7.0f} /s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
