from __future__ import annotations

from datetime import timedelta

import pytest
import time_machine
from django.db import InterfaceError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from config import health
from integrations import heartbeat


def test_healthz_answers_without_the_database(client):
    assert client.get("/healthz").json() == {"status": "ok"}


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_another_method_is_refused_as_such(path):
    assert Client(enforce_csrf_checks=True).post(path).status_code == 405


@pytest.mark.django_db
def test_readyz_says_what_is_not_ready(client):
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["checks"] == {
        "encryption_key": "ok",
        "database": "ok",
        "migrations": "ok",
        "web": "ok",
        "worker": "no sign of life: python manage.py qcluster",
        "scheduler": "no sign of life: python manage.py qcluster",
        "renewals": "ok",
    }


@pytest.mark.django_db
def test_readyz_is_green_when_all_is_there(client):
    heartbeat.beat(heartbeat.WORKER)
    heartbeat.beat(heartbeat.SCHEDULER)
    response = client.get("/readyz")
    assert (response.status_code, response.json()["status"]) == (200, "ready")


@pytest.mark.django_db
def test_readyz_tells_a_dead_scheduler_from_a_dead_worker(client):
    heartbeat.beat(heartbeat.WORKER)
    response = client.get("/readyz")
    assert response.status_code == 503
    checks = response.json()["checks"]
    assert checks["worker"] == "ok"
    assert checks["scheduler"] == "no sign of life: python manage.py qcluster"


@pytest.mark.django_db
def test_readyz_tells_that_renewals_are_due_and_none_is_done(client, make_install):
    for name in heartbeat.PARTS:
        heartbeat.beat(name)
    row = make_install(renew_at=timezone.now() - timedelta(minutes=20))
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"]["renewals"] == "due, and none is done"
    row.delete()
    assert client.get("/readyz").status_code == 200


@pytest.mark.django_db
def test_readyz_tells_that_no_web_server_can_write(client):
    with time_machine.travel(timezone.now() - heartbeat.STALE_AFTER, tick=False):
        heartbeat.beat_as_web()
    assert client.get("/readyz").json()["checks"]["web"] == "no sign of life in the database"
    heartbeat.beat_as_web()
    assert client.get("/readyz").json()["checks"]["web"] == "ok"


@pytest.mark.django_db
def test_web_processes_write_one_sign_of_life_between_them():
    heartbeat.beat_as_web()
    first = heartbeat.read_all()[heartbeat.WEB]
    heartbeat.beat_as_web()  # of another process, a moment later
    assert heartbeat.read_all()[heartbeat.WEB] == first
    with time_machine.travel(timezone.now() + timedelta(seconds=heartbeat.WEB_EVERY_S)):
        heartbeat.beat_as_web()
    assert heartbeat.read_all()[heartbeat.WEB] > first


@pytest.mark.django_db
def test_readyz_tells_a_full_database_from_one_that_does_not_answer(client, full_database):
    health._has_written.cache_clear()
    with full_database():
        assert client.get("/readyz").json()["checks"]["database"] == "the database is full"
    assert client.get("/readyz").json()["checks"]["database"] == "ok"

    def away(*_: object) -> None:
        raise InterfaceError("connection already closed")

    with connection.execute_wrapper(away):
        answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"]["database"] == "the database does not answer"


@pytest.mark.django_db
@pytest.mark.skipif(connection.vendor != "postgresql", reason="a right of PostgreSQL")
def test_readyz_needs_no_right_to_make_temporary_tables(client):
    health._has_written.cache_clear()
    with connection.cursor() as cursor:
        cursor.execute("CREATE ROLE wr_no_temporary")
        cursor.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO wr_no_temporary")
        name = connection.ops.quote_name(connection.settings_dict["NAME"])
        cursor.execute(f"REVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC")
        cursor.execute("SET LOCAL ROLE wr_no_temporary")
    assert client.get("/readyz").json()["checks"]["database"] == "ok"


@pytest.mark.django_db
def test_readyz_writes_once_however_often_it_is_asked(client):
    def writes() -> int:
        with CaptureQueriesContext(connection) as captured:
            client.get("/readyz")
        return sum(q["sql"].startswith(("INSERT", "CREATE")) for q in captured)

    with time_machine.travel(timezone.now(), tick=False):
        health._has_written.cache_clear()
        assert [writes(), writes(), writes()] == [1, 0, 0]


@pytest.mark.django_db
def test_readyz_names_a_missing_key(client, settings):
    settings.TOKEN_ENCRYPTION_KEYS = ""
    assert "TOKEN_ENCRYPTION_KEYS" in client.get("/readyz").json()["checks"]["encryption_key"]


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_only_reading_is_allowed(client, path):
    assert client.post(path).status_code == 405
