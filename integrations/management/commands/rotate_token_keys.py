from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import InterfaceError, OperationalError

from access.audit import record_system
from integrations import database_faults, rotation
from integrations.crypto import keyring
from integrations.models import KeyRotation


class Command(BaseCommand):
    help = (
        "Seal all tokens with the first key of TOKEN_ENCRYPTION_KEYS, while everything runs. "
        "Exit status: 0 nothing hangs on an old key any more, 1 something does, or on a lost one."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--check", action="store_true", help="Only say how many rows are left.")
        parser.add_argument("--json", action="store_true", help="Print one JSON object.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self._rotate(**options)
        except (OperationalError, InterfaceError) as error:
            fault = database_faults.in_words(error)
            raise CommandError(f"Not all rows were looked at: {fault}.", returncode=1) from None

    def _rotate(self, *, check: bool, **options: Any) -> None:
        ring = keyring()
        found: KeyRotation | None = None
        if ring.old_ids and not check:
            found = rotation.start(by="rotate_token_keys")
            record_system("keys.rotate", by="rotate_token_keys", key_id=ring.present_id)
            rotation.run(found)
            found.refresh_from_db()
        left, lost = rotation.rows_left(), rotation.rows_lost()
        if options["json"]:
            self.stdout.write(json.dumps(_as_dict(left, lost, ring.present_id, found)))
        else:
            self._tell(left, ring.present_id, found)
            for key_id, rows in lost.items():
                self.stdout.write(
                    f"{rows} rows are sealed with a key {key_id} that is not here: put it back "
                    "into TOKEN_ENCRYPTION_KEYS, or what they hold is lost."
                )
        if left.total or lost:
            sys.exit(1)

    def _tell(self, left: rotation.Left, present: str, found: KeyRotation | None) -> None:
        if not left.by_key:
            self.stdout.write(
                f"There is one key, {present}. To rotate, put a new one in front of it in "
                "TOKEN_ENCRYPTION_KEYS and restart everything first."
            )
        if found is not None and found.unreadable:
            self.stdout.write(
                f"{found.unreadable} rows cannot be opened with any key; they hang on none. "
                "Their accounts are renewed, or shown as Token damaged."
            )
        for key_id, rows in left.by_key.items():
            if rows:
                self.stdout.write(
                    f"{rows} rows on the old key {key_id}: do not remove it. If this stays after "
                    "a rotation, a process that was not restarted still seals with it."
                )
            else:
                self.stdout.write(f"0 rows on the old key {key_id}: safe to remove.")


def _as_dict(
    left: rotation.Left, lost: dict[str, int], present: str, found: KeyRotation | None
) -> dict[str, Any]:
    return {
        "key_id": present,
        "left": dict(left.by_key),
        "lost": lost,
        "safe_to_remove": [key_id for key_id, rows in left.by_key.items() if not rows],
        "unreadable": found.unreadable if found else 0,
    }
