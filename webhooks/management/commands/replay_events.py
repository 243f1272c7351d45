from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError
from django.db.models import Q

from webhooks.models import EventQuerySet, GoHighLevelWebhook
from webhooks.processing import replay


class Command(BaseCommand):
    help = (
        "Process stored events once more. Say which ones: --type, --status, --id. "
        "Exit status: 0 all processed, 1 some failed, 2 nothing chosen or an unknown id."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        statuses = GoHighLevelWebhook.STATUSES
        parser.add_argument("--type", help="Only events of this type, e.g. INSTALL.")
        parser.add_argument("--status", choices=statuses, help="Only events in this status.")
        parser.add_argument(
            "--id", nargs="+", type=UUID, help="Only these: ids, or HighLevel's webhookIds."
        )
        parser.add_argument("--dry-run", action="store_true", help="Say what would be processed.")
        parser.add_argument("--json", action="store_true", help="Print one JSON object.")

    def handle(self, *args: Any, dry_run: bool, **options: Any) -> None:
        events = _chosen(options["type"], options["status"], options["id"])
        as_json: bool = options["json"]
        if dry_run:
            self._say_what(events, as_json)
            return
        counted = replay(events)
        failed = counted[GoHighLevelWebhook.PENDING] + counted[GoHighLevelWebhook.PARKED]
        numbers = {
            "events": counted.total(),
            "processed": counted[GoHighLevelWebhook.PROCESSED],
            "ignored": counted[GoHighLevelWebhook.IGNORED],
            "failed": failed,
        }
        self.stdout.write(json.dumps(numbers) if as_json else _in_words(numbers))
        if failed:
            raise CommandError(f"{failed} failed; they are tried again.", returncode=1)

    def _say_what(self, events: EventQuerySet, as_json: bool) -> None:
        chosen = events.order_by("occurred_at").values_list("pk", "type", "status", "occurred_at")
        if as_json:
            ids = [str(pk) for pk, *_rest in chosen]
            self.stdout.write(json.dumps({"dry_run": True, "events": len(ids), "ids": ids}))
            return
        for pk, kind, status, at in chosen:
            self.stdout.write(
                f"would process {pk} {kind or '(no type)'} {at:%Y-%m-%d %H:%M:%S} {status}"
            )
        self.stdout.write(f"events {len(chosen)}")


def _chosen(kind: str | None, status: str | None, ids: list[UUID] | None) -> EventQuerySet:
    """Return the events that all given filters let through. Errors: CommandError 2."""
    if kind is None and status is None and ids is None:
        raise CommandError("Say which events: --type, --status or --id.", returncode=2)
    events = GoHighLevelWebhook.objects.all()
    if ids is not None:
        events = _by_ids(ids)
    if kind is not None:
        events = events.filter(type=kind)
    if status is not None:
        events = events.filter(status=status)
    return events


def _by_ids(ids: list[UUID]) -> EventQuerySet:
    names = {str(pk) for pk in ids}
    events = GoHighLevelWebhook.objects.filter(Q(pk__in=ids) | Q(webhook_id__in=names))
    known = {str(name) for pair in events.values_list("pk", "webhook_id") for name in pair}
    if unknown := sorted(names - known):
        raise CommandError(f"There is no event {', '.join(unknown)}.", returncode=2)
    return events


def _in_words(numbers: dict[str, int]) -> str:
    return ", ".join(f"{name} {value}" for name, value in numbers.items())
