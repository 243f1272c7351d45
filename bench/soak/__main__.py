"""The product for so many minutes with so many installs, while everything around it goes wrong.

Web server and two workers on a PostgreSQL server of their own (`--sqlite`: on a SQLite file). One
of the workers is killed now and then, the database crashes, HighLevel fails in every way the
sandbox knows, back ends fetch tokens and browsers poll. Afterwards no token may be lost or spent
twice, no answer have failed without saying so, and the memory not have grown.

python -m bench.soak [--minutes 30] [--installs 2000] [--sqlite]
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import requests

from bench import stage
from bench.harness import free_port
from bench.programs import WEB, WORKER, Program, Samples, program, until
from bench.soak import accounts, database, report
from bench.soak.database import Server
from bench.soak.troubles import Troubles

FOLDER = stage.ROOT / "var" / "soak"
# Short-lived, so that each install is renewed many times.
TOKEN_LIFE_S, MARGIN_S, JITTER_S = 240, 45, 45
SAMPLE_EVERY_S = 5.0
SETTLES_WITHIN_S = 600


@dataclass(frozen=True)
class Plan:
    minutes: float
    installs: int
    sqlite: bool


def main() -> int:
    plan = _plan_from_arguments()
    if not plan.sqlite and (lacking := database.missing()):
        print(f"{lacking}. With --sqlite the soak needs none.", file=sys.stderr)
        return 2
    os.environ |= {"REFRESH_MARGIN_S": str(MARGIN_S), "REFRESH_JITTER_S": str(JITTER_S)}
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # nothing is left behind
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    FOLDER.mkdir(parents=True, exist_ok=True)
    with _server(plan) as server, stage.staged(server.url if server else "") as sandbox:
        print(f"{stage.machine()}; log: {FOLDER / 'log.txt'}", flush=True)
        told = _soak(plan, sandbox, server)
    file = report.write(FOLDER, told)
    print(report.in_words(told), f"\nReport: {file}", flush=True)
    return 0 if all(promise.is_kept for promise in told.promises) else 1


def _soak(plan: Plan, sandbox: stage.Sandbox, server: Server | None) -> report.Told:
    environ = _prepare(sandbox, plan.installs)
    log, port = FOLDER / "log.txt", free_port()
    log.write_bytes(b"")
    started_at = time.time()
    with ExitStack() as stack:
        web = stack.enter_context(program("web", *WEB, log=log, PORT=str(port), **environ))
        steady = stack.enter_context(program("steady worker", *WORKER, log=log, **environ))
        mortal = stack.enter_context(program("mortal worker", *WORKER, log=log, **environ))
        url = f"http://127.0.0.1:{port}"
        until("the web server answers", lambda: _is_up(url))
        troubles = Troubles(plan.minutes, sandbox, mortal, server)
        visitors = accounts.visitors(url, sandbox.url)
        visitors.begin()
        troubles.begin()
        try:
            samples = _watch(plan.minutes * 60, web, steady, mortal)
        finally:
            troubles.end()
            visitors.end()
        settled_s = accounts.settle(url, visitors.key, SETTLES_WITHIN_S)
        found = accounts.look(sandbox)
    return report.judge(
        machine=stage.machine(),
        plan=vars(plan),
        started_at=started_at,
        settled_s=settled_s,
        samples=samples,
        troubles=troubles,
        visitors=visitors,
        found=found,
    )


def _prepare(sandbox: stage.Sandbox, installs: int) -> dict[str, str]:
    """Connect the installs; return what the programs need beside our own environment."""
    from django.core.management import call_command

    call_command("collectstatic", "--noinput", verbosity=0)
    sandbox.post("knobs", access_token_life_seconds=TOKEN_LIFE_S)
    stage.connect_installs(sandbox, installs)
    # As HighLevel does: for a moment a lost answer can be had once more.
    sandbox.post("knobs", refresh_grace_seconds=30)
    return {"API_RATE_PER_MINUTE": "100000", "PYTHONWARNINGS": "ignore:No directory at"}


def _watch(seconds: float, web: Program, steady: Program, mortal: Program) -> Samples:
    samples, start = Samples(), time.monotonic()
    while (now := time.monotonic() - start) < seconds:
        for each in (web, steady, mortal):
            each.keep_running()
        samples.at.append(now)
        samples.web_mb.append(web.memory_mb())
        samples.worker_mb.append(steady.memory_mb())
        time.sleep(SAMPLE_EVERY_S)
    return samples


@contextmanager
def _server(plan: Plan) -> Iterator[Server | None]:
    if plan.sqlite:
        yield None
    else:
        with database.postgresql() as server:
            yield server


def _is_up(url: str) -> bool:
    try:
        return requests.get(f"{url}/healthz", timeout=5).ok
    except requests.RequestException:
        return False


def _plan_from_arguments() -> Plan:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--installs", type=int, default=2000)
    parser.add_argument("--sqlite", action="store_true", help="Instead of PostgreSQL.")
    return Plan(**vars(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
