from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from alerts import watchdog


class Command(BaseCommand):
    help = (
        "Look whether worker, scheduler and renewals stand still, and tell so without the queue. "
        "For cron or a systemd timer, each minute. Exit status: 0 all runs, 1 something does not."
    )
    # It must run, and tell, also when the database is away.
    requires_system_checks: list[str] = []
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="Print one JSON object.")

    def handle(self, *args: Any, **options: Any) -> None:
        report = watchdog.run(timezone.now())
        if options["json"]:
            self.stdout.write(json.dumps(asdict(report) | {"fine": report.is_fine}))
        else:
            for line in report.standing_still or ["All runs."]:
                self.stdout.write(line)
        if not report.is_fine:
            sys.exit(1)
