from __future__ import annotations

import json
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError
from django.db.models import Q

from webhooks.handlers import effect_of
from webhooks.models import EventQuerySet, GoHighLevelWebhook
from webhooks.processing import replay

# The column, and how it is compared.
FILTERS = {
    "type": "type",
    "status": "status",
    "account": "",
    "since": "received_at__gte",
    "until": "received_at__lt",
    "id": "",
}
NO_TYPE = "(no type)"


class Command(BaseCommand):
    help = (
        "Process stored events once more. Say which ones: --type, --status, --account, --since, "
        "--until, --id; together they narrow. "
        "Exit status: 0 all processed, 1 some failed, 2 nothing chosen or an unknown id."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        statuses = GoHighLevelWebhook.STATUSES
        parser.add_argument("--type", help="Only events of this type, e.g. INSTALL.")
        parser.add_argument("--status", choices=statuses, help="Only events in this status.")
        parser.add_argument("--account", help="Only of this sub-account or agency: HighLevel's id.")
        parser.add_argument(
            "--since",
            type=_moment,
            help="Only those that came then or later, UTC: 2026-11-28T14:00.",
        )
        parser.add_argument("--until", type=_moment, help="Only those that came before.")
        parser.add_argument(
            "--id", nargs="+", type=UUID, help="Only these: ids, or HighLevel's webhookIds."
        )
        parser.add_argument("--dry-run", action="store_true", help="Say what would be processed.")
        parser.add_argument("--json", action="store_true", help="Print one JSON object.")

    def handle(self, *args: Any, dry_run: bool, **options: Any) -> None:
        events = _chosen(options)
        as_json: bool = options["json"]
        if dry_run:
            self._say_what(events, as_json)
            return
        counted = replay(events, self._progress(events))
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

    def _progress(self, events: EventQuerySet) -> Callable[[int], None] | None:
        """What says to somebody who watches how far it is."""
        if not self.stderr.isatty():
            return None
        total = events.count()
        return lambda done: self.stderr.write(f"{done:,} of {total:,}")

    def _say_what(self, events: EventQuerySet, as_json: bool) -> None:
        chosen = list(
            events.order_by("occurred_at").values_list("pk", "type", "status", "occurred_at")
        )
        kinds = Counter(kind for _pk, kind, *_rest in chosen).most_common()
        if as_json:
            told = {
                "dry_run": True,
                "events": len(chosen),
                "ids": [str(pk) for pk, *_rest in chosen],
                "types": [
                    {"type": kind, "events": n, "effect": effect_of(kind)} for kind, n in kinds
                ],
            }
            self.stdout.write(json.dumps(told))
            return
        for pk, kind, status, at in chosen:
            self.stdout.write(
                f"would process {pk} {kind or NO_TYPE} {at:%Y-%m-%d %H:%M:%S} {status}"
            )
        for kind, n in kinds:
            self.stdout.write(f"{n} {kind or NO_TYPE}: {effect_of(kind)}")
        self.stdout.write(f"events {len(chosen)}")


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _chosen(options: dict[str, Any]) -> EventQuerySet:
    """Return the events that all given filters let through. Errors: CommandError 2."""
    given = {name: options[name] for name in FILTERS if options[name] is not None}
    if not given:
        names = ", ".join(f"--{name}" for name in FILTERS)
        raise CommandError(f"Say which events: {names}.", returncode=2)
    events = _by_ids(given.pop("id")) if "id" in given else GoHighLevelWebhook.objects.all()
    if "account" in given:
        events = events.of_account(given.pop("account"))
    return events.filter(**{FILTERS[name]: value for name, value in given.items()})


def _by_ids(ids: list[UUID]) -> EventQuerySet:
    names = {str(pk) for pk in ids}
    events = GoHighLevelWebhook.objects.filter(Q(pk__in=ids) | Q(webhook_id__in=names))
    known = {str(name) for pair in events.values_list("pk", "webhook_id") for name in pair}
    if unknown := sorted(names - known):
        raise CommandError(f"There is no event {', '.join(unknown)}.", returncode=2)
    return events


def _in_words(numbers: dict[str, int]) -> str:
    return ", ".join(f"{name} {value}" for name, value in numbers.items())
