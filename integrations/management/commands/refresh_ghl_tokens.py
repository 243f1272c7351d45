from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand
from django.utils import timezone

from integrations import bulk
from integrations.models import GoHighLevelIntegration
from integrations.refresh import RefreshResult

BATCH = 100


class Command(BaseCommand):
    help = "Renew all tokens that are due. Exit status: 0 all renewed, 1 some failed."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="Say what would be renewed.")
        parser.add_argument("--force", action="store_true", help="Renew all, due or not.")
        parser.add_argument("--json", action="store_true", help="Print one JSON object.")

    def handle(self, *args: Any, dry_run: bool, force: bool, **options: Any) -> None:
        rows = GoHighLevelIntegration.objects.renewable().without_secrets()
        if not force:
            rows = rows.needing_refresh(timezone.now())
        self.as_json: bool = options["json"]
        chosen = list(rows.order_by("renew_at").values_list("pk", "name", "resource_id"))
        names = {pk: name or resource_id for pk, name, resource_id in chosen}
        if dry_run:
            self._report(dry_run=True, due=len(names), installs=[str(pk) for pk in names])
            self._say(*(f"would renew {name}" for name in names.values()))
            return
        counted = bulk.count_outcomes(result for _pk, result in self._renew(names))
        self._report(dry_run=False, due=len(names), **counted)
        if counted["failed"]:
            sys.exit(1)

    def _renew(self, names: dict[UUID, str]) -> Iterator[tuple[UUID, RefreshResult]]:
        ids = list(names)
        for start in range(0, len(ids), BATCH):
            for pk, result in bulk.renew_many(ids[start : start + BATCH], trigger="command"):
                if result is None:
                    continue
                self._say(f"{result.outcome.value:8} {names[pk]} {result.cause}".rstrip())
                yield pk, result

    def _report(self, **numbers: Any) -> None:
        if self.as_json:
            self.stdout.write(json.dumps(numbers))
            return
        words = (f"{name} {value}" for name, value in numbers.items() if type(value) is int)
        self.stdout.write(", ".join(words))

    def _say(self, *lines: str) -> None:
        if not self.as_json:
            for line in lines:
                self.stdout.write(line)
