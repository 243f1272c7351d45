"""A database of each released version: it migrates to the present one and goes on working.

data/whatreach-VERSION.sqlite3.gz is such a database, data/sandbox-VERSION.sqlite3.gz the sandbox
that its tokens came from. In it: an agency with sub-accounts in several states, a user, an API key,
events, queued tasks, and schedules of which the operator removed one and moved another.

On PostgreSQL and MariaDB its rows are put into the tables as that version made them there.

Web server and worker of that version still run while `migrate` does its work and until they are
restarted, so a migrated table has to take the rows that they write.
"""

from __future__ import annotations

import gzip
import json
import os
import re
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
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.state import StateApps

from access.models import ApiKey, User
from integrations.models import LOCATION, GoHighLevelIntegration
from integrations.schedules import TICK
from operations.tests.test_backup import empty_database

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
    "key_ids": list(
        GoHighLevelIntegration.objects.exclude(access_token_encrypted=b"")
        .values_list("key_id", flat=True).distinct()
    ),
    "roles": dict(get_user_model().objects.values_list("username", "groups__name")),
}))
"""

# The database of an older version, made from its SQLite file: the tables by the migrations that it
# had, then its rows.
LOAD = """
import sys, django
django.setup()
from django.core.management.color import no_style
from django.db import connection, connections, transaction
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder
sqlite = {"ENGINE": "django.db.backends.sqlite3", "NAME": sys.argv[1], "OPTIONS": {}}
connections.databases["old"] = connections.databases["default"] | sqlite
applied = list(MigrationRecorder(connections["old"]).applied_migrations())
state = MigrationExecutor(connection).migrate(applied)
models = [m for m in state.apps.get_models(include_auto_created=True) if m._meta.managed]
with transaction.atomic(), connection.constraint_checks_disabled():
    for model in models:
        for field in model._meta.fields:
            field.auto_now = field.auto_now_add = False
        model._base_manager.bulk_create(model._base_manager.using("old").all())
with connection.cursor() as cursor:
    for statement in connection.ops.sequence_reset_sql(no_style(), models):
        cursor.execute(statement)
"""

# What the schedule rings, done as the worker does it, when all that can be renewed is due.
RUN_TICK = """
import json, django
django.setup()
from django.utils import timezone
from django_q.models import Schedule
from django_q.tasks import async_task, result
from integrations.models import GoHighLevelIntegration
import sys
GoHighLevelIntegration.objects.exclude(renew_at=None).update(renew_at=timezone.now())
tick = Schedule.objects.get(name=sys.argv[1])
print(json.dumps(result(async_task(tick.func, sync=True))))
"""


class Upgraded:
    """A copy of a version's database after `migrate`, with its sandbox running."""

    def __init__(self, database_url: str, sandbox_url: str) -> None:
        self.environ = os.environ | {
            "DJANGO_SETTINGS_MODULE": "config.settings_test",
            "DATABASE_URL": database_url,
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
        return self._answer(ASK, API_KEY)

    def tick(self) -> dict[str, Any]:
        return self._answer(RUN_TICK, TICK)

    def _answer(self, program: str, argument: str) -> dict[str, Any]:
        done = self.run("-c", program, argument)
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer


def unpack(name: str, target: Path) -> None:
    with gzip.open(DATA / name) as packed, target.open("wb") as file:
        shutil.copyfileobj(packed, file)


def models_of(version: str, folder: Path) -> StateApps:
    """The models as the version's processes know them: by the migrations that it had."""
    unpack(f"whatreach-{version}.sqlite3.gz", folder / "whatreach.sqlite3")
    with sqlite3.connect(folder / "whatreach.sqlite3") as database:
        applied = database.execute("SELECT app, name FROM django_migrations").fetchall()
    database.close()
    return MigrationLoader(connection).project_state(applied).apps


def turn_clock(state: Path, to: datetime) -> None:
    """Let the sandbox think that it is that moment, whenever this test runs."""
    with sqlite3.connect(state) as database:
        offset = json.dumps(to.timestamp() - time.time())
        database.execute("REPLACE INTO meta (key, value) VALUES ('clock_offset', ?)", (offset,))
    database.close()


@pytest.fixture(scope="module", params=sorted(MADE_AT))
def upgraded(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    django_db_setup: None,
    django_db_blocker: Any,
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
        sandbox_url = sandbox.stdout.readline().split()[2].rstrip(",")
        with django_db_blocker.unblock(), empty_database(folder, "whatreach_upgraded") as url:
            there = Upgraded(url, sandbox_url)
            if connection.vendor == "sqlite":
                shutil.copy(folder / "whatreach.sqlite3", folder / "whatreach_upgraded.sqlite3")
            else:
                loaded = there.run("-c", LOAD, str(folder / "whatreach.sqlite3"))
                assert loaded.returncode == 0, loaded.stderr
            migrated = there.run("manage.py", "migrate", "--verbosity=0")
            assert migrated.returncode == 0, migrated.stderr
            yield there
    finally:
        sandbox.terminate()
        sandbox.wait(60)
        sandbox.stdout.close()


@pytest.fixture(scope="module")
def found(upgraded: Upgraded) -> dict[str, Any]:
    """What is in it right after `migrate`."""
    return upgraded.ask()


@pytest.fixture(params=VERSIONS)
def older(request: pytest.FixtureRequest, tmp_path: Path, db: None) -> StateApps:
    """The models of a process that still runs on the present tables."""
    return models_of(request.param, tmp_path)


@pytest.mark.one_database
def test_each_released_version_has_a_database_and_a_way_up():
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert set(VERSIONS) == set(MADE_AT)
    assert re.findall(r"^## Upgrading from (.+)$", changelog, re.M) == VERSIONS[::-1]
    assert all((DATA / f"sandbox-{version}.sqlite3.gz").exists() for version in VERSIONS)


def test_an_older_process_finds_its_columns_and_the_others_have_a_value_without_it(older):
    gone, unfilled = [], []
    for model in older.get_models(include_auto_created=True):
        table, known = model._meta.db_table, {f.column for f in model._meta.concrete_fields}
        with connection.cursor() as cursor:
            columns = connection.introspection.get_table_description(cursor, table)
        gone += [f"{table}.{name}" for name in known - {column.name for column in columns}]
        unfilled += [
            f"{table}.{column.name}"
            for column in columns
            if column.name not in known and not column.null_ok and column.default is None
        ]
    assert (gone, unfilled) == ([], [])


def test_an_older_process_goes_on_storing_installs_keys_and_people(older):
    installs = older.get_model("integrations", "GoHighLevelIntegration").objects
    installs.create(user_type=LOCATION, resource_id="location-1", status="waiting")
    listed = installs.model(user_type=LOCATION, resource_id="location-2", status="waiting")
    installs.bulk_create([listed], ignore_conflicts=True)
    older.get_model("access", "ApiKey").objects.create(name="billing", prefix="a", digest="b")
    older.get_model("access", "User").objects.create(username="sam")

    rows = GoHighLevelIntegration.objects.values_list("resource_id", "key_id", "verify_cause")
    assert sorted(rows) == [("location-1", "", ""), ("location-2", "", "")]
    key, person = ApiKey.objects.get(), User.objects.get()
    assert (key.agencies, key.created_by, key.old_digest, key.scopes_used) == ([], "", "", {})
    assert (person.agencies, person.time_zone) == ([], "")


@pytest.mark.one_database
def test_it_has_the_present_form(upgraded):
    assert upgraded.run("manage.py", "migrate", "--check").returncode == 0


def test_nothing_is_lost(found):
    assert (found["password"], found["key"], found["readable"]) == (True, True, True)
    assert found["events"] == 9
    assert found["attempts"] >= 10
    statuses = dict(found["states"])
    assert len(statuses) == 8
    assert statuses["Finch & Sons Roofing"] == "deactivated"
    assert statuses["Maple Grove Veterinary"] == "uninstalled"
    assert statuses["Harbour Dental"] == "paused"


def test_old_rows_get_what_the_present_version_knows_of_each(found):
    (key_id,) = found["key_ids"]
    assert key_id
    assert found["roles"] == {"admin": "Owner"}


@pytest.mark.one_database
def test_the_schedules_are_as_the_operator_left_them(found):
    schedules = found["schedules"]
    assert schedules["whatreach: daily health check"] == "0 5 * * *"
    assert "whatreach: bulk renewal on Sundays" not in schedules
    assert "whatreach: tick" in schedules


@pytest.mark.one_database
def test_tasks_that_were_queued_before_are_still_known(found):
    assert len(found["tasks"]) >= 4
    assert all(found["tasks"])


@pytest.mark.one_database
def test_the_worker_renews_what_is_due(upgraded):
    # The paused one is asked about and stays paused.
    assert upgraded.tick() == {"renewed": 5, "failed": 1, "skipped": 0}
    assert dict(upgraded.ask()["states"])["Harbour Dental"] == "paused"


@pytest.mark.one_database
def test_every_connected_account_is_renewed(upgraded):
    before = upgraded.ask()["attempts"]
    answer = json.loads(upgraded.manage("refresh_ghl_tokens", "--force", "--json"))
    # The paused one is asked about and stays paused.
    assert (answer["renewed"], answer["failed"]) == (5, 1)
    after = upgraded.ask()
    assert dict(after["states"])["Harbour Dental"] == "paused"
    assert after["attempts"] > before
