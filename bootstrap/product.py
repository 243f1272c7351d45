"""`make run`: from a fresh clone to a page in the browser."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bootstrap import dotenv, installs, ports
from bootstrap.console import ROOT, Refused, must_succeed, say
from bootstrap.supervisor import Program, Supervisor, WhenItEnds

SANDBOX_STATE = Path("var") / "sandbox.sqlite3"
SANDBOX_HOST = "127.0.0.1"
WORKER_ALIVE = Path("var") / "worker.alive"
READY_S = 60
# A renewal in flight takes under 30 s, a task at most the queue's time-out of 60 s.
WEB_GRACE_S, WORKER_GRACE_S = 40, 75


@dataclass(frozen=True)
class Addresses:
    """Where things listen; `sandbox_port` is None when a real HighLevel app is configured.

    `behind_proxy` is the https address under which a TLS proxy offers the app, if there is one.
    """

    host: str
    port: int
    sandbox_port: int | None
    behind_proxy: str = ""

    @property
    def reachable_host(self) -> str:
        return "127.0.0.1" if self.host in ports.EVERY_INTERFACE else self.host

    @property
    def app(self) -> str:
        """The app's address without a path, the same for browsers, callbacks and events."""
        host = self.reachable_host.replace("127.0.0.1", "localhost")
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def sandbox(self) -> str:
        return f"http://{SANDBOX_HOST}:{self.sandbox_port}"


def run() -> int:
    """Set up what is missing, start everything and watch it. Errors: Refused."""
    env_file = dotenv.path()
    addresses = addresses_from({**dotenv.read(env_file), **os.environ})
    _require_free_ports(addresses)
    python = installs.python_with("requirements.txt")
    if dotenv.write_once(env_file):
        say(f"Wrote {env_file.name} with fresh keys.")
    (ROOT / "var").mkdir(exist_ok=True)
    environ = environ_for(addresses)
    first_user = _prepare(python, environ)
    with Supervisor() as supervisor:
        _start(supervisor, python, addresses, environ)
        say(_welcome(addresses, first_user))
        supervisor.watch()
    return supervisor.exit_code


def addresses_from(environ: Mapping[str, str]) -> Addresses:
    """Return where to listen. Without a client id the sandbox stands in. Errors: Refused."""
    host = environ.get("HOST", "127.0.0.1")
    port = _port("PORT", environ.get("PORT", "8000"))
    if environ.get("GHL_CLIENT_ID"):
        return Addresses(host, port, None, _https_origin(environ.get("GHL_REDIRECT_URI", "")))
    sandbox_port = _port("SANDBOX_PORT", environ.get("SANDBOX_PORT", "8801"))
    if port == sandbox_port:
        raise Refused(f"PORT and SANDBOX_PORT are both {port}; change one of them.")
    return Addresses(host, port, sandbox_port)


def _https_origin(url: str) -> str:
    parts = urlsplit(url)
    return f"https://{parts.netloc}" if parts.scheme == "https" else ""


def _port(name: str, value: str) -> int:
    if not value.isdecimal() or not 0 < int(value) < 65536:
        raise Refused(f"{name}={value} is not a port number (1 to 65535).")
    return int(value)


def _require_free_ports(addresses: Addresses) -> None:
    ports.require_free(addresses.host, addresses.port, name="PORT")
    if addresses.sandbox_port:
        ports.require_free(SANDBOX_HOST, addresses.sandbox_port, name="SANDBOX_PORT")


def environ_for(addresses: Addresses) -> dict[str, str]:
    """Return the environment of all programs; what the person has set, there or in .env, stays."""
    environ = {**os.environ, "HOST": addresses.host, "PORT": str(addresses.port)}
    chosen = dotenv.read(dotenv.path())
    # Somebody reads along in the terminal.
    environ.setdefault("LOG_FORMAT", chosen.get("LOG_FORMAT", "text"))
    if addresses.sandbox_port:
        # The demo's own calls would drown the address and the password.
        environ.setdefault("LOG_LEVEL", chosen.get("LOG_LEVEL", "WARNING"))
        # Short margins: renewals can be watched within minutes.
        environ |= {
            "SANDBOX_URL": addresses.sandbox,
            "GHL_REDIRECT_URI": f"{addresses.app}/app/callback/",
            "REFRESH_MARGIN_S": "60",
            "REFRESH_JITTER_S": "120",
        }
    return environ


def _prepare(python: str, environ: dict[str, str]) -> str:
    """Bring database and static files up to date.

    Returns the first user's name and one-time password, "" when there was a user.
    """
    manage = [python, "manage.py"]
    say("Preparing the database …")
    must_succeed([*manage, "migrate", "--verbosity=0"], environ, what="Preparing the database")
    collect = [*manage, "collectstatic", "--noinput", "--verbosity=0"]
    must_succeed(collect, environ, what="Collecting the static files")
    return _create_first_user(manage, environ)


def _create_first_user(manage: list[str], environ: dict[str, str]) -> str:
    command = [*manage, "create_first_user"]
    done = subprocess.run(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise Refused("Creating the first user failed; the reason stands above.")
    first_user = done.stdout.strip()
    if first_user:
        say(first_user)  # at once: should a later step fail, the password is not lost
    return first_user


def _start(
    supervisor: Supervisor, python: str, addresses: Addresses, environ: dict[str, str]
) -> None:
    is_new_sandbox = bool(addresses.sandbox_port) and not (ROOT / SANDBOX_STATE).exists()
    if addresses.sandbox_port:
        environ = environ | _start_sandbox(supervisor, python, addresses, environ)
    say("Starting web server and worker …")
    supervisor.start(_web(python, environ))
    supervisor.start(_worker(python, environ))
    supervisor.wait_until(
        lambda: ports.answers(addresses.reachable_host, addresses.port, "/healthz"),
        what="The web server",
        timeout_s=READY_S,
    )
    if is_new_sandbox:
        _fill_sandbox(supervisor, python, addresses, environ)


def _start_sandbox(
    supervisor: Supervisor, python: str, addresses: Addresses, environ: dict[str, str]
) -> dict[str, str]:
    """Start the sandbox; return the names that make an app talk to it instead of HighLevel."""
    supervisor.start(_sandbox(python, addresses, environ))
    port = addresses.sandbox_port or 0
    supervisor.wait_until(
        lambda: ports.answers(SANDBOX_HOST, port, "/_sandbox/env"),
        what="The sandbox",
        timeout_s=READY_S,
    )
    names: dict[str, str] = json.loads(ports.fetch(SANDBOX_HOST, port, "/_sandbox/env"))
    return names


def _sandbox(python: str, addresses: Addresses, environ: dict[str, str]) -> Program:
    command = [python, "manage.py", "sandbox", f"--host={SANDBOX_HOST}"]
    command += [f"--port={addresses.sandbox_port}", f"--state={SANDBOX_STATE}"]
    command += [f"--app-url={addresses.app}", f"--webhook-url={addresses.app}/app/webhook/"]
    return Program("sandbox", command, environ, ends_last=True)


def _web(python: str, environ: dict[str, str]) -> Program:
    command = [python, "-m", "gunicorn", "config.wsgi", "-c", "gunicorn.conf.py"]
    return Program("web server", command, environ, grace_s=WEB_GRACE_S)


def _worker(python: str, environ: dict[str, str]) -> Program:
    command = [python, "manage.py", "qcluster"]
    alive_file = ROOT / environ.get("WORKER_ALIVE_FILE", WORKER_ALIVE)
    return Program(
        "worker",
        command,
        environ | {"WORKER_ALIVE_FILE": str(alive_file)},
        WhenItEnds.RESTART,
        WORKER_GRACE_S,
        alive_file=alive_file,
    )


def _fill_sandbox(
    supervisor: Supervisor, python: str, addresses: Addresses, environ: dict[str, str]
) -> None:
    command = [python, "manage.py", "sandbox_demo", f"--sandbox-url={addresses.sandbox}"]
    command += [f"--app-url={addresses.app}"]
    say("Filling the sandbox with made-up agencies …")
    if supervisor.call(Program("demo", command, environ, WhenItEnds.CARRY_ON)):
        say("The demo data could not be made; the reason stands above. Everything else runs.")


def _welcome(addresses: Addresses, first_user: str) -> str:
    lines = ["", "-" * 72, f"WhatReach is ready:  {addresses.behind_proxy or addresses.app}/"]
    if first_user:
        lines += ["", *first_user.splitlines(), "The password is shown this once. Keep it."]
    else:
        lines.append("Sign in with your user. Lost the password?")
        lines.append("  .venv/bin/python manage.py changepassword NAME")
    if addresses.sandbox_port:
        lines += ["", f"HighLevel's stand-in: {addresses.sandbox}/_sandbox/"]
        lines.append("A line for each request: LOG_LEVEL=INFO make run")
    return "\n".join([*lines, "", "Ctrl-C stops everything.", "-" * 72])
