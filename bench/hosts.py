"""Two hosts, each with a web server and a worker, on one database; one dies in mid-work.

All installs must be renewed, no refresh token accepted twice, and the job be finished. HighLevel
forgives no repeat (grace 0), so what was in flight is healed from the agency's token.

As root the hosts are network namespaces with a PostgreSQL server of their own (bench/network.py),
and the one that dies is cut off first, so that nobody is told. With --database-url they are
process groups of this machine.

python -m bench.hosts [--database-url URL] [--installs N] [--latency SECONDS]
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

from bench import network, stage

KILL_AT = 0.4
# The lease of those in flight (120 s), the tick after it, and some patience.
AT_MOST_S = 600


def measure(database_url: str, installs: int, latency: float) -> bool:
    """Print what happened; return whether every promise was kept."""
    with stage.staged(database_url, network.hub_address()) as sandbox:
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
                dying, other = network.hosts()
                webs = [stack.enter_context(_web(host, text)) for host in (dying, other)]
                workers = [stack.enter_context(_worker(host)) for host in (dying, other)]
                start = time.monotonic()
                job = webs[0].post("/app/bulk-refresh/")["job"]
                status = f"/app/jobs/{job}/"
                _until(lambda: webs[1].get(status)["refreshed_count"] > total * KILL_AT)
                dying.lose_network()
                _kill(workers[0])
                _kill(webs[0].process)
                print(
                    f"  host lost after {time.monotonic() - start:.0f} s: "
                    f"{_renewed()} of {total} renewed, {_in_flight()} in flight on both",
                    flush=True,
                )
                _until(lambda: _renewed() == total)
                print(f"  all {total} renewed after {time.monotonic() - start:.0f} s", flush=True)
                _until(lambda: bool(webs[1].get(status)["finished"]))
                print(f"  the job is finished after {time.monotonic() - start:.0f} s", flush=True)
                health = webs[1].get("/app/token-health/")
            accepted = sandbox.summary()["max_accepted"]
            print(f"  {health['healthy_tokens']} healthy")
            print(f"  most often accepted refresh token: {accepted} time(s)")
        finally:
            stage.forget_installs()
            connection.close()
    return bool(accepted == 1 and health["healthy_tokens"] == total)


class _Web:
    def __init__(self, process: subprocess.Popen[bytes], url: str, key: str) -> None:
        self.process = process
        self._url, self._headers = url, {"Authorization": f"Bearer {key}"}

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
        with suppress(requests.RequestException):
            return requests.get(f"{self._url}/healthz", timeout=5).ok
        return False


@contextmanager
def _web(host: network.Host, key: str) -> Iterator[_Web]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    listen = {"HOST": host.address, "PORT": str(port), "DJANGO_ALLOWED_HOSTS": host.address}
    command = ["-m", "gunicorn", "config.wsgi", "-c", "gunicorn.conf.py"]
    with _group(host, *command, **listen, PYTHONWARNINGS="ignore:No directory at") as process:
        web = _Web(process, f"http://{host.address}:{port}", key)
        _until(web.is_up)
        yield web


def _worker(host: network.Host) -> Any:
    return _group(host, "manage.py", "qcluster")


@contextmanager
def _group(host: network.Host, *command: str, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [*host.enter, sys.executable, *command],
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


def main() -> int:
    parser = stage.arguments("Two hosts with a web server and a worker each, one lost in mid-work.")
    parser.add_argument("--installs", type=int, default=5000)
    parser.add_argument("--latency", type=float, default=0.1, help="Seconds.")
    given = parser.parse_args()
    if given.database_url:
        return 0 if measure(given.database_url, given.installs, given.latency) else 1
    if lacking := network.missing():
        print(
            f"No hosts in network namespaces here: {lacking}. With --database-url (an empty "
            "PostgreSQL or MariaDB database) they are process groups of this machine.",
            file=sys.stderr,
        )
        return 2
    return network.run_inside(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
