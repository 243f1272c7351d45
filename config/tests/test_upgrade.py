"""A database of each released version: it migrates to the present one and goes on working.

data/whatreach-VERSION.sqlite3.gz is such a database, data/sandbox-VERSION.sqlite3.gz the sandbox
that its tokens came from. In it: an agency with sub-accounts in several states, a user, an API key,
events, queued tasks, and schedules of which the operator removed one and moved another.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

ROOT = Path(settings.BASE_DIR)
DATA = Path(__file__).parent / "data"
VERSIONS = sorted(
    f.name.split("-")[1].removesuffix(".sqlite3.gz") for f in DATA.glob("whatreach-*")
)
# Half a day after it was made: the access tokens are old, the refresh tokens good.
MADE_AT = {"0.1": datetime(2026, 11, 25, 4, tzinfo=UTC)}
API_KEY = "wr_3933a24c_6fQHWjfEj9P3EwRpEsfelHpma-yM5KNxyoI95Sv0hwc"

ASK = """
import json, django
django.setup()
from django.contrib.auth import get_user_model
from django.utils.module_loading import import_string
from django_q.models import OrmQ, Schedule
from access.keys import find_api_key
from integrations.models import GoHighLevelIntegration, RefreshAttempt
from webhooks.models import GoHighLevelWebhook
import sys
user = get_user_model().objects.get(username="admin")
key = find_api_key(sys.argv[1])
tasks = [entry.task["func"] for entry in OrmQ.objects.all()]
print(json.dumps({
    "password": user.check_password("kept-password-1") and user.is_superuser,
    "key": key is not None and "tokens:read" in key.scopes,
    "states": sorted(GoHighLevelIntegration.objects.values_list("name", "status")),
    "events": GoHighLevelWebhook.objects.count(),
    "attempts": RefreshAttempt.objects.count(),
    "schedules": dict(Schedule.objects.values_list("name", "cron")),
    "tasks": [callable(import_string(name)) for name in tasks],
    "readable": all(
        bool(row.open_refresh_token())
        for row in GoHighLevelIntegration.objects.filter(status="active")
    ),
}))
"""


class Upgraded:
    """A copy of a version's database after `migrate`, with its sandbox running."""

    def __init__(self, folder: Path, sandbox_url: str) -> None:
        self.environ = os.environ | {
            "DJANGO_SETTINGS_MODULE": "config.settings_test",
            "DATABASE_URL": f"sqlite:///{folder / 'whatreach.sqlite3'}",
            "GHL_API_BASE_URL": sandbox_url,
        }

    def manage(self, *command: str) -> str:
        done = self.run("manage.py", *command)
        assert done.returncode in (0, 1), done.stderr
        return done.stdout

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *command],
            cwd=ROOT,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=300,
        )

    def ask(self) -> dict[str, Any]:
        done = self.run("-c", ASK, API_KEY)
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer


def unpack(name: str, target: Path) -> None:
    with gzip.open(DATA / name) as packed, target.open("wb") as file:
        shutil.copyfileobj(packed, file)


def turn_clock(state: Path, to: datetime) -> None:
    """Let the sandbox think that it is that moment, whenever this test runs."""
    with sqlite3.connect(state) as database:
        offset = json.dumps(to.timestamp() - time.time())
        database.execute("REPLACE INTO meta (key, value) VALUES ('clock_offset', ?)", (offset,))
    database.close()


@pytest.fixture(scope="module", params=sorted(MADE_AT))
def upgraded(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Upgraded]:
    folder = tmp_path_factory.mktemp("upgrade")
    unpack(f"whatreach-{request.param}.sqlite3.gz", folder / "whatreach.sqlite3")
    unpack(f"sandbox-{request.param}.sqlite3.gz", folder / "sandbox.sqlite3")
    turn_clock(folder / "sandbox.sqlite3", MADE_AT[request.param])
    command = [sys.executable, "manage.py", "sandbox", "--port=0", "--webhook-url="]
    command.append(f"--state={folder / 'sandbox.sqlite3'}")
    sandbox = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert sandbox.stdout is not None
    try:
        # "Sandbox on http://127.0.0.1:36889, control page …"
        there = Upgraded(folder, sandbox.stdout.readline().split()[2].rstrip(","))
        migrated = there.run("manage.py", "migrate", "--verbosity=0")
        assert migrated.returncode == 0, migrated.stderr
        yield there
    finally:
        sandbox.terminate()
        sandbox.wait(60)
        sandbox.stdout.close()


def test_it_has_the_present_form(upgraded):
    assert upgraded.run("manage.py", "migrate", "--check").returncode == 0


def test_nothing_is_lost(upgraded):
    found = upgraded.ask()
    assert (found["password"], found["key"], found["readable"]) == (True, True, True)
    assert found["events"] == 9
    assert found["attempts"] >= 10
    statuses = dict(found["states"])
    assert len(statuses) == 8
    assert statuses["Finch & Sons Roofing"] == "deactivated"
    assert statuses["Maple Grove Veterinary"] == "uninstalled"
    assert statuses["Harbour Dental"] == "paused"


def test_the_schedules_are_as_the_operator_left_them(upgraded):
    schedules = upgraded.ask()["schedules"]
    assert schedules["whatreach: daily health check"] == "0 5 * * *"
    assert "whatreach: bulk renewal on Sundays" not in schedules
    assert "whatreach: tick" in schedules


def test_tasks_that_were_queued_before_are_still_known(upgraded):
    tasks = upgraded.ask()["tasks"]
    assert len(tasks) >= 4
    assert all(tasks)


def test_every_connected_account_is_renewed(upgraded):
    before = upgraded.ask()["attempts"]
    answer = json.loads(upgraded.manage("refresh_ghl_tokens", "--force", "--json"))
    # The paused one is asked about and stays paused.
    assert (answer["renewed"], answer["failed"]) == (5, 1)
    after = upgraded.ask()
    assert dict(after["states"])["Harbour Dental"] == "paused"
    assert after["attempts"] > before
