"""`make bench`: the benchmarks on SQLite in one table, var/bench.md. About a quarter of an hour.

python -m bench [NAME …] [--docs]

Each runs in a process of its own. --docs also puts what was run into the table of
docs/performance.md. Not among them: hosts and connections, which want PostgreSQL, and
get_token_growth, which takes long to fill.
"""

from __future__ import annotations

import argparse
import os
import platform
import sqlite3
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from bench.results import FILE, Figure, collected

ROOT = Path(__file__).resolve().parent.parent
TABLE, DOCS = ROOT / "var" / "bench.md", ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- make bench ARGS=--docs -->\n", "<!-- end of make bench -->\n"
# Smaller than each by itself would take them, and in one go.
BENCHES = {
    "get_token": ["--rounds", "11"],
    "ingest": ["--rounds", "11"],
    "ingest_latency": ["--seconds", "10"],
    "ingest_stock": ["--sizes", "20000", "100000"],
    "renewals": ["--installs", "800"],
    "window": ["--renewals", "200"],
    "due": ["--sizes", "1000", "100000"],
    "pages": ["--sizes", "1000", "100000"],
    "metrics": ["--sizes", "1000", "100000"],
    "idle": [],
    "tabs": [],
    "reload": [],
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"Of {', '.join(BENCHES)}.")
    parser.add_argument("--docs", action="store_true")
    given = parser.parse_args()
    if unknown := set(given.names) - set(BENCHES):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    names = given.names or list(BENCHES)
    figures, failed = _run(names)
    table = _table(figures)
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text(table)
    print(f"\n{table}\nWritten to {TABLE.relative_to(ROOT)}.")
    if given.docs:
        text = DOCS.read_text()
        DOCS.write_text(updated(text, table))
    if failed:
        print(f"Below the goal, or ended with an error: {', '.join(failed)}")
    return 1 if failed else 0


def _run(names: list[str]) -> tuple[list[Figure], list[str]]:
    """Return what was measured, and the names of those that failed."""
    failed = []
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as file:
        for name in names:
            print(f"\n=== {name}", flush=True)
            command = [sys.executable, "-m", f"bench.{name}", *BENCHES[name]]
            if subprocess.run(command, cwd=ROOT, env=os.environ | {FILE: file.name}).returncode:
                failed.append(name)
        return collected(Path(file.name)), failed


def _table(figures: list[Figure]) -> str:
    day = time.strftime("%Y-%m-%d", time.gmtime())
    lines = [
        f"Last run on {day}: {_machine()}.",
        "",
        "| | product | beside it | | goal | day |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| `{each.bench}` | {each.product} | {each.beside} | {each.kind} {each.figure:.2f} "
        f"| {each.goal:g}, {'reached' if each.is_reached else '**missed**'} | {day} |"
        for each in figures
    ]
    return "\n".join(lines) + "\n"


def _machine() -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in ("Django", "gunicorn"))
    return (
        f"{_processor()}, {os.cpu_count()} cores, load {os.getloadavg()[2]:.1f}, "
        f"Python {platform.python_version()}, {versions}, SQLite {sqlite3.sqlite_version}"
    )


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    for line in information.read_text().splitlines() if information.exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def updated(text: str, table: str) -> str:
    """Return the text of the docs with the table in it; what was not run keeps its old rows."""
    before, rest = text.split(BEGIN)
    old, after = rest.split(END)
    head = table.partition("| `")[0]
    rows = _rows_by_name(old) | _rows_by_name(table)
    in_order = [row for name in BENCHES for row in rows.get(name, [])]
    return before + BEGIN + head + "".join(in_order) + END + after


def _rows_by_name(table: str) -> dict[str, list[str]]:
    rows: dict[str, list[str]] = {}
    for line in table.splitlines(keepends=True):
        if line.startswith("| `"):
            rows.setdefault(line.split("`")[1], []).append(line)
    return rows


if __name__ == "__main__":
    sys.exit(main())
