"""Install both SDKs, as pinned, into var/sdk/: nothing of them is part of WhatReach."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
INSTALLED = ROOT / "var" / "sdk"


@dataclass(frozen=True)
class Sdks:
    """Where the SDKs are: a Python that can import the one, and the folder of the other."""

    python: Path
    node_modules: Path


def install() -> Sdks:
    """Make sure that both are there as pinned. Errors: SystemExit when Node.js is missing or an
    installation fails."""
    if not shutil.which("node") or not shutil.which("npm"):
        sys.exit("This needs Node.js 18 or newer with npm: apt-get install nodejs npm")
    return Sdks(_install_python(INSTALLED / "python"), _install_node(INSTALLED / "node"))


def _install_python(folder: Path) -> Path:
    python, lock = folder / "bin" / "python", HERE / "requirements.txt"
    if not _is_current(folder, lock):
        _run([sys.executable, "-m", "venv", "--clear", str(folder)])
        options = ["--quiet", "--disable-pip-version-check", "--require-hashes"]
        _run([str(python), "-m", "pip", "install", *options, "-r", str(lock)])
        _note(folder, lock)
    return python


def _install_node(folder: Path) -> Path:
    lock = HERE / "package-lock.json"
    if not _is_current(folder, lock):
        folder.mkdir(parents=True, exist_ok=True)
        for file in (HERE / "package.json", lock):
            shutil.copy(file, folder)
        options = ["--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
        _run(["npm", "ci", *options, "--prefix", str(folder)])
        _note(folder, lock)
    return folder / "node_modules"


def _is_current(folder: Path, lock: Path) -> bool:
    noted = folder / ".installed"
    return noted.is_file() and noted.read_bytes() == lock.read_bytes()


def _note(folder: Path, lock: Path) -> None:
    shutil.copy(lock, folder / ".installed")


def _run(command: list[str]) -> None:
    if subprocess.run(command, cwd=ROOT).returncode:
        sys.exit(f"This failed: {' '.join(command)}")
