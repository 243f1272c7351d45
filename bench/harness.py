"""Product and floor as real servers side by side, asked in turns."""

from __future__ import annotations

import argparse
import base64
import json
import os
import platform
import secrets
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.client import Round, run_round
from bench.results import Figure, note

ROOT = Path(__file__).resolve().parent.parent
CONNECTIONS = 8
AT_MOST_S = 60

SETTINGS = {"product": "config.settings", "floor": "bench.floor_settings"}
WSGI = {"product": "config.wsgi", "floor": "bench.floor_wsgi"}

Requests = Callable[[int], Sequence[bytes]]
"""Makes so many new requests, as they go over the wire."""


@dataclass(frozen=True)
class Plan:
    """Units: `requests` per round."""

    database_url: str = ""
    rounds: int = 31
    requests: int = 200


@dataclass
class Result:
    """The product must be at least `goal` as fast as its floor."""

    name: str
    goal: float
    rounds: dict[str, list[Round]] = field(default_factory=dict)

    def per_second(self, side: str) -> float:
        return statistics.median(r.per_second for r in self.rounds[side])

    @property
    def ratio(self) -> float:
        return self.per_second("product") / self.per_second("floor")

    def __str__(self) -> str:
        lines = [f"{self.name}: {platform.machine()}, {os.cpu_count()} cores"]
        for side, rounds in self.rounds.items():
            each = " ".join(f"{r.per_second:.0f}" for r in rounds)
            client = statistics.median(r.client_cpu for r in rounds)
            lines.append(
                f"  {side:8} {self.per_second(side):7.0f} /s   rounds: {each}"
                f"   (client: {client:.0%} of a core)"
            )
        verdict = "reached" if self.ratio >= self.goal else "missed"
        return "\n".join([*lines, f"  ratio    {self.ratio:7.2f}      goal {self.goal} {verdict}"])


@dataclass(frozen=True)
class Bench:
    """One database, seeded, in front of which the servers run."""

    environ: dict[str, str]
    key: str
    install_ids: list[str]

    def compare(self, name: str, requests: Requests, plan: Plan, *, goal: float) -> Result:
        """Measure product and floor in turns, after one round each that does not count."""
        result = Result(name, goal, {side: [] for side in SETTINGS})
        with ExitStack() as stack:
            ports = {side: stack.enter_context(self.server(side)) for side in SETTINGS}
            for number in range(plan.rounds + 1):
                # Neither side always goes first.
                for side in sorted(SETTINGS, reverse=bool(number % 2)):
                    measured = self.round(ports[side], requests(plan.requests))
                    if number:
                        result.rounds[side].append(measured)
        return result

    def round(self, port: int, requests: Sequence[bytes]) -> Round:
        measured = run_round(port, requests, connections=CONNECTIONS, at_most_s=AT_MOST_S)
        if set(measured.statuses) != {200}:
            raise RuntimeError(f"not all answers were 200: {dict(measured.statuses)}")
        return measured

    @contextmanager
    def server(self, side: str) -> Iterator[int]:
        """Run gunicorn on a free port, as it runs in production; end it afterwards."""
        with self.gunicorn(side, "gunicorn.conf.py") as (_process, port):
            yield port

    @contextmanager
    def gunicorn(self, side: str, config: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
        port = free_port()
        environ = {"DJANGO_SETTINGS_MODULE": SETTINGS[side]} | self.environ | {"PORT": str(port)}
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", WSGI[side], "-c", config], cwd=ROOT, env=environ
        )
        try:
            _wait_for(port, process)
            yield process, port
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=40)


@contextmanager
def prepared(plan: Plan, **environ: str) -> Iterator[Bench]:
    """A seeded database: `plan.database_url`, else a new SQLite file that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="whatreach-bench-") as folder:
        url = plan.database_url or f"sqlite:///{folder}/bench.sqlite3"
        environ = _environment(url) | environ
        seeded = subprocess.run(
            [sys.executable, "-m", "bench.seed"],
            cwd=ROOT,
            env=environ | {"DJANGO_SETTINGS_MODULE": SETTINGS["product"]},
            stdout=subprocess.PIPE,
            check=True,
        )
        told = json.loads(seeded.stdout)
        yield Bench(environ, told["key"], told["ids"])


def plan_from_arguments(what: str) -> Plan:
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument(
        "--database-url",
        default=Plan.database_url,
        help="An empty PostgreSQL or MariaDB database, which is filled. Default: a SQLite file.",
    )
    parser.add_argument("--rounds", type=int, default=Plan.rounds)
    parser.add_argument("--requests", type=int, default=Plan.requests, help="In each round.")
    return Plan(**vars(parser.parse_args()))


def finish(result: Result) -> int:
    """Print the result and note it; exit status 1 when the goal was missed."""
    print(result)
    product, floor = (f"{result.per_second(side):.0f} /s" for side in ("product", "floor"))
    note(Figure(result.name, product, floor, "ratio", result.ratio, result.goal))
    return 0 if result.ratio >= result.goal else 1


def _environment(database_url: str) -> dict[str, str]:
    """What the servers need, and nothing of the developer's own settings."""
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    return {
        "PATH": os.environ["PATH"],
        "WHATREACH_ENV_FILE": os.devnull,
        "DATABASE_URL": database_url,
        "DJANGO_SECRET_KEY": secrets.token_urlsafe(64),
        "TOKEN_ENCRYPTION_KEYS": f"bench:{key}",
        "GHL_CLIENT_ID": "5eed5eed5eed5eed5eed5eed-whatrdmo",
        "LOG_LEVEL": "WARNING",
        # Counted, and never reached.
        "API_RATE_PER_MINUTE": "1000000",
        # Nobody collected the static files, which nobody asks for either.
        "PYTHONWARNINGS": "ignore:No directory at",
    }


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        if process.poll() is not None:
            raise RuntimeError(f"gunicorn ended with status {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError("gunicorn does not listen after 30 s")
