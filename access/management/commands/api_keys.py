from __future__ import annotations

import json
import uuid
from argparse import ArgumentParser
from datetime import datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.utils import timezone

from access.audit import record_system
from access.keys import change_api_key, disable_api_key, enable_api_key, lint, rotate_api_key
from access.management.commands.create_api_key import moment
from access.models import ApiKey, Scope

OVERLAP_HOURS = 24
NEVER = "never"


class Command(BaseCommand):
    help = "List API keys; change, rotate, disable or enable one. create_api_key makes them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        listing = actions.add_parser("list", help="All keys, without their secrets.")
        listing.add_argument("--json", action="store_true")
        rotating = actions.add_parser("rotate", help="Print a new secret for a key, this once.")
        rotating.add_argument(
            "--overlap",
            type=int,
            default=OVERLAP_HOURS,
            metavar="HOURS",
            help=f"The old secret works on for so long; 0: not at all. Default: {OVERLAP_HOURS}.",
        )
        changing = actions.add_parser("change", help="Change a key; what is not named stays.")
        changing.add_argument("--name")
        changing.add_argument("--scope", action="append", choices=Scope.values)
        changing.add_argument("--unlimited", action="store_true", help="Take its limits away.")
        changing.add_argument("--install", action="append", type=uuid.UUID, help="Limit to this.")
        changing.add_argument("--agency", action="append", help="Limit to this agency.")
        changing.add_argument(
            "--expires", type=_end, metavar="WHEN", help="As in create_api_key; or: never."
        )
        disabling = actions.add_parser("disable", help="Let a key open nothing.")
        enabling = actions.add_parser("enable", help="Undo disable.")
        for action in (rotating, changing, disabling, enabling):
            action.add_argument("key", help="The key's beginning, as wr_1a2b3c4d.")

    def handle(self, *args: Any, action: str, key: str = "", **options: Any) -> None:
        if action == "list":
            return self._list(as_json=options["json"])
        found = _find(key)
        details: dict[str, Any] = {}
        with transaction.atomic():
            if action == "rotate":
                self._rotate(found, options["overlap"])
            elif action == "change":
                details = _change(found, options)
            elif action == "disable":
                disable_api_key(found)
            else:
                enable_api_key(found)
            record_system(f"key.{action}", by="api_keys", target=found, **details)

    def _list(self, *, as_json: bool) -> None:
        now = timezone.now()
        rows = [_row(key, now) for key in ApiKey.objects.order_by("name")]
        if as_json:
            self.stdout.write(json.dumps({"keys": rows}, default=str))
            return
        for row in rows:
            line = f"{row['key']}  {row['state']:8}  {row['name']}  {' '.join(row['scopes'])}"
            self.stdout.write("\n    ".join([line, *row["doubts"]]))

    def _rotate(self, key: ApiKey, overlap_hours: int) -> None:
        if overlap_hours < 0:
            raise CommandError("--overlap is a number of hours, 0 or more", returncode=2)
        until = timezone.now() + timedelta(hours=overlap_hours) if overlap_hours else None
        self.stdout.write(rotate_api_key(key, old_works_until=until))


def _find(text: str) -> ApiKey:
    prefix = text.removeprefix("wr_").partition("_")[0]
    key = ApiKey.objects.filter(prefix=prefix).first()
    if key is None:
        raise CommandError("There is no such key: `api_keys list` has them all.", returncode=2)
    return key


def _change(key: ApiKey, options: dict[str, Any]) -> dict[str, Any]:
    """Return what is different. Errors: CommandError when nothing was to be changed."""
    given = {name: options[name] for name in ("name", "scope", "install", "agency", "expires")}
    if not options["unlimited"] and not any(given.values()):
        raise CommandError("Say what is to change: --name, --scope, --expires, …", returncode=2)
    kept = ([], []) if options["unlimited"] else (key.installs, key.agencies)
    expires = given["expires"] or key.expires_at
    return change_api_key(
        key,
        name=given["name"] or key.name,
        scopes=given["scope"] or key.scopes,
        installs=map(str, given["install"] or kept[0]),
        agencies=given["agency"] or kept[1],
        expires_at=None if expires == NEVER else expires,
    )


def _end(text: str) -> datetime | str:
    return NEVER if text == NEVER else moment(text)


def _row(key: ApiKey, now: datetime) -> dict[str, Any]:
    state = "disabled" if key.disabled_at else "works" if key.is_usable(now) else "expired"
    return {
        "key": f"wr_{key.prefix}",
        "name": key.name,
        "state": state,
        "scopes": key.scopes,
        "installs": key.installs,
        "agencies": key.agencies,
        "expires_at": key.expires_at,
        "last_used_at": key.last_used_at,
        "last_used_address": key.last_used_address,
        "doubts": lint(key, now),
    }
