"""What a soak found, judged, as words and as a page with charts."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from bench.programs import Samples
from bench.soak.accounts import Found
from bench.soak.troubles import Troubles
from bench.soak.visitors import PAGE, Failure, Visitors

MAY_GROW = 0.10
# Imports, caches and connections fill up at first.
WARM_UP = 0.25
WIDTH, HEIGHT = 720, 160

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #8886; }
svg { width: 100%; height: auto; } polyline { fill: none; stroke: #2b7de9; stroke-width: 2; }
line { stroke: #d63939; stroke-dasharray: 3 3; } text { font-size: 11px; fill: currentColor; }
"""


@dataclass(frozen=True)
class Promise:
    what: str
    is_kept: bool
    found: str


@dataclass(frozen=True)
class Told:
    """`tables`: rows by heading; `charts`: points of (seconds, value) by heading; `marks`: when
    something large went wrong, in seconds."""

    title: str
    promises: list[Promise]
    tables: dict[str, dict[str, Any]]
    charts: dict[str, list[tuple[float, float]]]
    marks: list[float]


def judge(
    *,
    machine: str,
    plan: dict[str, Any],
    started_at: float,
    settled_s: float,
    samples: Samples,
    troubles: Troubles,
    visitors: Visitors,
    found: Found,
) -> Told:
    lost = found.installs - found.states.get("healthy", 0)
    surprises = [failure for failure in visitors.failures if not _is_announced(failure, troubles)]
    announced = Counter(f.what for f in visitors.failures if f not in surprises)
    web, worker = growth(samples.web_mb), growth(samples.worker_mb)
    return Told(
        title=f"Soak of {time.strftime('%Y-%m-%d %H:%M', time.gmtime(started_at))} UTC",
        promises=[
            Promise("No token is lost", lost == 0, f"{lost} of {found.installs}"),
            Promise("None is spent twice", found.spent_twice == 0, str(found.spent_twice)),
            Promise(
                "No dead one is handed out", visitors.dead_tokens == 0, str(visitors.dead_tokens)
            ),
            Promise(
                "No call fails without saying when to come back", not surprises, _few(surprises)
            ),
            Promise("The web server's memory stays", web <= MAY_GROW, f"{web:+.1%}"),
            Promise("The worker's memory stays", worker <= MAY_GROW, f"{worker:+.1%}"),
        ],
        tables={
            "Run": {"machine": machine, **plan, "settled after, s": round(settled_s)},
            "What went wrong": troubles.counts,
            "Renewals": found.renewals | {"repeated after a lost answer": found.repeats},
            "Answers": dict(visitors.answers) | {"slowest, s": round(visitors.slowest_s, 1)},
            "Announced failures": dict(announced),
            "Accounts in the end": found.states,
        },
        charts={
            "Memory of the web server, MB": list(zip(samples.at, samples.web_mb, strict=True)),
            "Memory of the worker, MB": list(zip(samples.at, samples.worker_mb, strict=True)),
        },
        marks=[at - started_at for at, _what in troubles.said],
    )


def growth(values: Sequence[float]) -> float:
    """From the first quarter after the warm-up to the last one, medians; 0.1 is 10 % more."""
    warm = values[int(len(values) * WARM_UP) :]
    quarter = max(1, len(warm) // 4)
    return statistics.median(warm[-quarter:]) / statistics.median(warm[:quarter]) - 1


def in_words(told: Told) -> str:
    lines = [told.title]
    lines += [
        f"  {'kept  ' if promise.is_kept else 'BROKEN'} {promise.what}: {promise.found}"
        for promise in told.promises
    ]
    for heading, rows in told.tables.items():
        lines.append(
            f"  {heading}: " + ", ".join(f"{name} {value}" for name, value in rows.items())
        )
    return "\n".join(lines)


def write(folder: Path, told: Told) -> Path:
    """Write the page and return its file."""
    promises = {
        f"{promise.what}: {'kept' if promise.is_kept else 'BROKEN'}": promise.found
        for promise in told.promises
    }
    parts = [f"<h1>{escape(told.title)}</h1>", _table(promises)]
    parts += [
        f"<h2>{escape(name)}</h2>{_chart(points, told.marks)}"
        for name, points in told.charts.items()
    ]
    parts += [f"<h2>{escape(name)}</h2>{_table(rows)}" for name, rows in told.tables.items()]
    file = folder / f"{told.title.replace(' ', '-').replace(':', '')}.html"
    head = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(told.title)}</title>'
    )
    file.write_text(f"{head}<style>{_STYLE}</style>{''.join(parts)}</html>")
    return file


def _is_announced(failure: Failure, troubles: Troubles) -> bool:
    """503 with Retry-After; that the database is away, which is all that a page says so, may only
    be said while it is."""
    if failure.status != 503 or not failure.is_told_when:
        return False
    is_database = failure.what in ("database_unavailable", PAGE)
    return not is_database or troubles.was_away(failure.began, failure.ended)


def _few(failures: Sequence[Failure]) -> str:
    kinds = Counter(f"{failure.status} {failure.what} {_door(failure)}" for failure in failures)
    return ", ".join(f"{number} × {kind}" for kind, number in kinds.most_common(8)) or "none"


def _door(failure: Failure) -> str:
    return "/".join(failure.path.split("/")[:3])


def _table(rows: dict[str, Any]) -> str:
    cells = "".join(
        f'<tr><th scope="row">{escape(str(name))}</th><td>{escape(str(value))}</td></tr>'
        for name, value in rows.items()
    )
    return f"<table>{cells}</table>"


def _chart(points: Sequence[tuple[float, float]], marks: Sequence[float]) -> str:
    """Values over time, from zero; a dashed line where something large went wrong."""
    end = max(points[-1][0], 1.0)
    top = max(value for _at, value in points) * 1.1
    line = " ".join(
        f"{at / end * WIDTH:.1f},{HEIGHT - value / top * HEIGHT:.1f}" for at, value in points
    )
    dashes = "".join(
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{HEIGHT}"/>'
        for x in (mark / end * WIDTH for mark in marks)
        if x <= WIDTH
    )
    label = f"{points[-1][1]:.0f} in the end"
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{dashes}'
        f'<polyline points="{line}"/><text x="4" y="12">{top:.0f}</text></svg>'
    )
