"""Hosts as network namespaces: a hub with PostgreSQL in it, and two hosts on its bridge.

Their addresses exist inside them alone, and nothing leads out of them. Making them takes root.

    hub 10.99.0.1 (database, sandbox, the bench itself) ── bridge ─┬─ host 10.99.0.11
                                                                   └─ host 10.99.0.12
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

HUB_ADDRESS = "10.99.0.1"
ADDRESSES = ("10.99.0.11", "10.99.0.12")


@dataclass(frozen=True)
class Host:
    """Where processes run, and how others reach them. `enter` goes before their command."""

    address: str = "127.0.0.1"
    enter: Sequence[str] = field(default=())
    link: str = ""  # its end of the cable in the hub

    def lose_network(self) -> None:
        """As when its power fails: nobody is told that its connections are gone."""
        if self.link:
            _run("ip", "link", "set", self.link, "down")


def hosts() -> list[Host]:
    """The two hosts, as seen from a process in the hub; without a network both are this machine."""
    hub = os.environ.get("BENCH_HUB")
    if not hub:
        return [Host(), Host()]
    return [
        Host(address, ("ip", "netns", "exec", f"{hub}-{number}"), f"host{number}")
        for number, address in enumerate(ADDRESSES)
    ]


def hub_address() -> str:
    return HUB_ADDRESS if os.environ.get("BENCH_HUB") else "127.0.0.1"


def missing() -> str:
    """What a network of our own lacks here, in words; empty when it can be made."""
    if os.geteuid() != 0:
        return "not root"
    if not shutil.which("ip"):
        return "no command `ip` (iproute2)"
    if not postgresql():
        return "no PostgreSQL server in /usr/lib/postgresql"
    # A container may be root and yet not be allowed to.
    trial = f"whatreach-{os.getpid()}-trial"
    if subprocess.run(["ip", "netns", "add", trial], stderr=subprocess.DEVNULL).returncode:
        return "no right to make network namespaces"
    _run("ip", "netns", "delete", trial)
    return ""


def run_inside(arguments: Sequence[str]) -> int:
    """Build the network and the database, run this program again in the hub, take all down."""
    hub = f"whatreach-{os.getpid()}"
    with _namespaces(hub), _database(hub) as url:
        command = [sys.executable, "-m", "bench.hosts", *arguments, "--database-url", url]
        inside = ["ip", "netns", "exec", hub, *command]
        return subprocess.run(inside, env=os.environ | {"BENCH_HUB": hub}).returncode


@contextmanager
def _namespaces(hub: str) -> Iterator[None]:
    names = [hub, *(f"{hub}-{number}" for number in range(len(ADDRESSES)))]
    try:
        for name in names:
            _run("ip", "netns", "add", name)
            _run("ip", "-n", name, "link", "set", "lo", "up")
        _run("ip", "-n", hub, "link", "add", "bridge0", "type", "bridge")
        _run("ip", "-n", hub, "address", "add", f"{HUB_ADDRESS}/24", "dev", "bridge0")
        _run("ip", "-n", hub, "link", "set", "bridge0", "up")
        for number, address in enumerate(ADDRESSES):
            host, link = f"{hub}-{number}", f"host{number}"
            peer = ("peer", "name", "eth0", "netns", host)
            _run("ip", "-n", hub, "link", "add", link, "type", "veth", *peer)
            _run("ip", "-n", hub, "link", "set", link, "master", "bridge0", "up")
            _run("ip", "-n", host, "address", "add", f"{address}/24", "dev", "eth0")
            _run("ip", "-n", host, "link", "set", "eth0", "up")
        yield
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], stderr=subprocess.DEVNULL)


@contextmanager
def _database(hub: str) -> Iterator[str]:
    """A PostgreSQL server of our own that listens in the hub only, run by the user postgres."""
    with tempfile.TemporaryDirectory(prefix="whatreach-bench-") as folder:
        shutil.chown(folder, "postgres")
        data = Path(folder) / "data"
        postgres = ("ip", "netns", "exec", hub, "runuser", "-u", "postgres", "--")
        program = postgresql()
        _run(*postgres, f"{program}/initdb", f"--pgdata={data}", "--auth=trust", "--no-sync")
        with (data / "pg_hba.conf").open("a") as access:
            access.write("host all all 10.99.0.0/24 trust\n")
        options = (
            f"-c listen_addresses={HUB_ADDRESS} -c unix_socket_directories= -c max_connections=200"
        )
        control = (*postgres, f"{program}/pg_ctl", f"--pgdata={data}", "--wait", "--silent")
        _run(*control, f"--log={data}.log", "-o", options, "start")
        try:
            yield f"postgres://postgres@{HUB_ADDRESS}:5432/postgres"
        finally:
            _run(*control, "--mode=immediate", "stop")


def postgresql() -> str:
    """The folder of the newest server's programs; empty when there is none."""
    return max(map(str, Path("/usr/lib/postgresql").glob("*/bin")), default="")


def _run(*command: str) -> None:
    subprocess.run(command, check=True, cwd="/", stdout=subprocess.DEVNULL)
