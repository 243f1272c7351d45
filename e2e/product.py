"""The whole product in real processes: web server, worker and sandbox on a throw-away database."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bootstrap import ports
from bootstrap.console import ROOT
from bootstrap.supervisor import Program, Supervisor

READY_S = 180
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # A page that plays HighLevel's shows one of this machine in a frame.
    "--disable-features=LocalNetworkAccessChecks",
]


@dataclass(frozen=True)
class Product:
    """Where everything listens, and the first user's one-time password."""

    url: str
    sandbox_url: str
    password: str
    environ: dict[str, str]

    def control(self, call: str, **values: Any) -> dict[str, Any]:
        """Make a call of the sandbox's control API; return its JSON answer."""
        request = urllib.request.Request(  # noqa: S310 - our own address
            f"{self.sandbox_url}/_sandbox/{call}",
            data=json.dumps(values).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            told: dict[str, Any] = json.load(answer)
        return told


@contextmanager
def running_product(folder: Path, **settings: str) -> Iterator[Product]:
    """Start everything; its database and state are in `folder`. `settings`: more environment."""
    port, sandbox_port = _free_port(), _free_port()
    environ = _environ(folder, port, sandbox_port) | settings
    with Supervisor() as supervisor:
        # Ctrl-C ends the tests as everywhere; then the supervisor ends the programs.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        supervisor.start(_sandbox(folder, port, sandbox_port, environ))
        _wait_for(supervisor, sandbox_port, "/_sandbox/env", "The sandbox")
        environ |= json.loads(ports.fetch("127.0.0.1", sandbox_port, "/_sandbox/env"))
        manage(environ, "migrate", "--verbosity=0")
        _collect_static(environ)
        password = manage(environ, "create_first_user").split()[-1]
        gunicorn = [sys.executable, "-m", "gunicorn", "config.wsgi", "-c", "gunicorn.conf.py"]
        supervisor.start(Program("web server", gunicorn, environ))
        qcluster = [sys.executable, "manage.py", "qcluster"]
        supervisor.start(Program("worker", qcluster, environ))
        _wait_for(supervisor, port, "/healthz", "The web server")
        # The session is bound to one name of the host: the one that HighLevel sends people back to.
        url, sandbox_url = f"http://localhost:{port}", f"http://127.0.0.1:{sandbox_port}"
        yield Product(url, sandbox_url, password, environ)


def _environ(folder: Path, port: int, sandbox_port: int) -> dict[str, str]:
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "WHATREACH_ENV_FILE": os.devnull,
        "DJANGO_SECRET_KEY": secrets.token_urlsafe(50),
        "DJANGO_DEBUG": "false",
        "DATABASE_URL": f"sqlite:///{folder / 'product.sqlite3'}",
        "TOKEN_ENCRYPTION_KEYS": f"e1:{base64.b64encode(secrets.token_bytes(32)).decode()}",
        "GHL_REDIRECT_URI": f"http://localhost:{port}/app/callback/",
        "GHL_SSO_KEY": "test-shared-secret",
        "SANDBOX_URL": f"http://127.0.0.1:{sandbox_port}",
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "LOG_LEVEL": "WARNING",
    }


def _sandbox(folder: Path, port: int, sandbox_port: int, environ: dict[str, str]) -> Program:
    command = [sys.executable, "manage.py", "sandbox", f"--port={sandbox_port}"]
    command += [f"--state={folder / 'sandbox.sqlite3'}", f"--app-url=http://127.0.0.1:{port}"]
    return Program("sandbox", command, environ, ends_last=True)


def manage(environ: dict[str, str], *command: str) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *command],
        cwd=ROOT,
        env=environ,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


def _collect_static(environ: dict[str, str]) -> None:
    """Once for all products of a run: they share the folder, and one may be reading it."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", "")
    with (Path(tempfile.gettempdir()) / "whatreach-collectstatic.lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.seek(0)
        if run and lock.read() == run:
            return
        manage(environ, "collectstatic", "--noinput", "--verbosity=0")
        lock.truncate(0)
        lock.write(run)


def _wait_for(supervisor: Supervisor, port: int, path: str, what: str) -> None:
    supervisor.wait_until(
        lambda: ports.answers("127.0.0.1", port, path), what=what, timeout_s=READY_S
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
