from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from integrations import reconcile
from integrations.causes import CAUSES
from integrations.crypto import DecryptError
from integrations.health import Status
from integrations.highlevel import HighLevelError
from integrations.management.app import require_app
from integrations.models import COMPANY, Comparison, GoHighLevelIntegration

# Of each column, in the text for people; --json has all.
MOST_SHOWN = 20


class Command(BaseCommand):
    help = (
        "Compare HighLevel's list of installed sub-accounts with ours, and fetch the tokens that "
        "are missing here. Exit status: 0 all compared, 1 some agency could not be, 2 bad usage."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="Only say what differs.")
        parser.add_argument("--json", action="store_true", help="Print one JSON object.")
        parser.add_argument("--agency", metavar="ID", help="HighLevel id of one agency; else all.")
        parser.add_argument(
            "--end-missing",
            action="store_true",
            help="Also mark as uninstalled what HighLevel no longer has, asked about each again.",
        )

    def handle(self, *args: Any, dry_run: bool, end_missing: bool, **options: Any) -> None:
        if dry_run and end_missing:
            raise CommandError("--dry-run and --end-missing exclude each other.", returncode=2)
        require_app()
        self.dry_run, self.end_missing = dry_run, end_missing
        found = [self._compare(agency) for agency in self._agencies(options["agency"])]
        if options["json"]:
            self.stdout.write(json.dumps({"dry_run": dry_run, "agencies": found}))
        else:
            self._tell(found)
        if any(one["cause"] for one in found):
            sys.exit(1)

    def _agencies(self, only: str | None) -> list[GoHighLevelIntegration]:
        rows = GoHighLevelIntegration.objects.filter(user_type=COMPANY).without_secrets()
        if only is None:
            return list(rows.filter(status=Status.ACTIVE).order_by("name", "pk"))
        agencies = list(rows.filter(resource_id=only))
        if not agencies:
            raise CommandError(f"No agency here has the id {only}.", returncode=2)
        return agencies

    def _compare(self, agency: GoHighLevelIntegration) -> dict[str, Any]:
        told: dict[str, Any] = {"agency": agency.resource_id, "name": str(agency), "cause": ""}
        if agency.status != Status.ACTIVE:
            return told | {"cause": "agency_not_usable"}
        comparison = Comparison.objects.create(
            agency=agency, caller="command", begun_at=timezone.now()
        )
        reconcile.read(comparison)
        if comparison.is_running:  # no worker is to go on with it
            reconcile.give_up(comparison)
        if comparison.cause:
            return told | {"cause": comparison.cause}
        return told | self._settle(comparison)

    def _settle(self, comparison: Comparison) -> dict[str, Any]:
        here = list(reconcile.missing_here(comparison).values_list("resource_id", flat=True))
        there = list(reconcile.missing_there(comparison).order_by("pk"))
        told = {
            "missing_here": here,
            "missing_there": [row.resource_id for row in there],
            "same": reconcile.count([comparison])[comparison.pk].same,
        }
        if self.dry_run:
            return told
        told["fetched"] = reconcile.fetch(comparison)
        if self.end_missing:
            told |= self._end(comparison, there)
        return told

    def _end(
        self, comparison: Comparison, rows: list[GoHighLevelIntegration]
    ) -> dict[str, int | str]:
        ended = 0
        try:
            for row in rows:
                ended += reconcile.end_if_unlisted(comparison.agency, row, caller="command")
        except HighLevelError as error:
            return {"ended": ended, "cause": error.cause}
        except DecryptError:
            return {"ended": ended, "cause": "token_damaged"}
        return {"ended": ended}

    def _tell(self, found: list[dict[str, Any]]) -> None:
        if not found:
            self.stdout.write("No agency is connected, so there is no list to compare with.")
        for one in found:
            self.stdout.write(f"{one['name']} ({one['agency']})")
            if one["cause"] and "same" not in one:
                self.stdout.write(f"  could not be compared: {_words(one['cause'])}")
                continue
            for name in ("missing_here", "missing_there"):
                self._list(name.replace("_", " "), one[name])
            self.stdout.write(f"  same {one['same']}")
            if "fetched" in one:
                self.stdout.write(f"  tokens to be fetched {one['fetched']}")
            if "ended" in one:
                self.stdout.write(f"  marked as uninstalled {one['ended']}")
            if one["cause"]:
                self.stdout.write(f"  stopped: {_words(one['cause'])}")

    def _list(self, what: str, ids: list[str]) -> None:
        more = " …" if len(ids) > MOST_SHOWN else ""
        self.stdout.write(f"  {what} {len(ids)}: {' '.join(ids[:MOST_SHOWN])}{more}")


def _words(cause: str) -> str:
    return f"{CAUSES[cause].sentence} ({cause})"
