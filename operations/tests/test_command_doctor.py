"""doctor: each thing that is not in order is said, with what mends it."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import OperationalError, connection
from django.utils import timezone

from alerts.models import Channel
from alerts.tests.conftest import make_channel  # noqa: F401
from config import __version__
from integrations import heartbeat
from integrations.models import GoHighLevelIntegration, Heartbeat
from integrations.refresh import refresh_integration
from operations import readiness
from operations.readiness import Verdict
from webhooks.models import GoHighLevelWebhook

HOST = "whatreach.example.com"
ANOTHER_KEY = "t1:YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXowMTIzNDU="
OK, WARN, RED = Verdict.OK, Verdict.WARN, Verdict.RED

pytestmark = pytest.mark.django_db


@pytest.fixture
def in_order(
    settings: Any,
    world: Any,
    install_location: Any,
    make_channel: Any,  # noqa: F811
    tmp_path: Path,
) -> Any:
    """A production set-up with nothing to complain of; return its one account."""
    row = install_location()
    settings.GHL_REDIRECT_URI = f"https://{HOST}/app/callback/"
    settings.GHL_API_BASE_URL = "https://services.leadconnectorhq.com"
    settings.ALLOWED_HOSTS = [HOST, "testserver"]
    settings.TRUST_PROXY = True
    settings.SECRET_KEY = "Vq3bT9xLw0ZrKe7mPs2dYh5jUn8cGa4fXi6oQt1vBy-RkWzEuMlHpDsJgC"
    settings.BACKUP_FOLDER = str(tmp_path)
    (tmp_path / "whatreach.sqlite3.gz").write_bytes(b"x")
    settings.WATCHDOG_URLS = ["json://127.0.0.1/hooks"]
    make_channel()
    for name in (*heartbeat.PARTS, heartbeat.WATCHDOG):
        heartbeat.beat(name)
    GoHighLevelIntegration.objects.update(last_used_at=timezone.now())
    now = timezone.now()
    GoHighLevelWebhook.objects.create(
        webhook_id="1", type="INSTALL", body="{}", occurred_at=now, received_at=now
    )
    return row


def doctor(*options: str) -> tuple[int, str]:
    out, status = StringIO(), 0
    try:
        call_command("doctor", *options, stdout=out)
    except SystemExit as end:
        status = int(end.code or 0)
    return status, out.getvalue()


def finding(name: str) -> readiness.Check:
    return next(check for check in readiness.each() if check.name == name)


def test_all_is_green_where_all_is_in_order(in_order):
    status, output = doctor()
    assert status == 0
    assert output.splitlines()[0] == f"WhatReach {__version__}"
    assert output.splitlines()[-1] == f"ok {len(readiness.CHECKS)}, warn 0, red 0"


def test_json_is_one_object_with_every_check(in_order):
    status, output = doctor("--json")
    answer = json.loads(output)
    assert (status, answer["ready"], answer["red"]) == (0, True, 0)
    assert answer["version"] == __version__
    assert [check["name"] for check in answer["checks"]] == list(readiness.CHECKS)


def test_a_red_check_ends_with_1_and_names_its_fix(in_order):
    Heartbeat.objects.all().delete()
    status, output = doctor()
    assert status == 1
    assert "RED  Worker alive: The worker has never shown itself." in output
    assert "→ Start it: python manage.py qcluster" in output


def test_a_warning_alone_does_not_fail(in_order):
    GoHighLevelWebhook.objects.all().delete()
    status, output = doctor()
    assert status == 0
    assert "warn Signed event received" in output


def test_offline_asks_nobody(in_order, world):
    before = len(world.calls())
    doctor("--offline")
    assert len(world.calls()) == before


def test_every_finding_that_is_not_green_has_a_fix(settings):
    settings.GHL_CLIENT_ID = settings.GHL_REDIRECT_URI = settings.TOKEN_ENCRYPTION_KEYS = ""
    for check in readiness.each(ask_highlevel=False):
        assert bool(check.fix) == (check.verdict is not OK), check


@pytest.mark.parametrize(
    ("name", "changes", "verdict", "word"),
    [
        ("keys", {"TOKEN_ENCRYPTION_KEYS": "k1:c2hvcnQ="}, RED, "weak"),
        ("keys", {"SECRET_KEY": "short"}, RED, "DJANGO_SECRET_KEY"),
        ("debug", {"DEBUG": True}, RED, "DJANGO_DEBUG"),
        ("address", {"GHL_REDIRECT_URI": ""}, RED, "not set"),
        ("address", {"GHL_REDIRECT_URI": f"https://{HOST}/cb"}, RED, "/cb"),
        ("address", {"GHL_REDIRECT_URI": "https://other.test/app/callback/"}, RED, "other.test"),
        ("address", {"GHL_REDIRECT_URI": f"http://{HOST}/app/callback/"}, RED, "without"),
        ("address", {"TRUST_PROXY": False}, WARN, "proxy"),
        ("app", {"GHL_CLIENT_SECRET": ""}, RED, "GHL_CLIENT_SECRET"),
        ("credentials", {"GHL_CLIENT_SECRET": "another-secret"}, RED, "does not accept"),
        ("highlevel", {"GHL_API_BASE_URL": "https://evil.example.com"}, RED, "evil.example.com"),
        ("highlevel", {"GHL_API_BASE_URL": "http://127.0.0.1:8801"}, WARN, "sandbox"),
        ("tokens", {"TOKEN_ENCRYPTION_KEYS": ANOTHER_KEY}, RED, "cannot be read"),
        ("backup", {"BACKUP_FOLDER": ""}, WARN, "does not know"),
        ("alerts", {"EMAIL_BACKEND": "x.backends.console.EmailBackend"}, WARN, "no mail server"),
        ("watchdog", {"WATCHDOG_URLS": []}, WARN, "nobody to tell"),
        (
            "static_files",
            {"STORAGES": {"staticfiles": {"BACKEND": "x.CompressedManifestStaticFilesStorage"}}},
            RED,
            "not collected",
        ),
    ],
)
def test_a_wrong_setting_is_found(in_order, settings, tmp_path, name, changes, verdict, word):
    settings.STATIC_ROOT = tmp_path
    for setting, value in changes.items():
        setattr(settings, setting, value)
    found = finding(name)
    assert found.verdict is verdict
    assert word in found.sentence
    assert found.fix


def test_a_full_database_is_found_on_whatever_disk_it_is(in_order, full_database):
    with full_database():
        found = finding("disk")
    assert (found.verdict, found.fix.split(".")[0]) == (RED, "Make room on its disk")
    assert found.sentence.startswith("The database is full")


def test_a_full_database_that_cannot_even_be_opened_is_no_other_fault(in_order):
    def no_room(*_: object) -> None:
        raise OperationalError(1030, "Got error 28 'No space left on device' from storage engine")

    with connection.execute_wrapper(no_room):
        assert finding("database").sentence.startswith("The database is full")
        assert "the database is full" in finding("clock").sentence


def test_a_database_before_its_migrate_is_not_said_to_be_away(in_order):
    def no_column(execute: Any, sql: str, *arguments: Any) -> Any:
        if "integrations_install" in sql:
            raise OperationalError("no such column")
        return execute(sql, *arguments)

    with connection.execute_wrapper(no_column):
        found = finding("tokens")
    assert (found.verdict, found.sentence) == (
        WARN,
        "Could not be found out (OperationalError).",
    )


@pytest.mark.skipif(connection.vendor != "postgresql", reason="poolers are of PostgreSQL")
def test_what_has_to_be_set_behind_a_pooler_is_found(in_order, monkeypatch):
    def as_pooler(execute, sql, params, many, context):
        """Another process answers than the one that was connected to."""
        return execute(sql.replace("pg_backend_pid()", "-1"), params, many, context)

    def fix() -> str:
        with connection.execute_wrapper(as_pooler):
            return finding("database").fix

    assert finding("database").verdict is OK
    with connection.cursor() as cursor:
        assert "disable_server_side_cursors=true" in fix()
        monkeypatch.setitem(connection.settings_dict, "DISABLE_SERVER_SIDE_CURSORS", "true")
        cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        assert "SET idle_in_transaction_session_timeout = '30s'" in fix()
        cursor.execute("SET LOCAL idle_in_transaction_session_timeout = '30s'")
        assert fix() == ""


def test_a_silent_highlevel_is_no_verdict(in_order, world):
    world.fault("reset", route="/oauth/token")
    found = finding("credentials")
    assert (found.verdict, "no verdict" in found.sentence) == (WARN, True)


def test_an_old_backup_is_red(in_order, tmp_path):
    old = (timezone.now() - timedelta(days=3)).timestamp()
    os.utime(tmp_path / "whatreach.sqlite3.gz", (old, old))
    assert finding("backup").sentence == "The newest backup is 3 days old."
    assert finding("backup").verdict is RED


def test_an_empty_backup_folder_is_red(in_order, tmp_path):
    (tmp_path / "whatreach.sqlite3.gz").unlink()
    assert finding("backup").verdict is RED


def test_a_worker_that_was_away_for_long_may_be_a_restored_backup(in_order):
    Heartbeat.objects.update(at=timezone.now() - timedelta(days=2))
    found = finding("worker")
    assert found.verdict is RED
    assert "2 days ago" in found.sentence
    assert "restored backup" in found.sentence


def test_overdue_renewals_are_a_warning(in_order):
    GoHighLevelIntegration.objects.update(renew_at=timezone.now() - timedelta(hours=1))
    assert finding("renewals").verdict is WARN


def test_after_a_renewal_nothing_is_overdue(in_order):
    GoHighLevelIntegration.objects.update(renew_at=timezone.now() - timedelta(hours=1))
    refresh_integration(in_order.pk, trigger="test")
    assert finding("renewals").verdict is OK


def test_alerts_that_reach_nobody_are_found(in_order):
    Channel.objects.update(disabled_at=timezone.now())
    assert finding("alerts").verdict is WARN
    assert finding("alerts").sentence.startswith("No alert reaches anybody")


def test_a_watchdog_that_does_not_look_is_found_until_it_does(in_order, settings, tmp_path):
    settings.WATCHDOG_STATE_FILE = str(tmp_path / "watchdog.json")
    Heartbeat.objects.filter(name=heartbeat.WATCHDOG).delete()
    assert "has never looked" in finding("watchdog").sentence
    call_command("watchdog")
    assert finding("watchdog").verdict is OK
    Heartbeat.objects.update(at=timezone.now() - timedelta(minutes=4))
    assert finding("watchdog").sentence == "The watchdog last looked 4 minutes ago."


def test_the_clocks_of_this_test_agree(in_order):
    assert finding("clock").verdict is OK


def test_a_clock_that_is_wrong_is_found(in_order, time_machine):
    time_machine.move_to(timezone.now() + timedelta(seconds=30))
    assert finding("clock").verdict is WARN
    time_machine.move_to(timezone.now() + timedelta(minutes=5))
    assert finding("clock").verdict is RED
