"""`make run` and its relatives, tried with real processes (small ones in the product's place)."""

from __future__ import annotations

import base64
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import environ
import pytest

from bootstrap import dotenv, installs, ports, product, quality
from bootstrap.console import Refused
from bootstrap.supervisor import SAME_SIGNAL_S

pytestmark = pytest.mark.one_database

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 120

# Each writes its process id into folder/name.pid once it is ready.
READY = """
import os, pathlib, signal, subprocess, sys, time
folder, name = pathlib.Path(sys.argv[1]), sys.argv[2]
def ready(name=name, pid=os.getpid()):
    (folder / f"{name}.new").write_text(str(pid))
    (folder / f"{name}.new").rename(folder / f"{name}.pid")
"""
PLAIN = READY + "ready(); signal.pause()"
STUBBORN = (
    READY + "signal.signal(signal.SIGTERM, signal.SIG_IGN); ready()\nwhile True: time.sleep(60)"
)
PARENT = (
    READY
    + """
ignore = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
grandchild = subprocess.Popen([sys.executable, "-c", ignore])
ready("grandchild", grandchild.pid)
ready()
signal.pause()
"""
)
DIES = READY + "ready(); sys.exit(3)"
LOGS_ITS_END = (
    READY
    + """
def end(*_):
    with open(folder / "ends", "a") as log: log.write(name + chr(10))
    sys.exit()
signal.signal(signal.SIGTERM, end); ready(); signal.pause()
"""
)
SUPERVISED = """
import os, sys
from pathlib import Path
from bootstrap.supervisor import Program, Supervisor, WhenItEnds
folder = sys.argv[1]
def program(name, source, *options, **named):
    command = [sys.executable, "-c", source, folder, name]
    return Program(name, command, os.environ, *options, **named)
with Supervisor() as supervisor:
    {body}
    supervisor.watch()
sys.exit(supervisor.exit_code)
"""


def until(fact: Callable[[], object], what: str = "it") -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not fact():
        assert time.monotonic() < deadline, f"{what} did not happen within {PATIENCE_S} s"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


class Run:
    """A supervisor in a process of its own, with `programs` as {name: (source, options)}."""

    def __init__(self, folder: Path, **programs: tuple[str, str]) -> None:
        self.folder = folder
        body = "\n    ".join(
            f"supervisor.start(program({name!r}, {source!r}, {options}))"
            for name, (source, options) in programs.items()
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", SUPERVISED.format(body=body), str(folder)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def pid(self, name: str) -> int:
        file = self.folder / f"{name}.pid"
        until(file.exists, f"the start of {name}")
        return int(file.read_text())

    def finish(self) -> tuple[int, str]:
        output, _ = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, output


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder for process ids; whatever a failed test left running is killed."""
    yield tmp_path
    for file in tmp_path.glob("*.pid"):
        if is_alive(pid := int(file.read_text())):
            os.kill(pid, signal.SIGKILL)


@contextmanager
def listening_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def free_port() -> int:
    with listening_port() as port:
        return port


# --- Supervisor -----------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_signal_ends_every_program_and_exits_with_0(folder: Path, number: int) -> None:
    run = Run(folder, sandbox=(PLAIN, ""), web=(PLAIN, ""), worker=(PLAIN, ""))
    pids = [run.pid(name) for name in ("sandbox", "web", "worker")]
    run.process.send_signal(number)
    assert run.finish()[0] == 0
    assert not any(map(is_alive, pids))


def test_ctrl_c_in_a_terminal_does_not_reach_the_programs_directly(folder: Path) -> None:
    run = Run(folder, web=(PLAIN, ""))
    pid = run.pid("web")
    assert os.getpgid(pid) == pid != os.getpgid(run.process.pid)
    os.killpg(run.process.pid, signal.SIGINT)
    assert run.finish()[0] == 0
    assert not is_alive(pid)


def test_grandchildren_that_ignore_the_stop_are_killed_after_their_parent_ended(
    folder: Path,
) -> None:
    run = Run(folder, worker=(PARENT, ""))
    worker, grandchild = run.pid("worker"), run.pid("grandchild")
    run.process.send_signal(signal.SIGINT)
    assert run.finish()[0] == 0
    until(lambda: not is_alive(worker) and not is_alive(grandchild), "the end of both")


def test_a_program_that_does_not_end_is_killed_after_its_grace_time(folder: Path) -> None:
    run = Run(folder, worker=(STUBBORN, "grace_s=0.3"))
    pid = run.pid("worker")
    run.process.send_signal(signal.SIGINT)
    code, output = run.finish()
    assert code == 0
    assert "Killing the worker" in output
    assert not is_alive(pid)


def test_a_second_ctrl_c_kills_at_once(folder: Path) -> None:
    run = Run(
        folder, sandbox=(STUBBORN, "ends_last=True, grace_s=600"), worker=(STUBBORN, "grace_s=600")
    )
    pids = [run.pid(name) for name in ("sandbox", "worker")]
    run.process.send_signal(signal.SIGINT)
    earliest_second = time.monotonic() + 1.2 * SAME_SIGNAL_S
    until(lambda: time.monotonic() > earliest_second)
    run.process.send_signal(signal.SIGINT)
    assert run.finish()[0] == 0
    assert not any(map(is_alive, pids))


def test_one_stop_that_arrives_twice_is_not_taken_for_impatience(folder: Path) -> None:
    run = Run(folder, web=(LOGS_ITS_END, ""))
    run.pid("web")
    run.process.send_signal(signal.SIGTERM)
    run.process.send_signal(signal.SIGTERM)
    code, output = run.finish()
    assert code == 0
    assert "Killing" not in output
    assert (folder / "ends").read_text() == "web\n"


def test_what_others_rely_on_ends_last(folder: Path) -> None:
    run = Run(folder, sandbox=(LOGS_ITS_END, "ends_last=True"), worker=(LOGS_ITS_END, ""))
    for name in ("sandbox", "worker"):
        run.pid(name)
    run.process.send_signal(signal.SIGINT)
    run.finish()
    assert (folder / "ends").read_text().split() == ["worker", "sandbox"]


def test_a_web_server_that_dies_ends_the_run_with_1_and_is_named(folder: Path) -> None:
    run = Run(folder, sandbox=(PLAIN, ""), web=(PARENT, ""))
    sandbox, web, grandchild = (run.pid(name) for name in ("sandbox", "web", "grandchild"))
    os.kill(web, signal.SIGKILL)
    code, output = run.finish()
    assert code == 1
    assert "The web ended by itself (exit code -9)" in output
    until(lambda: not any(map(is_alive, (sandbox, web, grandchild))), "the end of all")


def test_a_worker_that_dies_is_started_again_and_said_so(folder: Path) -> None:
    run = Run(folder, web=(PLAIN, ""), worker=(PARENT, "WhenItEnds.RESTART"))
    first, grandchild = run.pid("worker"), run.pid("grandchild")
    (folder / "worker.pid").unlink()
    os.kill(first, signal.SIGKILL)
    second = run.pid("worker")
    assert second != first
    assert not is_alive(grandchild), "the children of the dead worker go on working"
    run.process.send_signal(signal.SIGINT)
    code, output = run.finish()
    assert code == 0
    assert "The worker ended by itself (exit code -9); starting it again in 1 s." in output
    assert not is_alive(second)


def test_the_pauses_between_restarts_grow(folder: Path) -> None:
    run = Run(folder, worker=(DIES, "WhenItEnds.RESTART"))
    assert run.process.stdout is not None
    lines = [run.process.stdout.readline() for _ in range(2)]
    run.process.send_signal(signal.SIGINT)
    assert run.finish()[0] == 0
    assert [line.strip()[-4:] for line in lines] == ["1 s.", "2 s."]


def test_a_worker_that_stands_still_is_killed_with_all_it_started_and_started_again(
    folder: Path,
) -> None:
    alive = folder / "alive"
    watched = f"WhenItEnds.RESTART, alive_file=Path({str(alive)!r}), still_after_s=5"
    run = Run(folder, web=(PLAIN, ""), worker=(PARENT, watched))
    first, grandchild, web = (run.pid(name) for name in ("worker", "grandchild", "web"))
    kept_alive_until = time.monotonic() + 6
    while time.monotonic() < kept_alive_until:
        alive.touch()
        time.sleep(0.05)
    assert is_alive(first), "it was killed although it did its work"
    (folder / "worker.pid").unlink()
    second = run.pid("worker")
    assert second != first
    until(lambda: not is_alive(first) and not is_alive(grandchild), "the end of the still ones")
    assert is_alive(web)
    run.process.send_signal(signal.SIGINT)
    code, output = run.finish()
    assert code == 0
    assert "The worker stands still; killing it." in output


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of our death")
def test_programs_end_when_the_supervisor_itself_is_killed(folder: Path) -> None:
    run = Run(folder, web=(PLAIN, ""), worker=(LOGS_ITS_END, ""))
    pids = [run.pid(name) for name in ("web", "worker")]
    run.process.kill()
    run.finish()
    until(lambda: not any(map(is_alive, pids)), "the end of the programs")
    assert (folder / "ends").read_text() == "worker\n"


# --- make run -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["PORT", "SANDBOX_PORT"])
def test_a_busy_port_is_named_and_nothing_is_started(tmp_path: Path, name: str) -> None:
    env_file = tmp_path / "env"
    with listening_port() as busy:
        ports_taken = {"PORT": str(free_port()), "SANDBOX_PORT": str(free_port()), name: str(busy)}
        done = subprocess.run(
            [sys.executable, "-m", "bootstrap", "run"],
            cwd=ROOT,
            env={
                **os.environ,
                **ports_taken,
                "GHL_CLIENT_ID": "",
                "WHATREACH_ENV_FILE": str(env_file),
            },
            capture_output=True,
            text=True,
        )
    assert done.returncode == 2
    assert f"Port {busy} is in use" in done.stdout
    assert f"{name}={busy + 10} make run" in done.stdout
    assert not env_file.exists()


def test_a_port_is_free_again_right_after_its_server_ended() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)), server.accept()[0]:
            pass
    ports.require_free("127.0.0.1", port, name="PORT")


def test_an_address_of_another_machine_is_refused_with_its_setting() -> None:
    with pytest.raises(Refused, match=r"Cannot listen on 192\.0\.2\.1 port \d+ \(HOST and PORT\)"):
        ports.require_free("192.0.2.1", free_port(), name="PORT")


@pytest.mark.parametrize("value", ["", "web", "0", "65536", "-1"])
def test_a_port_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(Refused, match="is not a port number"):
        product.addresses_from({"PORT": value})


def test_one_port_for_both_servers_is_refused() -> None:
    with pytest.raises(Refused, match="both 8801"):
        product.addresses_from({"PORT": "8801"})


def test_by_default_everything_listens_on_this_machine_only() -> None:
    assert product.addresses_from({}) == product.Addresses("127.0.0.1", 8000, sandbox_port=8801)
    assert product.SANDBOX_HOST == "127.0.0.1"


@pytest.mark.parametrize(
    ("host", "app"),
    [
        ("127.0.0.1", "http://localhost:8000"),
        ("0.0.0.0", "http://localhost:8000"),
        ("192.0.2.1", "http://192.0.2.1:8000"),
        ("::1", "http://[::1]:8000"),
    ],
)
def test_the_address_told_is_one_that_works(host: str, app: str) -> None:
    assert product.addresses_from({"HOST": host}).app == app


def test_with_a_client_id_there_is_no_sandbox() -> None:
    addresses = product.addresses_from({"GHL_CLIENT_ID": "0123456789abcdef01234567-abcdefgh"})
    assert addresses.sandbox_port is None
    assert addresses.behind_proxy == ""


def test_behind_a_tls_proxy_the_public_address_is_told() -> None:
    redirect_uri = "https://whatreach.example.com/app/callback/"
    environ = {
        "GHL_CLIENT_ID": "0123456789abcdef01234567-abcdefgh",
        "GHL_REDIRECT_URI": redirect_uri,
    }
    addresses = product.addresses_from(environ)
    assert addresses.behind_proxy == "https://whatreach.example.com"


@pytest.mark.parametrize(
    ("client_id", "in_env_file", "level"),
    [("", "", "WARNING"), ("", "LOG_LEVEL=INFO", "INFO"), ("0123456789abcdef01234567-a", "", None)],
)
def test_the_demo_does_not_drown_the_address_and_the_password_in_its_log(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    client_id: str,
    in_env_file: str,
    level: str | None,
) -> None:
    env_file = tmp_path / "env"
    env_file.write_text(in_env_file)
    monkeypatch.setenv("WHATREACH_ENV_FILE", str(env_file))
    monkeypatch.delenv("LOG_LEVEL", raising=False)
    addresses = product.addresses_from({"GHL_CLIENT_ID": client_id})
    assert product.environ_for(addresses).get("LOG_LEVEL") == level


# --- .env -----------------------------------------------------------------------------------


def test_env_is_written_once_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    assert dotenv.write_once(file)
    assert file.stat().st_mode & 0o777 == 0o600
    before = file.read_bytes()
    assert not dotenv.write_once(file)
    assert file.read_bytes() == before


def test_env_holds_strong_keys_and_no_client_id(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    dotenv.write_once(first)
    dotenv.write_once(second)
    values = dotenv.read(first)
    assert set(values) == {"DJANGO_SECRET_KEY", "TOKEN_ENCRYPTION_KEYS"}
    assert len(values["DJANGO_SECRET_KEY"]) >= 50
    key_id, _, key = values["TOKEN_ENCRYPTION_KEYS"].partition(":")
    assert key_id == "k1"
    assert len(base64.b64decode(key, validate=True)) == 32
    assert not set(values.values()) & set(dotenv.read(second).values())


def test_env_is_read_as_the_settings_read_it(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(
        "# comment\nWR_PLAIN=a=b\nWR_SINGLE='one two'\nWR_DOUBLE=\"three\"\nexport WR_EXPORTED=x\n"
        "WR_EMPTY=\n#WR_COMMENTED=no\n WR_INDENTED=no\nWR_HALF='quote\n"
    )
    before = dict(os.environ)
    try:
        environ.Env.read_env(file)
        as_settings = {name: os.environ[name] for name in os.environ if name.startswith("WR_")}
    finally:
        os.environ.clear()
        os.environ.update(before)
    assert dotenv.read(file) == as_settings


def test_a_missing_env_file_holds_nothing(tmp_path: Path) -> None:
    assert dotenv.read(tmp_path / "none") == {}


# --- Installs -------------------------------------------------------------------------------


def test_requirements_are_installed_only_when_they_changed(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\ncase "$*" in *install*) echo "$*" >> "{calls}";; esac\n')
    python.chmod(0o755)
    requirements = tmp_path / "requirements.txt"

    def installs_after(text: str) -> int:
        requirements.write_text(text)
        installs.python_with(str(requirements), venv=tmp_path / "venv")
        return len(calls.read_text().splitlines())

    assert [installs_after(text) for text in ("a", "a", "b", "b", "a")] == [1, 1, 2, 2, 3]
    assert "--require-hashes" in calls.read_text()


def test_a_failed_installation_is_tried_again(tmp_path: Path) -> None:
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\ncase "$*" in *install*) exit 1;; esac\n')
    python.chmod(0o755)
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("a")
    for _ in range(2):
        with pytest.raises(Refused, match="installation failed"):
            installs.python_with(str(requirements), venv=tmp_path / "venv")


def test_a_python_without_venv_gets_the_name_of_the_missing_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Refused, match="apt install python3-venv"):
        installs.python_with(venv=tmp_path / "venv")


# --- make test, make check ------------------------------------------------------------------


def test_a_test_database_that_does_not_answer_fails_the_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"postgres://someone:hush@127.0.0.1:{free_port()}/name"
    monkeypatch.setenv("TEST_DATABASE_URLS", url)
    monkeypatch.setattr(quality, "_dev_python", lambda: "/bin/true")
    assert quality.test() == 1
    output = capsys.readouterr().out
    assert f"Nothing answers at {url.replace('hush', '***')}" in output
    assert f"Tests failed: {url.replace('hush', '***')}" in output
    assert "hush" not in output


def test_the_suite_runs_on_sqlite_and_on_every_database_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake_python = tmp_path / "python"
    fake_python.write_text(f'#!/bin/sh\necho "$DATABASE_URL" >> "{tmp_path}/urls"\n')
    fake_python.chmod(0o755)
    monkeypatch.setattr(quality, "_dev_python", lambda: str(fake_python))
    monkeypatch.setenv("DATABASE_URL", "sqlite:///a-developer-s-own.sqlite3")
    with listening_port() as port:
        url = f"mysql://root@127.0.0.1:{port}/test"
        monkeypatch.setenv("TEST_DATABASE_URLS", f"{url}, ")
        assert quality.test() == 0
    assert (tmp_path / "urls").read_text().splitlines() == ["", url]


def test_check_runs_every_gate_and_lists_those_that_failed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gates = {"one": (("false",), {}), "two": (("true",), {}), "three": (("false",), {})}
    monkeypatch.setattr(quality, "_dev_python", lambda: sys.executable)
    monkeypatch.setattr(quality, "_gates", lambda python: gates)
    assert quality.check() == 1
    assert "Gates failed: one, three" in capsys.readouterr().out
