"""GET /app/get-token/ for a stored token, against a bare view that makes the same statements.

python -m bench.get_token [--database-url URL]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bench.client import request_bytes
from bench.harness import Plan, Result, finish, plan_from_arguments, prepared

GOAL = 0.7


def measure(plan: Plan) -> Result:
    with prepared(plan) as bench:
        headers = {"Authorization": f"Bearer {bench.key}"}
        each = [request_bytes("GET", f"/app/get-token/{pk}/", headers) for pk in bench.install_ids]

        def requests(count: int) -> Sequence[bytes]:
            return [each[number % len(each)] for number in range(count)]

        return bench.compare("get_token", requests, plan, goal=GOAL)


if __name__ == "__main__":
    sys.exit(finish(measure(plan_from_arguments("Hand-outs of stored tokens per second."))))
