"""`manage.py watchdog`: it looks and tells without the queue, and without the database."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
import time_machine
from django.core import mail
from django.core.management import call_command
from django.db import IntegrityError, OperationalError, ProgrammingError, connection
from django.utils import timezone

from alerts import incidents
from alerts.kinds import Kind
from alerts.models import Incident, Turn
from alerts.tests.test_incidents import refuse
from alerts.watchdog import REMIND_EVERY, TooLong
from integrations import heartbeat
from integrations.tests.test_race import database_url

ROOT = Path(__file__).resolve().parents[2]


def watchdog(*arguments):
    """Return the exit status and what was printed."""
    out, status = StringIO(), 0
    try:
        call_command("watchdog", *arguments, stdout=out)
    except SystemExit as end:
        status = end.code
    return status, out.getvalue()


@pytest.fixture
def alive(db):
    for name in heartbeat.PARTS:
        heartbeat.beat(name)


def test_where_all_runs_it_says_so_and_tells_nobody(alive, make_channel):
    make_channel()
    assert watchdog() == (0, "All runs.\n")
    assert mail.outbox == []


def test_a_worker_that_stands_still_is_told_at_once_and_its_end_too(alive, make_channel):
    make_channel()
    now = timezone.now() + heartbeat.STALE_AFTER
    with time_machine.travel(now):
        heartbeat.beat(heartbeat.SCHEDULER)
        status, printed = watchdog()
    assert (status, printed) == (1, "The worker stands still\n")
    assert mail.outbox[0].subject == "[WhatReach] The worker stands still"
    assert "Start it again: python manage.py qcluster" in mail.outbox[0].body
    with time_machine.travel(now + timedelta(minutes=1)):
        heartbeat.beat(heartbeat.SCHEDULER)
        assert watchdog()[0] == 1
        heartbeat.beat(heartbeat.WORKER)
        assert watchdog()[0] == 0
    assert [m.subject for m in mail.outbox[1:]] == ["[WhatReach] The worker runs again"]


def test_a_worker_that_was_killed_while_it_looked_does_not_hold_the_watchdog_up(
    alive, make_channel
):
    make_channel()
    now = timezone.now()
    Turn.objects.create(name="look", free_at=now + incidents.TURN)
    with time_machine.travel(now + heartbeat.STALE_AFTER):
        watchdog()
    (message,) = mail.outbox
    assert "stands still" in message.body


def test_renewals_that_are_due_while_none_is_done(alive, make_install, make_channel):
    make_channel()
    make_install(renew_at=timezone.now() - timedelta(minutes=20))
    status, printed = watchdog("--json")
    assert status == 1
    assert json.loads(printed) == {
        "database": True,
        "standing_still": ["Renewals are due and none is done"],
        "told": 1,
        "fine": False,
    }


def test_it_sends_what_the_queue_left_behind(alive, make_install, make_channel):
    make_channel()
    refuse(make_install(name="Harbour Dental"), timezone.now())
    assert watchdog()[0] == 0
    assert mail.outbox[0].subject == "[WhatReach] Harbour Dental needs reconnect"


@pytest.mark.parametrize(("age", "path"), [(0, []), (80, ["/uuid/fail"])])
def test_the_outgoing_heartbeat_hears_of_a_failure(alive, receiver, settings, age, path):
    settings.HEARTBEAT_PING_URL = f"http://127.0.0.1:{receiver.port}/uuid"
    with time_machine.travel(timezone.now() + timedelta(seconds=age)):
        watchdog()
    assert receiver.paths == path


def test_each_tick_sends_a_heartbeat_while_all_is_well(clock, receiver, settings, make_install):
    settings.HEARTBEAT_PING_URL = f"http://127.0.0.1:{receiver.port}/uuid"
    refuse(make_install(), clock.now)  # a client's trouble is not ours
    clock.tick()
    settings.ALERTS_DISK_FREE_MB = 10**9
    clock.tick()
    assert receiver.paths == ["/uuid", "/uuid/fail"]
    assert Incident.objects.open().count() == 2


# --- A database without room ---


def test_a_full_database_is_told_by_its_name_to_everybody_who_wants_to_know(
    alive, make_channel, receiver, settings, full_database
):
    make_channel(address="ops@agency.test")
    make_channel(address="clients@agency.test", kinds=[Kind.NEEDS_RECONNECT])
    settings.WATCHDOG_URLS = [receiver.url]
    now = timezone.now()
    with full_database():
        assert watchdog() == (1, "The database is full\n")
        assert watchdog() == (1, "The database is full\n")
    assert [body["title"] for body in receiver.bodies] == ["[WhatReach] The database is full"]
    (message,) = mail.outbox
    assert (message.to, message.subject) == (
        ["ops@agency.test"],
        "[WhatReach] The database is full",
    )
    assert "make room on the database's disk" in message.body
    with time_machine.travel(now + timedelta(minutes=30), tick=False):
        for name in heartbeat.PARTS:
            heartbeat.beat(name)
        assert watchdog()[0] == 0
    assert mail.outbox[1].subject == "[WhatReach] The database has room again"
    assert "It was full for" in mail.outbox[1].body
    assert len(receiver.bodies) == len(mail.outbox) == 2


def test_whom_a_message_did_not_reach_is_told_at_the_next_look(
    alive, make_channel, receiver, settings, full_database
):
    make_channel()
    settings.WATCHDOG_URLS = [receiver.url]
    receiver.status = 500
    with full_database():
        watchdog()
        receiver.status = 200
        for _ in range(2):
            watchdog()
    receiver.status = 500
    watchdog()
    receiver.status = 200
    for _ in range(2):
        watchdog()
    full, room = "[WhatReach] The database is full", "[WhatReach] The database has room again"
    assert [body["title"] for body in receiver.bodies] == [full, full, room, room]
    assert [message.subject for message in mail.outbox] == [full, room]


def test_whom_no_message_reaches_is_given_up_after_a_day(alive, receiver, settings, full_database):
    settings.WATCHDOG_URLS = [receiver.url]
    with full_database():
        watchdog()
    receiver.status = 500
    watchdog()
    with time_machine.travel(timezone.now() + REMIND_EVERY):
        watchdog()
    assert len(receiver.bodies) == 2


def test_what_was_told_needs_no_more_room_on_the_disk(alive, state_file, full_database):
    watchdog()
    before = state_file.stat()
    with full_database():
        watchdog()
    assert state_file.stat().st_size == before.st_size
    assert json.loads(state_file.read_text())["fault"] == "the database is full"


# --- A look that does not work, on a database that answers ---


def each_look_ends_with(fault):
    def fail(execute, sql, *arguments):
        if "alerts_incident" in sql:
            raise fault
        return execute(sql, *arguments)

    return connection.execute_wrapper(fail)


@pytest.mark.parametrize(
    "fault", [OperationalError(1213, "Deadlock found"), IntegrityError(), TooLong()]
)
def test_a_look_that_does_not_work_is_no_fault_of_the_database(alive, receiver, settings, fault):
    settings.WATCHDOG_URLS = [receiver.url]
    with each_look_ends_with(fault):
        assert watchdog()[0] == 1
        status, printed = watchdog("--json")
    why = f"The look does not work ({type(fault).__name__}): is a migrate due?"
    assert (status, json.loads(printed)["standing_still"]) == (1, [why])
    assert json.loads(printed)["database"]
    assert watchdog() == (0, "All runs.\n")
    assert receiver.bodies == []


def test_a_look_that_does_not_work_for_long_is_told_and_so_is_its_end(alive, receiver, settings):
    settings.WATCHDOG_URLS = [receiver.url]
    with time_machine.travel(timezone.now(), tick=False) as clock:
        with each_look_ends_with(ProgrammingError("column does not exist")):
            for _ in range(12):
                watchdog()
                clock.shift(timedelta(minutes=1))
        for name in heartbeat.PARTS:
            heartbeat.beat(name)
        assert watchdog() == (0, "All runs.\n")
    assert [body["title"] for body in receiver.bodies] == [
        "[WhatReach] The look does not work",
        "[WhatReach] WhatReach looks at itself again",
    ]


# --- Without the database: a process of its own ---

# Two runs of an impatient one, for the start of one process.
TWICE = """
import sys, django
django.setup()
from django.core.management import call_command
from alerts import watchdog
watchdog.PATIENCE_S = watchdog.ANSWER_S = 1
for _ in range(2):
    try:
        call_command("watchdog")
    except SystemExit as end:
        status = end.code
sys.exit(status)
"""


@pytest.fixture
def run(receiver, tmp_path):
    """Run the watchdog on a database; return its exit status."""

    def run(url, *command):
        environ = {
            "DJANGO_SETTINGS_MODULE": "config.settings_test",
            "DATABASE_URL": url,
            "WATCHDOG_URLS": receiver.url,
            "WATCHDOG_STATE_FILE": str(tmp_path / "var" / "watchdog.json"),
        }
        command = command or ("manage.py", "watchdog")
        done = subprocess.run(
            [sys.executable, *command],
            cwd=ROOT,
            env=os.environ | environ,
            capture_output=True,
            text=True,
        )
        assert "Traceback" not in done.stderr
        return done.returncode

    return run


@pytest.mark.one_database
def test_new_code_before_its_migrate_tells_nobody_that_the_database_is_away(
    run, receiver, tmp_path
):
    assert run(f"sqlite:///{tmp_path}/empty.sqlite3") == 1
    assert receiver.bodies == []


@pytest.mark.one_database
@pytest.mark.django_db(transaction=True)
def test_a_database_that_is_away_is_told_once_and_so_is_its_return(run, receiver):
    with socket.create_server(("127.0.0.1", 0)) as server:
        gone = f"postgres://nobody@127.0.0.1:{server.getsockname()[1]}/none"
    for name in heartbeat.PARTS:
        heartbeat.beat(name)
    assert run(gone, "-c", TWICE) == 1
    (body,) = receiver.bodies
    assert body["title"] == "[WhatReach] The database does not answer"
    assert run(database_url()) == 0
    assert receiver.bodies[-1]["title"] == "[WhatReach] The database answers again"
    assert len(receiver.bodies) == 2


@pytest.mark.one_database
@pytest.mark.parametrize("scheme", ["postgres", "mysql"])
def test_a_database_that_is_blocked_does_not_block_the_watchdog(run, receiver, scheme):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert run(f"{scheme}://u@127.0.0.1:{silent.getsockname()[1]}/d", "-c", TWICE) == 1
    assert receiver.bodies[0]["title"] == "[WhatReach] The database does not answer"
