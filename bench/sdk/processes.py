"""The processes of a comparison: sandbox, WhatReach's web server and worker, client programs."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import requests

from bench.sdk.setup import HERE, ROOT, Sdks

T = TypeVar("T")

CLIENT_ID = "5eed5eed5eed5eed5eed5eed-whatrdmo"
CLIENT_SECRET = "5eed5eed-0000-4000-8000-000000005eed"
REDIRECT_URI = "http://localhost/app/callback/"
SCOPES = ("integrations:read", "tokens:read", "tokens:refresh")
TIMEOUT_S = 60


class Stage:
    """One case: a fresh sandbox, and everything started beside it. All ends with the case."""

    def __init__(self, stack: ExitStack, folder: Path, sdks: Sdks) -> None:
        self._stack = stack
        self.folder = folder
        self.sdks = sdks
        folder.mkdir(parents=True)
        self._log = stack.enter_context((folder / "log.txt").open("w"))
        self.sandbox = Sandbox(self._start_sandbox())

    def program(self, command: list[str], **environ: str) -> Program:
        """Start a client program. It knows the sandbox's address and one more thing or two."""
        environ |= {
            "SDK_BASE_URL": self.sandbox.url,
            "SDK_CLIENT_ID": CLIENT_ID,
            "SDK_CLIENT_SECRET": CLIENT_SECRET,
        }
        process = self._start(command, environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return Program(process)

    def web(self, database: Path) -> str:
        """Start WhatReach's web server on a copy of `database`; return its address."""
        shutil.copy(database, self._database)
        port = free_port()
        environ = self._product_environ() | {"PORT": str(port)}
        command = [sys.executable, "-m", "gunicorn", "config.wsgi", "-c", "gunicorn.conf.py"]
        self._start(command, environ)
        url = f"http://127.0.0.1:{port}"
        until("the web server answers", lambda: is_up(f"{url}/healthz"))
        return url

    @contextmanager
    def worker(self) -> Iterator[None]:
        """WhatReach's worker, for as long as it is needed."""
        process = self._start([sys.executable, "manage.py", "qcluster"], self._product_environ())
        try:
            yield
        finally:
            _end(process)

    @property
    def _database(self) -> Path:
        return self.folder / "whatreach.sqlite3"

    def _product_environ(self) -> dict[str, str]:
        told = self.sandbox.get("env")
        return product_environ(self._database) | {
            name: told[name] for name in ("GHL_API_BASE_URL", "GHL_WEBHOOK_PUBLIC_KEYS")
        }

    def _start_sandbox(self) -> str:
        command = [sys.executable, "manage.py", "sandbox", "--port", "0"]
        command += ["--state", str(self.folder / "sandbox.sqlite3")]
        process = self._start(command, product_environ(Path(os.devnull)), stdout=subprocess.PIPE)
        assert process.stdout is not None
        # "Sandbox on http://127.0.0.1:36889, control page …"
        return process.stdout.readline().split()[2].rstrip(",")

    def _start(
        self,
        command: list[str],
        environ: dict[str, str],
        *,
        stdin: int | None = None,
        stdout: int | None = None,
    ) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            # Nothing of ours but PATH: no proxy, no other settings.
            env={"PATH": os.environ["PATH"]} | environ,
            stdin=stdin,
            stdout=stdout or self._log,
            stderr=self._log,
            text=True,
        )
        self._stack.callback(_end, process)
        return process


class Program:
    """A client program that gets its orders as lines of JSON."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def order(self, do: str, **values: Any) -> dict[str, Any]:
        self.begin(do, **values)
        return self.answer()

    def begin(self, do: str, **values: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **values}) + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("a client program ended: see the newest log.txt in var/sdk/run/")
        answer: dict[str, Any] = json.loads(line)
        return answer


class Sandbox:
    """The sandbox's control API."""

    def __init__(self, url: str) -> None:
        self.url = url
        # Events go out when a scenario says where to.
        self.post("knobs", webhook_url="", burst_limit=100_000)

    def get(self, path: str) -> dict[str, Any]:
        return _json(requests.get(f"{self.url}/_sandbox/{path}", timeout=TIMEOUT_S))

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        return _json(requests.post(f"{self.url}/_sandbox/{path}", json=body, timeout=TIMEOUT_S))

    def has_sent_all(self) -> bool:
        events = self.get("events")["events"]
        return bool(events) and all(event["state"] == "done" for event in events)

    def uses(self, resource_id: str) -> list[int]:
        """How often each refresh token of this place was presented, most first."""
        tokens = self.get("tokens")["tokens"]
        return [token["uses"] for token in tokens if token["resource_id"] == resource_id]


def product_environ(database: Path) -> dict[str, str]:
    return {
        "DJANGO_SETTINGS_MODULE": "config.settings_test",
        "DATABASE_URL": f"sqlite:///{database}",
        # Nobody collected the static files, which nobody asks for either.
        "PYTHONWARNINGS": "ignore:No directory at",
    }


def make_database(file: Path) -> str:
    """Make an empty database of WhatReach with one API key in it, and return the key."""
    environ = {"PATH": os.environ["PATH"]} | product_environ(file)
    manage = [sys.executable, "manage.py"]
    subprocess.run([*manage, "migrate", "--verbosity=0"], cwd=ROOT, env=environ, check=True)
    scopes = [word for scope in SCOPES for word in ("--scope", scope)]
    made = subprocess.run(
        [*manage, "create_api_key", "comparison", *scopes],
        cwd=ROOT,
        env=environ,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return made.stdout.strip()


def python_sdk(sdks: Sdks) -> tuple[list[str], dict[str, str]]:
    return [str(sdks.python), str(HERE / "python_sdk.py")], {}


def js_sdk(sdks: Sdks) -> tuple[list[str], dict[str, str]]:
    return ["node", str(HERE / "js_sdk.js")], {"NODE_PATH": str(sdks.node_modules)}


def until(what: str, look: Callable[[], T], at_most_s: float = 90) -> T:
    """Look again and again until there is something. Errors: TimeoutError naming `what`."""
    give_up_at = time.monotonic() + at_most_s
    while time.monotonic() < give_up_at:
        if seen := look():
            return seen
        time.sleep(0.2)
    raise TimeoutError(f"not within {at_most_s:.0f} s: {what}")


def is_up(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except requests.RequestException:
        return False


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _json(response: requests.Response) -> dict[str, Any]:
    if not response.ok:
        raise RuntimeError(f"{response.url} answered {response.status_code}: {response.text}")
    body: dict[str, Any] = response.json()
    return body


def _end(process: subprocess.Popen[str]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    process.terminate()
    try:
        process.wait(timeout=40)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
