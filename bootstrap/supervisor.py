"""Start programs, watch them, and leave no process behind.

Every program gets a process group of its own, so that Ctrl-C in the terminal reaches only us: the
worker hangs when its whole group is told to stop (its parent waits for tasks that were cut off).
An ending therefore signals each program's first process, waits, and kills what is left of the
group afterwards. Should we be killed ourselves, Linux sends the programs SIGTERM in our place.
"""

from __future__ import annotations

import contextlib
import ctypes
import enum
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from bootstrap.console import ROOT, say

TICK_S = 0.1
# One `kill` may reach us twice, from the shell and passed on by make: that is no second Ctrl-C.
SAME_SIGNAL_S = 0.7
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
STABLE_AFTER_S = 60.0
PR_SET_PDEATHSIG = 1


class WhenItEnds(enum.Enum):
    """What the end of a program that nobody asked for means."""

    END_ALL = "the run is over"
    RESTART = "start it again, with growing pauses"
    CARRY_ON = "it has done its work"


@dataclass(frozen=True)
class Program:
    """One program. Units: `grace_s` is how long it may take to end after SIGTERM.

    `alive_file`: the program touches it while it does its work. One that has not touched it for
    `still_after_s` seconds stands still: it is killed, since it may not even hear SIGTERM.
    """

    name: str
    command: Sequence[str]
    environ: Mapping[str, str]
    when_it_ends: WhenItEnds = WhenItEnds.END_ALL
    grace_s: float = 10.0
    ends_last: bool = False
    alive_file: Path | None = None
    still_after_s: float = 180.0


class Ended(Exception):
    """The run is over: somebody asked for it (exit code 0) or a program failed (1)."""

    def __init__(self, exit_code: int, reason: str) -> None:
        super().__init__(reason)
        self.exit_code = exit_code


@dataclass
class _Child:
    program: Program
    process: subprocess.Popen[bytes]
    started_at: float = field(default_factory=time.monotonic)
    pause_s: float = FIRST_PAUSE_S
    restart_at: float | None = None
    is_cleared: bool = False
    touched_ns: int = 0
    alive_at: float = field(default_factory=time.monotonic)

    def is_running(self) -> bool:
        return self.process.poll() is None

    def stands_still(self) -> bool:
        """Whether it has not touched its file for too long. By our own clock, which stands still
        too while the machine sleeps."""
        if self.program.alive_file is None:
            return False
        with contextlib.suppress(OSError):
            touched_ns = self.program.alive_file.stat().st_mtime_ns
            if touched_ns != self.touched_ns:
                self.touched_ns, self.alive_at = touched_ns, time.monotonic()
        return time.monotonic() - self.alive_at > self.program.still_after_s

    def kill_group(self) -> None:
        # Once only after the first process has ended: its number may be given to another one.
        if self.is_cleared:
            return
        self.is_cleared = not self.is_running()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


class Supervisor:
    """Use as a context: leaving it, for whatever reason, ends every program.

    `Ended` is the ordinary way out; it stops at the context's edge and leaves `exit_code`.
    """

    def __init__(self) -> None:
        self.exit_code = 0
        self._children: list[_Child] = []
        self._stops = 0
        self._last_stop = -SAME_SIGNAL_S
        self._handlers_before: dict[signal.Signals, signal._HANDLER] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._handlers_before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if isinstance(error, Ended):
            self.exit_code = error.exit_code
            say(str(error))
        self._end_all()
        for number, handler in self._handlers_before.items():
            signal.signal(number, handler)
        return isinstance(error, Ended)

    def start(self, program: Program) -> None:
        """Start a program and keep it running until the context is left."""
        self._children.append(_Child(program, _spawn(program)))

    def call(self, program: Program) -> int:
        """Run a program to its end and return its exit code. Errors: Ended."""
        child = _Child(program, _spawn(program))
        self._children.append(child)
        while child.is_running():
            self._tick()
        self._children.remove(child)
        child.kill_group()
        return child.process.returncode

    def wait_until(self, ready: Callable[[], bool], *, what: str, timeout_s: float) -> None:
        """Wait until `ready()` is true. Errors: Ended, also when the time is over."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            if time.monotonic() > deadline:
                raise Ended(1, f"{what} did not answer within {timeout_s:.0f} s.")
            self._tick()

    def watch(self) -> None:
        """Keep everything running. Errors: Ended, the only way out."""
        while True:
            self._tick()

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if time.monotonic() - self._last_stop >= SAME_SIGNAL_S:
            self._last_stop = time.monotonic()
            self._stops += 1

    def _tick(self) -> None:
        if self._stops:
            raise Ended(0, "Stopping … (Ctrl-C again to stop at once)")
        for child in self._children:
            if not child.is_running():
                self._on_end(child)
            elif child.stands_still():
                say(f"The {child.program.name} stands still; killing it.")
                child.kill_group()
        time.sleep(TICK_S)

    def _on_end(self, child: _Child) -> None:
        policy, code = child.program.when_it_ends, child.process.returncode
        if policy is WhenItEnds.END_ALL:
            raise Ended(1, f"The {child.program.name} ended by itself (exit code {code}).")
        if policy is WhenItEnds.CARRY_ON:
            return
        if child.restart_at is None:
            _plan_restart(child)
        elif time.monotonic() >= child.restart_at:
            _restart(child)

    def _end_all(self) -> None:
        patience = self._stops
        # What others rely on ends last: a renewal in flight still needs its answer.
        for last in (False, True):
            children = [child for child in self._children if child.program.ends_last is last]
            self._end(children, patience)
        self._children.clear()

    def _end(self, children: Sequence[_Child], patience: int) -> None:
        asked_at = time.monotonic()
        for child in children:
            child.process.terminate()
        while running := [child for child in children if child.is_running()]:
            for child in running:
                late = time.monotonic() - asked_at > child.program.grace_s
                if late or self._stops > patience:
                    say(f"Killing the {child.program.name}, which has not ended yet.")
                    child.kill_group()
            time.sleep(TICK_S)
        for child in children:
            child.kill_group()


def _plan_restart(child: _Child) -> None:
    child.kill_group()
    if time.monotonic() - child.started_at > STABLE_AFTER_S:
        child.pause_s = FIRST_PAUSE_S
    say(
        f"The {child.program.name} ended by itself (exit code {child.process.returncode}); "
        f"starting it again in {child.pause_s:.0f} s."
    )
    child.restart_at = time.monotonic() + child.pause_s
    child.pause_s = min(child.pause_s * 2, LONGEST_PAUSE_S)


def _restart(child: _Child) -> None:
    child.process, child.is_cleared = _spawn(child.program), False
    child.started_at, child.restart_at = time.monotonic(), None
    child.alive_at = child.started_at


def _spawn(program: Program) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        program.command,
        cwd=ROOT,
        env=program.environ,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=_end_with_parent(),
    )


def _end_with_parent() -> Callable[[], None] | None:
    """Return what a new process does first so that it gets SIGTERM when we die (Linux only)."""
    if sys.platform != "linux":
        return None
    # Loaded before the fork: little may happen between fork and exec.
    return partial(_ask_for_sigterm, ctypes.CDLL(None).prctl, os.getpid())


def _ask_for_sigterm(prctl: Callable[[int, int], int], parent: int) -> None:
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)
