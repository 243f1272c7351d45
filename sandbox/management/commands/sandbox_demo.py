from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from sandbox.demo import Demo, DemoFailed


class Command(BaseCommand):
    help = "Fills a running app from a running sandbox: 3 agencies, 40 sub-accounts, some trouble."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--sandbox-url", default="http://127.0.0.1:8801")
        parser.add_argument("--app-url", default="http://127.0.0.1:8000")

    def handle(self, *args: object, **options: Any) -> None:
        try:
            result = Demo(options["sandbox_url"], options["app_url"]).fill()
        except DemoFailed as error:
            raise CommandError(str(error)) from None
        size = f"{result.agencies} agencies, {result.locations} sub-accounts"
        if result.was_filled:
            self.stdout.write(f"The demo is already filled: {size}.")
        else:
            self.stdout.write(f"The demo is filled: {size}; four of them are in trouble.")
