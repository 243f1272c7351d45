"""Requests that fail while gunicorn reloads (HUP), beside a bare view under bare gunicorn.

Each request has a connection of its own, as a proxy makes them. A request fails that is refused,
cut off or answered by anything but 200.

python -m bench.reload [--database-url URL] [--reloads N]
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from collections import Counter
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from threading import Event, Thread

from bench.harness import Bench, Plan, prepared
from bench.programs import until
from bench.results import Figure, note

CALLERS, PAUSE_S = 4, 0.01
# Of load before, between and after the reloads; a reload is over when no old process is left.
BETWEEN_S, AT_MOST_S = 3.0, 120
SIDES = {"floor": "bench/bare_gunicorn.py", "product": "gunicorn.conf.py"}


def measure(database_url: str, reloads: int) -> int:
    """Print what was measured; return how many more of the product's requests failed."""
    failed = {}
    with prepared(Plan(database_url), LOG_LEVEL="ERROR") as bench:
        for side in SIDES:
            answers = _reload_under_load(bench, side, reloads)
            failed[side] = answers.total() - answers["200"]
            print(f"  {side:8} {reloads} reloads, {answers.total()} requests: {dict(answers)}")
    said = f"{failed['product']} failed in {reloads} reloads", f"{failed['floor']} of bare gunicorn"
    more = max(0, failed["product"] - failed["floor"])
    note(Figure("reload", *said, "more failed", more, 0))
    print(f"  more than bare gunicorn: {more}      goal 0 {'missed' if more else 'reached'}")
    return more


def _reload_under_load(bench: Bench, side: str, reloads: int) -> Counter[str]:
    answers: Counter[str] = Counter()
    stop = Event()
    with bench.gunicorn(side, SIDES[side]) as (server, port):
        asked = port, f"/app/get-token/{bench.install_ids[0]}/", bench.key, answers, stop
        callers = [Thread(target=_call, args=asked) for _ in range(CALLERS)]
        for caller in callers:
            caller.start()
        until("it answers", lambda: answers["200"] > 0, AT_MOST_S)
        for _ in range(reloads):
            time.sleep(BETWEEN_S)
            _reload(server)
        time.sleep(BETWEEN_S)
        stop.set()
        for caller in callers:
            caller.join()
    return answers


def _reload(server: subprocess.Popen[bytes]) -> None:
    old = _children(server.pid)
    server.send_signal(signal.SIGHUP)
    until("the old processes are gone", lambda: not old & _children(server.pid), AT_MOST_S)


def _children(process: int) -> set[str]:
    return set(Path(f"/proc/{process}/task/{process}/children").read_text().split())


def _call(port: int, path: str, key: str, answers: Counter[str], stop: Event) -> None:
    while not stop.wait(PAUSE_S):
        connection = HTTPConnection("127.0.0.1", port, timeout=40)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {key}"})
            answer = connection.getresponse()
            answer.read()
            answers[str(answer.status)] += 1
        except (OSError, HTTPException) as error:
            answers[type(error).__name__] += 1
        finally:
            connection.close()


def main() -> int:
    parser = argparse.ArgumentParser(description="Requests that fail while gunicorn reloads.")
    parser.add_argument("--database-url", default="", help="Default: a new SQLite file.")
    parser.add_argument("--reloads", type=int, default=5)
    return 1 if measure(**vars(parser.parse_args())) else 0


if __name__ == "__main__":
    sys.exit(main())
