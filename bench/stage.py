"""What measurements of renewals need: Django on a database of its own, a sandbox, installs."""

from __future__ import annotations

import argparse
import base64
import os
import platform
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import django
import requests

ROOT = Path(__file__).resolve().parent.parent
CLIENT_ID, CLIENT_SECRET = (
    "5eed5eed5eed5eed5eed5eed-whatrdmo",
    "5eed5eed-0000-4000-8000-000000005eed",
)
REDIRECT_URI = "http://127.0.0.1/app/callback/"


@dataclass(frozen=True)
class Sandbox:
    """A sandbox in a process of its own."""

    url: str

    def post(self, path: str, **body: Any) -> Any:
        response = requests.post(f"{self.url}/_sandbox/{path}", json=body, timeout=60)
        response.raise_for_status()
        return response.json()

    def summary(self) -> dict[str, Any]:
        summary: dict[str, Any] = requests.get(f"{self.url}/_sandbox/summary", timeout=60).json()
        return summary

    def be_late_by(self, seconds: float) -> None:
        self.post("knobs", latency_seconds=seconds)


@contextmanager
def staged(database_url: str = "", sandbox_address: str = "127.0.0.1") -> Iterator[Sandbox]:
    """Set Django up in this process, on an empty database or a SQLite file of its own, with a
    sandbox beside it. Processes started meanwhile inherit the environment. Once per process."""
    with tempfile.TemporaryDirectory(prefix="whatreach-bench-") as folder:
        os.environ |= environment(database_url or f"sqlite:///{folder}/bench.sqlite3")
        with _sandbox(Path(folder) / "sandbox.sqlite3", sandbox_address) as sandbox:
            os.environ["GHL_API_BASE_URL"] = sandbox.url
            django.setup()
            from django.core.management import call_command

            call_command("migrate", verbosity=0)
            _require_our_own_database()
            yield sandbox


def environment(database_url: str) -> dict[str, str]:
    """What the product needs; nothing of the developer's own settings."""
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    return {
        "WHATREACH_ENV_FILE": os.devnull,
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "DJANGO_SECRET_KEY": secrets.token_urlsafe(64),
        "DATABASE_URL": database_url,
        "TOKEN_ENCRYPTION_KEYS": f"bench:{key}",
        "GHL_CLIENT_ID": CLIENT_ID,
        "GHL_CLIENT_SECRET": CLIENT_SECRET,
        "GHL_REDIRECT_URI": REDIRECT_URI,
        "LOG_LEVEL": "WARNING",
        "SANDBOX_ENABLED": "true",
    }


def connect_installs(sandbox: Sandbox, count: int) -> None:
    """Install on one agency and so many sub-accounts of it, and store their first tokens."""
    from integrations.bulk import batches, side_by_side
    from integrations.health import Status
    from integrations.highlevel import HighLevel
    from integrations.install import install_from_code
    from integrations.models import LOCATION, GoHighLevelIntegration
    from integrations.storing import token_columns

    sandbox.post("knobs", burst_limit=10**9, daily_limit=10**9, refresh_grace_seconds=0)
    agency = sandbox.post("agencies", name="Bench", locations=count)
    company_id = agency["id"]
    answer = sandbox.post("install", company_id=company_id, all=True, redirect_uri=REDIRECT_URI)
    agency_token = install_from_code(answer["code"]).open_access_token()
    client = HighLevel.from_settings()

    def connected(location: dict[str, Any]) -> GoHighLevelIntegration:
        from django.utils import timezone

        row = GoHighLevelIntegration(
            user_type=LOCATION, resource_id=location["id"], name=location["name"]
        )
        tokens = client.mint_location_token(
            agency_token, company_id=company_id, location_id=location["id"]
        )
        columns = token_columns(row, tokens, client_id=client.client_id, sent_at=timezone.now())
        for name, value in (columns | {"generation": 1, "status": Status.ACTIVE}).items():
            setattr(row, name, value)
        return row

    for batch in batches(agency["locations"]):
        GoHighLevelIntegration.objects.bulk_create(side_by_side(connected, batch))


def make_all_due() -> int:
    """Return how many installs are due now: all of them."""
    from django.utils import timezone

    from integrations.models import GoHighLevelIntegration

    return GoHighLevelIntegration.objects.update(renew_at=timezone.now() - timedelta(minutes=1))


def forget_installs() -> None:
    from django_q.models import OrmQ

    from integrations.models import GoHighLevelIntegration, RenewalJob

    OrmQ.objects.all().delete()
    RenewalJob.objects.all().delete()
    GoHighLevelIntegration.objects.all().delete()


def machine() -> str:
    """The machine, and how busy it was in the last minute."""
    load = os.getloadavg()[0]
    return f"{platform.machine()}, {os.cpu_count()} cores, load {load:.1f}, {_database()}"


def arguments(what: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument(
        "--database-url",
        default="",
        help="An empty database of another kind, which is filled. Default: a SQLite file.",
    )
    return parser


def _database() -> str:
    from django.db import connection

    version = ".".join(map(str, connection.get_database_version()))
    return f"{connection.display_name} {version}"


def _require_our_own_database() -> None:
    from integrations.models import GoHighLevelIntegration

    if GoHighLevelIntegration.objects.exists():
        sys.exit("This database has installs in it. Give the benchmark one of its own.")


@contextmanager
def _sandbox(state: Path, address: str) -> Iterator[Sandbox]:
    listen = ["--host", address, "--port", "0"]
    command = [sys.executable, "manage.py", "sandbox", *listen, "--webhook-url", ""]
    process = subprocess.Popen(
        [*command, "--state", str(state)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        # "Sandbox on http://127.0.0.1:36889, control page …"
        yield Sandbox(process.stdout.readline().split()[2].rstrip(","))
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()
