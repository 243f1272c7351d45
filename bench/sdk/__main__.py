"""Run the comparison and print its tables as docs/comparison.md has them: python -m bench.sdk"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import TypeVar

from bench.sdk import scenarios, setup
from bench.sdk.processes import Stage, make_database
from bench.sdk.sides import (
    JavaScriptMemory,
    JavaScriptShared,
    PythonMemory,
    PythonShared,
    Side,
    WhatReach,
)

T = TypeVar("T")

ALL = (WhatReach, PythonMemory, PythonShared, JavaScriptMemory, JavaScriptShared)
# One process has one memory: shared storage would change nothing.
SINGLE = (WhatReach, PythonMemory, JavaScriptMemory)
GRACES_S = (0, 30)
CASINGS = ("snake", "camel-v3", "mirror")


class Comparison:
    """Runs cases one after the other, each in a folder of its own with fresh processes."""

    def __init__(self, folder: Path, rounds: int) -> None:
        self.rounds = rounds
        self._folder = folder
        self._numbers = count(1)
        self._sdks = setup.install()
        WhatReach.database = folder / "template.sqlite3"
        WhatReach.key = make_database(WhatReach.database)

    def on_stage(self, what: str, case: Callable[[Stage], T]) -> T:
        print(f"… {what}", file=sys.stderr, flush=True)
        folder = self._folder / f"{next(self._numbers):02}"
        with ExitStack() as stack:
            return case(Stage(stack, folder, self._sdks))

    def run(self, side: type[Side], what: str, case: Callable[[Side], T]) -> T:
        return self.on_stage(f"{what}: {side.name}", lambda stage: case(side(stage)))

    def race(self) -> None:
        rows = []
        for grace_s in GRACES_S:
            for side in ALL:
                results = [
                    self.run(side, f"race, grace {grace_s} s", _race(grace_s))
                    for _ in range(self.rounds)
                ]
                rows.append([side.name, f"{grace_s} s", *_race_cells(results)])
        head = ["", "grace", "most uses of one refresh token", "uses of all", "callers served"]
        table(
            f"1. {sum(scenarios.CALLERS)} callers in {len(scenarios.CALLERS)} processes",
            [*head, "processes served a day later"],
            rows,
        )

    def renewals(self) -> None:
        rows = []
        for side in SINGLE:
            cells = []
            for casing in CASINGS:
                outcomes = self.run(side, f"three renewals, {casing}", _renewals(casing))
                cells.append(f"{outcomes.count('ok')} of {len(outcomes)}{_why(outcomes)}")
            rows.append([side.name, *cells])
        table("2. Three renewals in a row, by names in the answer", ["", *CASINGS], rows)

    def lost_answer(self) -> None:
        cases = [(grace_s, by_agency) for by_agency in (False, True) for grace_s in GRACES_S]
        head = [f"{'with its agency' if agency else 'alone'}, grace {g} s" for g, agency in cases]
        rows = [
            [
                side.name,
                *(
                    _each(self.run(side, f"lost answer, {name}", _lost_answer(*case)))
                    for name, case in zip(head, cases, strict=True)
                ),
            ]
            for side in SINGLE
        ]
        table("3. The answer is lost: this call, the next call", ["", *head], rows)

    def paused(self) -> None:
        rows = []
        for side in SINGLE:
            seen = self.run(side, "paused", scenarios.paused)
            rows.append(
                [
                    side.name,
                    _each(seen.while_paused),
                    str(seen.presented),
                    seen.resumed,
                    seen.asked_for or "–",
                    seen.tried_again,
                ]
            )
        head = ["", "two calls while paused", "uses of refresh tokens", "first call after resume"]
        table(
            "4. The sub-account is paused and resumed",
            [*head, "call after a renewal was asked for", "tried again"],
            rows,
        )

    def uninstall(self) -> None:
        rows = []
        for side in SINGLE:
            left, calls, uses = self.run(side, "uninstall", scenarios.agency_uninstalls)
            rows.append([side.name, left, _each(calls), str(uses)])
        head = ["", "after the event", "two calls then", "uses of refresh tokens by them"]
        table("5. The agency uninstalls", head, rows)

    def fed(self) -> None:
        outcomes = self.on_stage("fed by WhatReach", scenarios.fed_by_whatreach)
        rows = [[name, outcome] for name, outcome in outcomes.items()]
        table("6. With a token from WhatReach", ["", "GET /locations/{id}"], rows)


def versions() -> str:
    node = subprocess.run(["node", "--version"], stdout=subprocess.PIPE, text=True, check=True)
    sdks = json.loads((setup.HERE / "package.json").read_text())["dependencies"]
    pins = [f"{name} {version}" for name, version in sdks.items()]
    pins += [line for line in (setup.HERE / "requirements.in").read_text().split() if "==" in line]
    python = f"Python {platform.python_version()}"
    return ", ".join([*pins, python, f"Node.js {node.stdout.strip()}", f"{os.cpu_count()} cores"])


def table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    print(f"\n## {title}\n")
    for row in (head, ["---"] * len(head), *rows):
        print(f"| {' | '.join(row)} |")
    sys.stdout.flush()


def _race(grace_s: int) -> Callable[[Side], scenarios.Race]:
    return lambda side: scenarios.race(side, grace_s=grace_s)


def _renewals(casing: str) -> Callable[[Side], list[str]]:
    return lambda side: scenarios.renewals(side, casing=casing)


def _lost_answer(grace_s: int, by_agency: bool) -> Callable[[Side], list[str]]:
    return lambda side: scenarios.lost_answer(side, grace_s=grace_s, by_agency=by_agency)


def _race_cells(results: Sequence[scenarios.Race]) -> list[str]:
    for error, number in sum((result.errors for result in results), start=_NOTHING).items():
        print(f"  {number} x {error}", file=sys.stderr)
    callers, processes = sum(scenarios.CALLERS), len(scenarios.CALLERS)
    return [
        _range(result.most_uses for result in results),
        _range(result.presented for result in results),
        f"{_range(result.served for result in results)} of {callers}",
        f"{_range(result.a_day_later for result in results)} of {processes}",
    ]


_NOTHING = scenarios.Counter[str]()


def _range(numbers: Iterable[int]) -> str:
    low, *_, high = sorted([*numbers] * 2)
    return str(low) if low == high else f"{low} to {high}"


def _each(outcomes: Sequence[str]) -> str:
    """The outcomes in order; those that are all the same, once."""
    return "; ".join(outcomes) if len(set(outcomes)) > 1 else f"each {outcomes[0]}"


def _why(outcomes: Iterable[str]) -> str:
    errors = sorted(set(outcomes) - {"ok"})
    return f" ({'; '.join(errors)})" if errors else ""


def main() -> None:
    names = ["race", "renewals", "lost_answer", "paused", "uninstall", "fed"]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", nargs="*", choices=[*names, []], help="Default: all.")
    parser.add_argument("--rounds", type=int, default=3, help="How often each race is run.")
    arguments = parser.parse_args()
    # Kept until the next run, for the logs.
    folder = setup.INSTALLED / "run"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    comparison = Comparison(folder, arguments.rounds)
    print(versions())
    for name in arguments.scenario or names:
        getattr(comparison, name)()


if __name__ == "__main__":
    main()
