from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import IO

import pytest
import requests

from sandbox.server import SandboxServer
from sandbox.tests.client import PAIR
from sandbox.world import World

pytestmark = pytest.mark.one_database

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def server() -> Iterator[SandboxServer]:
    world = World()
    world.set_knobs(webhook_url="")
    server = SandboxServer(("127.0.0.1", 0), world)
    server.start()
    yield server
    server.stop()
    world.close()


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as plain:
        plain.trust_env = False
        yield plain


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_starts_answers_and_ends_cleanly_on_a_signal(
    tmp_path: Path, session: requests.Session, number: signal.Signals
) -> None:
    process = _start("--port=0", f"--state={tmp_path / 'state.sqlite3'}")
    with process:
        url = _line(process.stdout).split()[2].rstrip(",")
        assert session.get(f"{url}/_sandbox/summary", timeout=60).json()["agencies"] == 0
        process.send_signal(number)
        assert process.wait(timeout=60) == 0
        assert _line(process.stderr) == ""


def test_a_busy_port_is_one_clear_line_and_exit_code_2() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        process = _start(f"--port={port}", "--state=:memory:")
        _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert said.count("\n") == 1
    assert f"Cannot listen on 127.0.0.1:{port}: Address already in use." in said


def test_a_state_that_cannot_be_opened_is_one_clear_line_and_exit_code_2(tmp_path: Path) -> None:
    process = _start("--port=0", f"--state={tmp_path}")
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said.count("\n")) == (2, 1)
    assert f"Cannot open {tmp_path}" in said


def test_one_connection_carries_many_calls(server: SandboxServer) -> None:
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    with closing(connection):
        connection.connect()
        first = connection.sock
        for _ in range(5):
            connection.request("POST", "/oauth/token", body=b"{}")
            assert connection.getresponse().read().startswith(b'{"statusCode":400')
            assert connection.sock is first


@pytest.mark.parametrize(("fault", "uses"), [("reset", 0), ("drop_after_commit", 1)])
def test_a_cut_answer_closes_the_connection(
    server: SandboxServer, session: requests.Session, fault: str, uses: int
) -> None:
    token = _refresh_token(server.world, session, _url(server))
    server.world.fault(fault)
    with pytest.raises(requests.ConnectionError):
        _refresh(session, _url(server), token)
    assert server.world.uses_of(token) == uses


def test_a_slow_answer_runs_into_the_callers_timeout(
    server: SandboxServer, session: requests.Session
) -> None:
    token = _refresh_token(server.world, session, _url(server))
    server.world.fault("slow", seconds=2)
    with pytest.raises(requests.ReadTimeout):
        _refresh(session, _url(server), token, timeout=(10, 0.05))


def test_events_are_sent_by_a_thread_as_soon_as_there_are_any(server: SandboxServer) -> None:
    delivered = threading.Event()
    with closing(socket.create_server(("127.0.0.1", 0))) as app:

        def take_one() -> None:
            connection, _ = app.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
            delivered.set()

        threading.Thread(target=take_one, daemon=True).start()
        port = app.getsockname()[1]
        server.world.set_knobs(webhook_url=f"http://127.0.0.1:{port}/app/webhook/")
        server.world.send_event(body={"type": "Hello"}, signature="none")
        assert delivered.wait(60)


def _start(*options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "manage.py", "sandbox", *options]
    environ = {"DJANGO_SETTINGS_MODULE": "config.settings_test"}
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _line(stream: IO[str] | None) -> str:
    assert stream is not None
    return stream.readline()


def _url(server: SandboxServer) -> str:
    return f"http://127.0.0.1:{server.server_port}"


def _refresh_token(world: World, session: requests.Session, url: str) -> str:
    code = world.install(world.create_agency(locations=1).id)
    body = PAIR | {"grant_type": "authorization_code", "code": code}
    token: str = session.post(f"{url}/oauth/token", data=body, timeout=60).json()["refresh_token"]
    return token


def _refresh(
    session: requests.Session, url: str, token: str, timeout: float = 10
) -> dict[str, str]:
    body = PAIR | {"grant_type": "refresh_token", "refresh_token": token}
    answer: dict[str, str] = session.post(f"{url}/oauth/token", data=body, timeout=timeout).json()
    return answer
