from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from access.audit import record_system
from integrations import rotation
from integrations.crypto import keyring
from integrations.models import KeyRotation


class Command(BaseCommand):
    help = (
        "Seal all tokens with the first key of TOKEN_ENCRYPTION_KEYS, while everything runs. "
        "Exit status: 0 nothing hangs on an old key any more, 1 something does."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--check", action="store_true", help="Only say how many rows are left.")
        parser.add_argument("--json", action="store_true", help="Print one JSON object.")

    def handle(self, *args: Any, check: bool, **options: Any) -> None:
        ring = keyring()
        found: KeyRotation | None = None
        if ring.old_ids and not check:
            found = rotation.start(by="rotate_token_keys")
            record_system("keys.rotate", by="rotate_token_keys", key_id=ring.present_id)
            rotation.run(found)
            found.refresh_from_db()
        left = rotation.rows_left()
        if options["json"]:
            self.stdout.write(json.dumps(_as_dict(left, ring.present_id, found)))
        else:
            self._tell(left, ring.present_id, found)
        if left.total:
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


def _as_dict(left: rotation.Left, present: str, found: KeyRotation | None) -> dict[str, Any]:
    return {
        "key_id": present,
        "left": dict(left.by_key),
        "safe_to_remove": [key_id for key_id, rows in left.by_key.items() if not rows],
        "unreadable": found.unreadable if found else 0,
    }
