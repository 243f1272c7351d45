from __future__ import annotations

import uuid
from argparse import ArgumentParser, ArgumentTypeError
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand
from django.db import transaction
from django.utils import timezone

from access.audit import record_system
from access.keys import create_api_key
from access.models import ApiKey, Scope


class Command(BaseCommand):
    help = "Create an API key and print it. It is shown this once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", type=key_name, help="Which back end will use it, e.g. billing.")
        parser.add_argument("--scope", action="append", required=True, choices=Scope.values)
        parser.add_argument(
            "--install", action="append", default=[], type=uuid.UUID, help="Limit to this install."
        )
        parser.add_argument(
            "--agency", action="append", default=[], help="Limit to this agency's HighLevel id."
        )
        parser.add_argument(
            "--expires",
            type=moment,
            metavar="WHEN",
            help="The key's end: a date (UTC), as 2027-01-31, or days from now, as 90d.",
        )

    def handle(
        self,
        *args: Any,
        name: str,
        scope: list[str],
        install: list[uuid.UUID],
        agency: list[str],
        expires: datetime | None,
        **_: Any,
    ) -> None:
        with transaction.atomic():
            key, text = create_api_key(
                name,
                scopes=scope,
                installs=map(str, install),
                agencies=agency,
                expires_at=expires,
                created_by="create_api_key",
            )
            limits = {"agencies": key.agencies, "installs": key.installs}
            record_system(
                "key.create", by="create_api_key", target=key, scopes=key.scopes, limits=limits
            )
        self.stdout.write(text)


def key_name(text: str) -> str:
    """Errors: ArgumentTypeError for an empty name, or one that is too long to be kept."""
    longest = ApiKey._meta.get_field("name").max_length or 0
    if not 0 < len(text.strip()) <= longest:
        raise ArgumentTypeError(f"a name has 1 to {longest} characters")
    return text.strip()


def moment(text: str) -> datetime:
    """Read "90d" or "2027-01-31" (its beginning, UTC). Errors: ArgumentTypeError for the past."""
    now = timezone.now()
    try:
        if text.endswith("d"):
            read = now + timedelta(days=int(text.removesuffix("d")))
        else:
            read = datetime.fromisoformat(text)
            read = read if read.tzinfo else read.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise ArgumentTypeError(f"{text!r} is neither a date nor days, as 90d") from None
    if read <= now:
        raise ArgumentTypeError(f"{text} is over already")
    return read
