"""What web server and worker take while nothing happens: CPU and memory, with many installs.

python -m bench.idle [--database-url URL] [--installs N] [--seconds N]
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench import due, stage
from bench.harness import free_port
from bench.programs import WEB, WORKER, Program, program, until
from bench.results import Figure, note

# Of one core, and in all.
GOAL_CPU, GOAL_MB = 0.03, 400
WARM_UP_S = 30


@dataclass(frozen=True)
class Idle:
    """Units: `cpu` is the share of one core, `mb` megabytes; what processes share counts once."""

    cpu: float
    mb: float


def measure(database_url: str, installs: int, seconds: float) -> dict[str, Idle]:
    """Print what was measured and return it by program."""
    with stage.staged(database_url):
        from django.db import connection

        print(f"{stage.machine()}, {installs} installs, {seconds:.0f} s", flush=True)
        try:
            due._grow_to(installs)
            connection.close()
            with ExitStack() as stack:
                environ = {"PYTHONWARNINGS": "ignore:No directory at", "PORT": str(free_port())}
                programs = [
                    stack.enter_context(program(name, *command, log=Path("/dev/null"), **environ))
                    for name, command in (("web", WEB), ("worker", WORKER))
                ]
                until("both have started", lambda: all(len(p.processes()) > 2 for p in programs))
                time.sleep(WARM_UP_S)
                found = _watch(programs, seconds)
        finally:
            due._empty()
            connection.close()
    for name, idle in found.items():
        print(f"  {name:<7} {idle.cpu:6.2%} of a core   {idle.mb:5.0f} MB")
    return found


def _watch(programs: list[Program], seconds: float) -> dict[str, Idle]:
    start, before = time.perf_counter(), [each.cpu_s() for each in programs]
    time.sleep(seconds)
    after, took = [each.cpu_s() for each in programs], time.perf_counter() - start
    return {
        each.name: Idle((after[number] - before[number]) / took, each.memory_mb())
        for number, each in enumerate(programs)
    }


def main() -> int:
    parser = stage.arguments("CPU and memory of web server and worker while nothing happens.")
    parser.add_argument("--installs", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=60)
    found = measure(**vars(parser.parse_args())).values()
    cpu, mb = sum(idle.cpu for idle in found), sum(idle.mb for idle in found)
    note(Figure("idle", f"{mb:.0f} MB", "", "% of a core", cpu * 100, GOAL_CPU * 100))
    note(Figure("idle", f"{cpu:.1%} of a core", "", "MB", mb, GOAL_MB))
    reached = cpu < GOAL_CPU and mb < GOAL_MB
    print(
        f"  both    {cpu:6.2%} of a core   {mb:5.0f} MB   goal {GOAL_CPU:.0%}, {GOAL_MB} MB ",
        end="",
    )
    print("reached" if reached else "missed")
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
