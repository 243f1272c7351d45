"""A database server of a test's own, which may crash: of the kind on which the tests run."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote, urlsplit

from django.db import connection


class PostgreSQL:
    user = "postgres"

    def __init__(self, folder: Path, port: int) -> None:
        self.url = f"postgres://postgres@127.0.0.1:{port}/postgres"
        self._bin = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
        self._data, self._log = f"--pgdata={folder}/data", f"--log={folder}/log"
        # What it wrote outlives its processes even so.
        self._options = f"-p {port} -c fsync=off"
        self._options += " -c listen_addresses=127.0.0.1 -c unix_socket_directories="
        self._run("initdb", "--no-sync", "--auth=trust", "--username=postgres")

    def start(self) -> None:
        self._run("pg_ctl", "start", "--wait", "--silent", self._log, "-o", self._options)

    def crash(self) -> None:
        """Each of its processes ends where it stands; the next start has to recover."""
        self._run("pg_ctl", "stop", "--wait", "--silent", "--mode=immediate")

    def fill(self, url: str) -> None:
        _pipe(["pg_dump", url], ["psql", "--quiet", self.url])

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._bin / program), self._data, *arguments]
        subprocess.run(command, **_as(self.user), check=True)


class MariaDB:
    user = "mysql"

    def __init__(self, folder: Path, port: int) -> None:
        self.url = f"mysql://root@127.0.0.1:{port}/whatreach"
        self._port = port
        first = folder / "first.sql"
        first.write_text("CREATE DATABASE IF NOT EXISTS whatreach;")
        data = f"--datadir={folder}/data"
        create = ["mariadb-install-db", "--no-defaults", data, "--skip-test-db"]
        create += ["--auth-root-authentication-method=normal"]
        subprocess.run(create, **_as(self.user), check=True)
        self._command = ["mariadbd", "--no-defaults", data, f"--port={port}"]
        self._command += ["--bind-address=127.0.0.1", f"--socket={folder}/socket"]
        self._command += [f"--pid-file={folder}/pid", f"--init-file={first}"]

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, **_as(self.user), stderr=subprocess.DEVNULL)
        while not self._answers():
            assert self._process.poll() is None, "MariaDB did not start"
            time.sleep(0.05)

    def crash(self) -> None:
        self._process.kill()
        self._process.wait()

    def fill(self, url: str) -> None:
        *dump, name = _login("mariadb-dump", url)
        _pipe([*dump, "--single-transaction", name], _login("mariadb", self.url))

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self._port)):
            return True
        return False


def _login(client: str, url: str) -> list[str]:
    """MariaDB's clients know no URLs."""
    parts = urlsplit(url)
    who = [f"--user={parts.username}", f"--password={unquote(parts.password or '')}"]
    where = [f"--host={parts.hostname}", f"--port={parts.port or 3306}"]
    return [client, *who, *where, parts.path[1:]]


def _pipe(dump: list[str], load: list[str]) -> None:
    dumped = subprocess.run(dump, stdout=subprocess.PIPE, check=True).stdout
    subprocess.run(load, input=dumped, stdout=subprocess.DEVNULL, check=True)


def _as(user: str) -> dict[str, Any]:
    """What subprocess is told of a server's program: it refuses to be run by root."""
    return {
        "user": user if os.geteuid() == 0 else None,
        "env": {"PATH": f"{os.environ['PATH']}:/usr/sbin"},
        "cwd": "/",
        "stdout": subprocess.DEVNULL,
    }


@contextmanager
def private_server() -> Iterator[PostgreSQL | MariaDB]:
    """A running one of the kind on which the tests run."""
    kind = {"postgresql": PostgreSQL, "mysql": MariaDB}[connection.vendor]
    with TemporaryDirectory(prefix="whatreach-server-") as folder:
        if os.geteuid() == 0:
            shutil.chown(folder, kind.user)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        server = kind(Path(folder), port)
        server.start()
        try:
            yield server
        finally:
            with suppress(subprocess.CalledProcessError):  # it is down
                server.crash()
