from __future__ import annotations

import uuid
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from access.keys import create_api_key
from access.models import Scope


class Command(BaseCommand):
    help = "Create an API key and print it. It is shown this once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="Which back end will use it, e.g. billing.")
        parser.add_argument("--scope", action="append", required=True, choices=Scope.values)
        parser.add_argument(
            "--install", action="append", default=[], type=uuid.UUID, help="Limit to this install."
        )

    def handle(
        self, *args: Any, name: str, scope: list[str], install: list[uuid.UUID], **_: Any
    ) -> None:
        _key, text = create_api_key(name, scopes=scope, installs=map(str, install))
        self.stdout.write(text)
