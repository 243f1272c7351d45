from __future__ import annotations

import pytest

from integrations import heartbeat


def test_healthz_answers_without_the_database(client):
    assert client.get("/healthz").json() == {"status": "ok"}


@pytest.mark.django_db
def test_readyz_says_what_is_not_ready(client):
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["checks"] == {
        "encryption_key": "ok",
        "database": "ok",
        "migrations": "ok",
        "worker": "no sign of life: python manage.py qcluster",
    }


@pytest.mark.django_db
def test_readyz_is_green_when_all_is_there(client):
    heartbeat.beat(heartbeat.WORKER)
    response = client.get("/readyz")
    assert (response.status_code, response.json()["status"]) == (200, "ready")


@pytest.mark.django_db
def test_readyz_names_a_missing_key(client, settings):
    settings.TOKEN_ENCRYPTION_KEYS = ""
    assert "TOKEN_ENCRYPTION_KEYS" in client.get("/readyz").json()["checks"]["encryption_key"]


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_only_reading_is_allowed(client, path):
    assert client.post(path).status_code == 405
