from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from operations.support import write_bundle


class Command(BaseCommand):
    help = "Write an archive for whoever helps you, with every secret taken out."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", nargs="?", type=Path, help="Where to; a new .tar.gz.")
        parser.add_argument("--log", type=Path, help="A log file whose end goes in.")
        parser.add_argument(
            "--offline", action="store_true", help="Do not ask HighLevel whether it accepts us."
        )

    def handle(self, *args: Any, file: Path | None, log: Path | None, **options: Any) -> None:
        target = file or Path(f"whatreach-support-{timezone.now():%Y%m%d-%H%M%S}.tar.gz")
        if log is not None and not log.is_file():
            raise CommandError(f"{log} is not a file.", returncode=2)
        try:
            names = write_bundle(target, log=log, ask_highlevel=not options["offline"])
        except FileExistsError:
            raise CommandError(f"{target} exists already.", returncode=2) from None
        except OSError as error:
            raise CommandError(f"{target} cannot be written: {error.strerror}.") from None
        self.stdout.write(f"{target}: {', '.join(names)}")
