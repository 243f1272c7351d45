from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from operations.importing import Importer, Report, Result
from operations.old_data import Unreadable, opened


class Command(BaseCommand):
    help = (
        "Take over installs from the earlier WhatReach's database (a SQLite file, mysql://… or "
        "postgres://…), a CSV or JSON file, or the sessions of HighLevel's SDKs. "
        "Exit status: 0 done, 1 some rows failed, 2 nothing could be read."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", help="A file, or the URL of a database.")
        parser.add_argument("--dry-run", action="store_true", help="Say what would be done.")
        parser.add_argument(
            "--verify", action="store_true", help="Ask HighLevel about each access token."
        )
        parser.add_argument(
            "--fernet-key-file", type=Path, help="Holds the key of tokens that are encrypted there."
        )
        parser.add_argument("--json", action="store_true", help="Print one JSON object.")

    def handle(self, *args: Any, file: str, dry_run: bool, verify: bool, **options: Any) -> None:
        as_json: bool = options["json"]
        reports: list[Report] = []
        importer = _importer(options["fernet_key_file"], dry_run=dry_run, verify=verify)
        try:
            with opened(file) as (installs, events):
                for report in importer.installs(installs):
                    reports.append(report)
                    if not as_json:
                        self.stdout.write(_line(report))
                kept_events = importer.events(events)
        except Unreadable as error:
            raise CommandError(str(error), returncode=2) from None
        counts = Counter(report.result.value for report in reports)
        numbers = {result.value: counts[result.value] for result in Result}
        numbers["events"] = kept_events
        if as_json:
            rows = [asdict(report) for report in reports]
            self.stdout.write(json.dumps({"dry_run": dry_run, **numbers, "rows": rows}))
        else:
            self.stdout.write(", ".join(f"{name} {number}" for name, number in numbers.items()))
        if numbers["failed"]:
            sys.exit(1)


def _importer(key_file: Path | None, *, dry_run: bool, verify: bool) -> Importer:
    try:
        key = key_file.read_text().strip() if key_file else ""
        return Importer(dry_run=dry_run, verify=verify, fernet_key=key)
    except (OSError, ValueError):
        raise CommandError(f"{key_file} holds no Fernet key.", returncode=2) from None


def _line(report: Report) -> str:
    account = report.account or "unknown account"
    parts = [f"row {report.row}: {report.result.value} {account}", report.id, report.note]
    return " · ".join(part for part in parts if part)
