from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CLEAN_UP_S = 10


class Refused(Exception):
    """The command cannot start; the text tells a person what to do."""


def say(line: str = "") -> None:
    """Print a line at once. A closed terminal is no reason to stop halfway through an ending."""
    with contextlib.suppress(OSError):
        print(line, flush=True)


def succeeds(command: Sequence[str], environ: Mapping[str, str] | None = None) -> bool:
    """Run a command in the project's folder, its output passed on; True when it exits with 0."""
    process = subprocess.Popen(command, cwd=ROOT, env=environ)
    try:
        return process.wait() == 0
    except KeyboardInterrupt:
        _let_it_end(process)
        raise


def must_succeed(
    command: Sequence[str], environ: Mapping[str, str] | None = None, *, what: str
) -> None:
    """Run a command that the rest depends on. Errors: Refused."""
    if not succeeds(command, environ):
        raise Refused(f"{what} failed; the reason stands above.")


def _let_it_end(process: subprocess.Popen[bytes]) -> None:
    # Ctrl-C in a terminal reached it, too: a test run still has its databases to remove.
    try:
        process.wait(timeout=CLEAN_UP_S)
    except (KeyboardInterrupt, subprocess.TimeoutExpired):
        process.kill()
