from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand

from config import __version__
from operations import readiness
from operations.readiness import Check, Verdict

_MARKS = {Verdict.OK: "ok  ", Verdict.WARN: "warn", Verdict.RED: "RED "}


class Command(BaseCommand):
    help = "Check everything that WhatReach needs. Exit status: 0 nothing is red, 1 something is."
    # What keeps Django's own checks from passing is among the things to tell.
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="Print one JSON object.")
        parser.add_argument(
            "--offline",
            action="store_true",
            help="Do not ask HighLevel whether it accepts the secret.",
        )

    def handle(self, *args: Any, offline: bool, **options: Any) -> None:
        found = []
        if not options["json"]:
            self.stdout.write(f"WhatReach {__version__}")
        for check in readiness.each(ask_highlevel=not offline):
            found.append(check)
            if not options["json"]:
                self._tell(check)
        counts = {verdict.value: _count(found, verdict) for verdict in Verdict}
        if options["json"]:
            checks = [asdict(check) for check in found]
            verdict = {"version": __version__, "ready": not counts["red"], **counts}
            self.stdout.write(json.dumps({**verdict, "checks": checks}))
        else:
            self.stdout.write(", ".join(f"{name} {number}" for name, number in counts.items()))
        if counts["red"]:
            sys.exit(1)

    def _tell(self, check: Check) -> None:
        self.stdout.write(f"{_MARKS[check.verdict]} {check.title}: {check.sentence}")
        if check.fix:
            self.stdout.write(f"     → {check.fix}")


def _count(found: list[Check], verdict: Verdict) -> int:
    return sum(check.verdict is verdict for check in found)
