"""The database of a soak: a PostgreSQL server of its own, which may be crashed, or SQLite."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import network

AWAY_S = 3.0


class Server:
    """A PostgreSQL server in a folder of its own, on a free port of this machine."""

    def __init__(self, data: Path, port: int) -> None:
        self._data = data
        self.url = f"postgres://postgres@127.0.0.1:{port}/postgres"
        _run("initdb", f"--pgdata={data}", "--auth=trust", "--username=postgres", "--no-sync")
        with (data / "postgresql.conf").open("a") as settings:
            settings.write(f"port = {port}\nmax_connections = 200\nunix_socket_directories = ''\n")
        self._control("start")

    def crash(self) -> None:
        """Be away for a moment, as after a power cut: nobody is told, the WAL is read again."""
        self._control("stop", "--mode=immediate")
        time.sleep(AWAY_S)
        self._control("start")

    def end(self) -> None:
        self._control("stop", "--mode=immediate")

    def _control(self, *action: str) -> None:
        _run("pg_ctl", f"--pgdata={self._data}", "--wait", f"--log={self._data}.log", *action)


@contextmanager
def postgresql() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="whatreach-soak-") as folder:
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
        server = Server(Path(folder) / "data", _free_port())
        try:
            yield server
        finally:
            server.end()


def missing() -> str:
    """What a server of our own lacks here, in words; empty when it can be made."""
    return "" if network.postgresql() else "no PostgreSQL server in /usr/lib/postgresql"


def _run(program: str, *arguments: str) -> None:
    # The server refuses to run as root.
    user = ("runuser", "-u", "postgres", "--") if os.geteuid() == 0 else ()
    command = [*user, f"{network.postgresql()}/{program}", *arguments]
    subprocess.run(command, check=True, cwd="/", stdout=subprocess.DEVNULL)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
