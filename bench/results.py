"""Figures for the common table: each benchmark notes its own, `python -m bench` collects them."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = "BENCH_RESULTS"


@dataclass(frozen=True)
class Figure:
    """One line. `kind` is what `figure` is: a ratio to the floor (at least the goal), or growth,
    a time or a share (at most the goal). `product` and `beside` are in words."""

    bench: str
    product: str
    beside: str
    kind: str
    figure: float
    goal: float

    @property
    def is_reached(self) -> bool:
        return self.figure >= self.goal if self.kind == "ratio" else self.figure <= self.goal


def note(figure: Figure) -> None:
    """Write it down if somebody collects figures."""
    if file := os.environ.get(FILE):
        with open(file, "a") as lines:
            lines.write(json.dumps(asdict(figure)) + "\n")


def collected(file: Path) -> list[Figure]:
    return [Figure(**json.loads(line)) for line in file.read_text().splitlines()]
