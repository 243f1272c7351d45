from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from integrations import schedules


class Command(BaseCommand):
    help = "Add, show or remove the regular schedules: hourly, daily 02:00, Sundays 03:00 (UTC)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("action", choices=["add", "show", "remove"])

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        getattr(self, f"_{action}")()

    def _add(self) -> None:
        added = schedules.add_regular()
        for name in added:
            self.stdout.write(f"added    {name}")
        if not added:
            self.stdout.write("all are there already")

    def _show(self) -> None:
        for schedule in schedules.regular():
            self.stdout.write(f"{schedule.next_run:%Y-%m-%d %H:%M} UTC  {schedule.name}")
        if not schedules.regular().exists():
            self.stdout.write("none: add them with `python manage.py crontab add`")

    def _remove(self) -> None:
        self.stdout.write(f"removed {schedules.remove_regular()}")
