"""The product's programs, each with all of its processes in a group of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from bench import stage

WEB = ("-m", "gunicorn", "config.wsgi", "-c", "gunicorn.conf.py")
WORKER = ("manage.py", "qcluster")


class Program:
    """A program that can be killed and started again. Its output goes to `log`."""

    def __init__(self, name: str, *command: str, log: IO[bytes], **environ: str) -> None:
        self.name = name
        self._command = [sys.executable, *command]
        self._environ = os.environ | environ
        self._log = log
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command,
            cwd=stage.ROOT,
            env=self._environ,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )

    def keep_running(self) -> None:
        """What `make run` and systemd do for a program that has ended."""
        if self._process.poll() is not None:
            self.kill()
            self.start()

    def kill(self) -> None:
        """As a power cut does: all at once, without a word."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def end(self) -> None:
        with suppress(subprocess.TimeoutExpired):
            self._process.terminate()
            self._process.wait(60)
        self.kill()

    def processes(self) -> list[int]:
        """The ids of its processes."""
        members = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                # "1234 (a name) S 1 1234 …": id, name, state, parent, group
                group = stat.read_text().rpartition(") ")[2].split()[2]
                if int(group) == self._process.pid:
                    members.append(int(stat.parent.name))
        return members

    def memory_mb(self) -> float:
        """What its processes take of the memory together; what they share counts once."""
        return sum(map(_share_kb, self.processes())) / 1024

    def cpu_s(self) -> float:
        """The CPU time that its processes have taken so far."""
        return sum(map(_cpu_s, self.processes()))


def _share_kb(process: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0


def _cpu_s(process: int) -> float:
    with suppress(OSError):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


@dataclass
class Samples:
    """Memory over time. Units: seconds since the beginning, MB."""

    at: list[float] = field(default_factory=list)
    web_mb: list[float] = field(default_factory=list)
    worker_mb: list[float] = field(default_factory=list)


@contextmanager
def program(name: str, *command: str, log: Path, **environ: str) -> Iterator[Program]:
    with log.open("ab") as output:
        started = Program(name, *command, log=output, **environ)
        try:
            yield started
        except BaseException:
            started.kill()
            raise
        started.end()


def until(what: str, done: Callable[[], bool], at_most_s: float = 60) -> None:
    """Errors: TimeoutError naming `what`."""
    give_up_at = time.monotonic() + at_most_s
    while not done():
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"not within {at_most_s:.0f} s: {what}")
        time.sleep(0.5)
