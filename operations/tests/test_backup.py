"""Backup and restore, with the very scripts, on whichever database the tests run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import Group
from django.db import connection
from django.utils import timezone

from access.roles import ensure_roles
from integrations import heartbeat
from integrations.install import finish_install
from integrations.models import LOCATION, GoHighLevelIntegration, Heartbeat
from integrations.refresh import refresh_integration
from integrations.tasks import tick
from integrations.tests.test_race import database_url

ROOT = Path(settings.BASE_DIR)
pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def empty_database(folder: Path, name: str = "whatreach_restored") -> Iterator[str]:
    """The URL of a new database on the server of the tests."""
    if connection.vendor == "sqlite":
        yield f"sqlite:///{folder / name}.sqlite3"
        return
    with connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {name}")
        cursor.execute(f"CREATE DATABASE {name}")
    try:
        yield f"{database_url().rpartition('/')[0]}/{name}"
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE {name}")


class Machine:
    """A machine with a database and the key in a file, and nothing else of the first one."""

    def __init__(self, url: str, sandbox_url: str, key_file: Path) -> None:
        self.environ = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
            "PYTHON": sys.executable,
            "WHATREACH_ENV_FILE": os.devnull,
            "DJANGO_SECRET_KEY": "of-another-machine-Vq3bT9xLw0ZrKe7mPs2dYh5jUn8cGa4fXi",
            "TOKEN_ENCRYPTION_KEYS_FILE": str(key_file),
            "DATABASE_URL": url,
            "GHL_CLIENT_ID": settings.GHL_CLIENT_ID,
            "GHL_CLIENT_SECRET": settings.GHL_CLIENT_SECRET,
            "GHL_REDIRECT_URI": settings.GHL_REDIRECT_URI,
            "GHL_API_BASE_URL": sandbox_url,
            "LOG_LEVEL": "ERROR",
        }

    def run(self, *command: str, check: bool = True) -> str:
        done = subprocess.run(
            command, cwd=ROOT, env=self.environ, capture_output=True, text=True, timeout=300
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def manage(self, *command: str, check: bool = True) -> str:
        return self.run(sys.executable, "manage.py", *command, check=check)

    def doctor(self) -> dict[str, str]:
        """The verdict of each check."""
        answer = json.loads(self.manage("doctor", "--json", check=False))
        return {check["name"]: check["verdict"] for check in answer["checks"]}

    def renew_all(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(
            self.manage("refresh_ghl_tokens", "--force", "--json", check=False)
        )
        return answer


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "token_keys"
    file.write_text(settings.TOKEN_ENCRYPTION_KEYS)
    return file


@pytest.fixture
def installs(sandbox: Any) -> list[GoHighLevelIntegration]:
    """An agency with its sub-account, and a sub-account that its own user installed."""
    sandbox.post("knobs", refresh_grace_seconds=0)
    agency = sandbox.install(bulk=True)
    finish_install(agency.pk)
    tick()
    sandbox.install(bulk=False)
    rows = list(GoHighLevelIntegration.objects.order_by("user_type", "installed_at"))
    assert [row.generation for row in rows] == [1, 1, 1]
    return rows


def back_up(machine: Machine, folder: Path) -> str:
    return machine.run("deploy/backup.sh", str(folder)).strip()


def test_a_restored_database_with_its_key_goes_on(installs, sandbox, key_file, tmp_path):
    for name in (heartbeat.WORKER, heartbeat.SCHEDULER):
        heartbeat.beat(name)
    copy = back_up(Machine(database_url(), sandbox.url, key_file), tmp_path / "backups")
    with empty_database(tmp_path) as url:
        machine = Machine(url, sandbox.url, key_file)
        machine.run("deploy/restore.sh", copy)
        machine.manage("migrate", "--check")
        verdicts = machine.doctor()
        # This test has collected no static files.
        assert [name for name, v in verdicts.items() if v == "red"] in ([], ["static_files"])
        assert verdicts["tokens"] == verdicts["credentials"] == "ok"
        answer = machine.renew_all()
    assert (answer["renewed"], answer["failed"]) == (3, 0)


def test_tokens_that_were_spent_since_are_got_from_the_agency_where_there_is_one(
    installs,
    sandbox,
    key_file,
    tmp_path,
):
    tick()
    Heartbeat.objects.update(at=timezone.now() - timedelta(days=2))
    copy = back_up(Machine(database_url(), sandbox.url, key_file), tmp_path / "backups")
    for row in installs[1:]:  # both sub-accounts; the agency's token is as it was
        assert refresh_integration(row.pk, trigger="test").success
    with empty_database(tmp_path) as url:
        machine = Machine(url, sandbox.url, key_file)
        machine.run("deploy/restore.sh", copy)
        warning = machine.manage("doctor", "--offline", check=False)
        answer = machine.renew_all()
    assert "If this is a restored backup" in warning
    assert (answer["renewed"], answer["failed"]) == (2, 1)


@pytest.mark.one_database
def test_another_database_takes_all_over_by_the_commands_of_the_page(
    installs,
    sandbox,
    key_file,
    tmp_path,
):
    Group.objects.all().delete()  # roles that were made anew have other numbers there
    ensure_roles()
    page = (ROOT / "docs" / "operations.md").read_text().replace("\\\n", "")
    page = re.sub(r"(\w+\.jsonl\.gz)", rf"{tmp_path}/\1", page)
    dump_roles, dump, load = re.findall(r"manage\.py ((?:dumpdata|loaddata) .*)", page)
    old = Machine(database_url(), sandbox.url, key_file)
    old.manage(*dump_roles.split())
    old.manage(*dump.split())
    with empty_database(tmp_path) as url:
        machine = Machine(url, sandbox.url, key_file)
        machine.manage("migrate")
        machine.manage(*load.split())
        assert machine.doctor()["tokens"] == "ok"
        answer = machine.renew_all()
    assert (answer["renewed"], answer["failed"]) == (3, 0)


@pytest.mark.one_database
def test_without_the_key_doctor_says_so(installs, sandbox, key_file, tmp_path):
    copy = back_up(Machine(database_url(), sandbox.url, key_file), tmp_path / "backups")
    key_file.write_text("t1:YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXowMTIzNDU=")
    with empty_database(tmp_path) as url:
        machine = Machine(url, sandbox.url, key_file)
        machine.run("deploy/restore.sh", copy)
        assert machine.doctor()["tokens"] == "red"


def test_a_database_that_is_not_empty_is_not_touched(installs, sandbox, key_file, tmp_path):
    machine = Machine(database_url(), sandbox.url, key_file)
    copy = back_up(machine, tmp_path / "backups")
    with pytest.raises(AssertionError, match="is not empty"):
        machine.run("deploy/restore.sh", copy)
    assert GoHighLevelIntegration.objects.filter(user_type=LOCATION).count() == 2


@pytest.mark.one_database
def test_only_the_newest_copies_are_kept_and_nobody_else_may_read_them(
    installs,
    sandbox,
    key_file,
    tmp_path,
):
    folder = tmp_path / "backups"
    folder.mkdir()
    for day in (1, 2, 3):
        old = folder / f"whatreach-2026010{day}T000000Z.sqlite3.gz"
        old.write_text("")
        os.utime(old, (day, day))
    machine = Machine(database_url(), sandbox.url, key_file)
    newest = machine.run("deploy/backup.sh", str(folder), "2").strip()
    left = sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime)
    assert [str(left[-1]), left[0].name] == [newest, "whatreach-20260103T000000Z.sqlite3.gz"]
    assert len(left) == 2
    assert Path(newest).stat().st_mode & 0o077 == 0


@pytest.mark.one_database
def test_the_databases_address_may_stand_in_a_file(tmp_path):
    file = tmp_path / "url"
    file.write_text("postgres://wr:p%40w@db.test:5433/whatreach\n")
    machine = Machine("", "", tmp_path / "key")
    machine.environ |= {"DATABASE_URL_FILE": str(file), "TOKEN_ENCRYPTION_KEYS_FILE": ""}
    look = "from config import settings; print(settings.DATABASES['default']['PASSWORD'])"
    assert machine.run(sys.executable, "-c", look) == "p@w\n"
    told = machine.run(sys.executable, "deploy/database_url.py")
    assert "kind=postgresql" in told and "password=p@w" in told
