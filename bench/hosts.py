"""Two web and two worker hosts on one database; one worker host is killed in mid-work.

All installs must be renewed, no refresh token accepted twice. The hosts are process groups of one
machine, which share nothing but the database; HighLevel forgives no repeat (grace 0), so what was
in flight is healed from the agency's token.

python -m bench.hosts --database-url URL [--installs N] [--latency SECONDS]
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import requests

from bench import stage

KILL_AT = 0.4
# The lease of those in flight (120 s), the tick after it, and some patience.
AT_MOST_S = 600


def measure(database_url: str, installs: int, latency: float) -> bool:
    """Print what happened; return whether every promise was kept."""
    with stage.staged(database_url) as sandbox:
        from django.db import connection

        from access.keys import create_api_key
        from access.models import Scope

        print(stage.machine(), flush=True)
        try:
            stage.connect_installs(sandbox, installs)
            total = stage.make_all_due()
            key, text = create_api_key("hosts", scopes=Scope.values)
            sandbox.be_late_by(latency)
            with ExitStack() as stack:
                webs = [stack.enter_context(_web(text)) for _ in range(2)]
                killed, _other = [stack.enter_context(_worker()) for _ in range(2)]
                start = time.monotonic()
                job = webs[0].post("/app/bulk-refresh/")["job"]
                status = f"/app/jobs/{job}/"
                _until(lambda: webs[1].get(status)["refreshed_count"] > total * KILL_AT)
                _kill(killed)
                killed_after = time.monotonic() - start
                print(
                    f"  killed after {killed_after:.0f} s: {_renewed()} of {total} renewed, "
                    f"{_in_flight()} in flight on both",
                    flush=True,
                )
                _until(lambda: _renewed() == total)
                took = time.monotonic() - start
                health = webs[0].get("/app/token-health/")
            accepted = sandbox.summary()["max_accepted"]
            print(f"  all {total} renewed after {took:.0f} s, {health['healthy_tokens']} healthy")
            print(f"  most often accepted refresh token: {accepted} time(s)")
        finally:
            stage.forget_installs()
            connection.close()
    return bool(accepted == 1 and health["healthy_tokens"] == total)


class _Web:
    def __init__(self, port: int, key: str) -> None:
        self._url, self._headers = f"http://127.0.0.1:{port}", {"Authorization": f"Bearer {key}"}

    def get(self, path: str) -> dict[str, Any]:
        return self._answer(requests.get(self._url + path, headers=self._headers, timeout=30))

    def post(self, path: str) -> dict[str, Any]:
        return self._answer(
            requests.post(self._url + path, json={}, headers=self._headers, timeout=60)
        )

    def _answer(self, response: requests.Response) -> dict[str, Any]:
        response.raise_for_status()
        answer: dict[str, Any] = response.json()
        return answer

    def is_up(self) -> bool:
        with suppress(requests.ConnectionError):
            return requests.get(f"{self._url}/healthz", timeout=5).ok
        return False


@contextmanager
def _web(key: str) -> Iterator[_Web]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    command = ["-m", "gunicorn", "config.wsgi", "-c", "gunicorn.conf.py"]
    with _group(*command, PORT=str(port), PYTHONWARNINGS="ignore:No directory at"):
        web = _Web(port, key)
        _until(web.is_up)
        yield web


def _worker() -> Any:
    return _group("manage.py", "qcluster")


@contextmanager
def _group(*command: str, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=stage.ROOT,
        env=os.environ | environ,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(subprocess.TimeoutExpired):
            process.terminate()
            process.wait(60)
        _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _until(done: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + AT_MOST_S
    while not done():
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"not done within {AT_MOST_S} s")
        time.sleep(0.2)


def _renewed() -> int:
    from integrations.models import GoHighLevelIntegration

    return GoHighLevelIntegration.objects.filter(generation__gt=1).count()


def _in_flight() -> int:
    from integrations.models import GoHighLevelIntegration

    return GoHighLevelIntegration.objects.exclude(lease_id=None).count()


if __name__ == "__main__":
    parser = stage.arguments("Two web and two worker hosts, one killed in mid-work.")
    parser.add_argument("--installs", type=int, default=5000)
    parser.add_argument("--latency", type=float, default=0.1, help="Seconds.")
    given = parser.parse_args()
    sys.exit(0 if measure(given.database_url, given.installs, given.latency) else 1)
