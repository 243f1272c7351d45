"""The virtual environment, the packages in it, and the browser for the end-to-end tests."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from bootstrap.console import ROOT, Refused, must_succeed, say

CHROMIUM = Path("/usr/bin/chromium")


def python_with(*requirements: str, venv: Path = ROOT / ".venv") -> str:
    """Return the virtual environment's Python after installing these requirements files.

    A file is installed only when it changed since the last time. Errors: Refused.
    """
    python = venv / "bin" / "python"
    if not _works(python):
        _create(venv)
    for name in requirements:
        _install(python, ROOT / name, stamp=venv / f".{Path(name).name}.sha256")
    return str(python)


def _works(python: Path) -> bool:
    """False for a virtual environment that is missing, half made, or whose Python is gone."""
    if not python.exists():
        return False
    return subprocess.run([python, "-m", "pip", "--version"], capture_output=True).returncode == 0


def _create(venv: Path) -> None:
    # Debian splits venv: `python3 -m venv` is there, the ensurepip that it needs is not.
    if not all(importlib.util.find_spec(name) for name in ("venv", "ensurepip")):
        raise Refused("This Python cannot make virtual environments: apt install python3-venv")
    say(f"Creating {venv.name} …")
    must_succeed([sys.executable, "-m", "venv", "--clear", str(venv)], what="Creating .venv")


def _install(python: Path, requirements: Path, *, stamp: Path) -> None:
    wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    say(f"Installing {requirements.name} …")
    pip = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    must_succeed([*pip, "--require-hashes", "-r", str(requirements)], what="The installation")
    stamp.write_text(wanted)


def ensure_chromium() -> None:
    """Install Debian's Chromium when it is missing and we may. Errors: Refused."""
    if CHROMIUM.exists():
        return
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise Refused(
            f"The browser tests need {CHROMIUM}. "
            "On Debian: sudo apt-get install --no-install-recommends chromium"
        )
    say("Installing Chromium …")
    apt = ["apt-get", "-qq", "-o=Dpkg::Use-Pty=0"]
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for step in (["update"], ["install", "-y", "--no-install-recommends", "chromium"]):
        _quietly([*apt, *step], quiet)


def _quietly(command: list[str], environ: dict[str, str]) -> None:
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    if done.returncode:
        say(done.stderr.strip())
        raise Refused("Installing Chromium failed; the reason stands above.")
