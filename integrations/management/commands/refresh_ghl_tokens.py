from __future__ import annotations

import json
import logging
import signal
import sys
from argparse import ArgumentParser
from threading import Event
from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from integrations import bulk
from integrations.management.app import require_app
from integrations.models import GoHighLevelIntegration, RenewalJob, RenewalJobItem

BAR_WIDTH = 40


class Command(BaseCommand):
    help = "Renew all tokens that are due. Exit status: 0 all renewed, 1 some failed."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="Say what would be renewed.")
        parser.add_argument(
            "--force", action="store_true", help="Renew all, due or not, in an outage too."
        )
        parser.add_argument("--json", action="store_true", help="Print one JSON object.")

    def handle(self, *args: Any, dry_run: bool, force: bool, **options: Any) -> None:
        self.as_json: bool = options["json"]
        rows = GoHighLevelIntegration.objects.renewable().without_secrets()
        if not force:
            rows = rows.needing_refresh(timezone.now())
        rows = rows.order_by("renew_at")
        if dry_run:
            self._show(list(rows))
            return
        require_app()
        if self.stderr.isatty():  # a line for each call would tear the bar
            logging.getLogger("integrations.highlevel").setLevel(logging.WARNING)
        job = bulk.create_job(rows.values_list("pk", flat=True).iterator(), caller="command")
        self._renew(job, even_in_outage=force)
        self._report(job)
        if job.progress().failed:
            sys.exit(1)

    def _show(self, rows: list[GoHighLevelIntegration]) -> None:
        if self.as_json:
            ids = [str(row.pk) for row in rows]
            self.stdout.write(json.dumps({"dry_run": True, "due": len(ids), "installs": ids}))
            return
        for row in rows:
            self.stdout.write(f"would renew {row}")
        self.stdout.write(f"due {len(rows)}")

    def _renew(self, job: RenewalJob, *, even_in_outage: bool) -> None:
        """Batch by batch. SIGTERM and Ctrl-C let the renewals in flight finish, then stop."""
        told_to_stop = Event()
        usual = {
            name: signal.signal(name, lambda *_: told_to_stop.set())
            for name in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            ids = job.items.order_by("pk").values_list("integration_id", flat=True)
            for done, batch in enumerate(bulk.batches(list(ids))):
                self._draw_bar(done * bulk.BATCH, job.total)
                if not bulk.run_batch(
                    job, batch, must_stop=told_to_stop.is_set, even_in_outage=even_in_outage
                ):
                    bulk.cancel(job)
                    return
            self._draw_bar(job.total, job.total)
        finally:
            for name, handler in usual.items():
                signal.signal(name, handler)

    def _draw_bar(self, done: int, total: int) -> None:
        if total and not self.as_json and self.stderr.isatty():
            filled = "█" * (BAR_WIDTH * done // total)
            end = "\n" if done == total else ""
            self.stderr.write(f"\r{filled:░<{BAR_WIDTH}} {done} of {total}", ending=end)

    def _report(self, job: RenewalJob) -> None:
        progress = job.progress()
        numbers = {
            "due": progress.total,
            "renewed": progress.renewed,
            "failed": progress.failed,
            "skipped": progress.skipped,
            "cancelled": progress.cancelled,
            "held_back": job.held_back(),
        }
        if self.as_json:
            self.stdout.write(json.dumps({"dry_run": False, "job": str(job.pk), **numbers}))
            return
        failed = job.items.filter(outcome=RenewalJobItem.FAILED).select_related("integration")
        for item in failed.defer(
            "integration__access_token_encrypted", "integration__refresh_token_encrypted"
        ):
            self.stdout.write(f"failed {item.integration}: {item.cause}")
        self.stdout.write(", ".join(f"{name} {number}" for name, number in numbers.items()))
