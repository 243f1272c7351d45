"""One refresh token, many processes: real ones, on a real database, against the sandbox's own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from django.conf import settings as django_settings
from django.db import connection

from integrations import highlevel
from integrations.install import install_from_code
from integrations.models import GoHighLevelIntegration, RefreshAttempt

ROOT = Path(__file__).resolve().parents[2]
PROCESSES = 8
ROUNDS = 5

# Each process waits for the moment that all were given, then asks for a token that is due.
RACER = """
import sys, time, json, django
django.setup()
from datetime import timedelta
from integrations.tokens import get_access_token
from django.db import connection
connection.ensure_connection()
print("ready", flush=True)
time.sleep(max(0, float(sys.stdin.readline()) - time.time()))
token = get_access_token(sys.argv[1], min_valid_for=timedelta(hours=11))
print(json.dumps({"token": token.access_token, "source": token.source}))
"""


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[str]:
    """A sandbox in a process of its own; returns its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "manage.py", "sandbox", "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--state", str(tmp_path / "sandbox.sqlite3"), "--webhook-url", ""],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_for(url + "/_sandbox/summary")
        yield url
    finally:
        process.terminate()
        process.wait(10)


def wait_for(url: str) -> None:
    give_up_at = time.monotonic() + 20
    while time.monotonic() < give_up_at:
        try:
            if requests.get(url, timeout=2).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.05)
    raise AssertionError(f"{url} does not answer")


def control(sandbox: str, path: str, **body: Any) -> Any:
    response = requests.post(f"{sandbox}/_sandbox/{path}", json=body, timeout=5)
    assert response.ok, response.text
    return response.json()


def database_url() -> str:
    """The address of the test's own database, for other processes."""
    name = connection.settings_dict["NAME"]
    url = os.environ["DATABASE_URL"]
    return (
        f"sqlite:///{name}" if connection.vendor == "sqlite" else f"{url.rpartition('/')[0]}/{name}"
    )


def race(sandbox: str, row: GoHighLevelIntegration) -> list[dict[str, str]]:
    env = os.environ | {
        "DATABASE_URL": database_url(),
        "GHL_API_BASE_URL": sandbox,
        "DJANGO_SETTINGS_MODULE": "config.settings_test",
    }
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(row.pk)],
            cwd=ROOT,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(PROCESSES)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    start = f"{time.time() + 0.2}\n"
    return [json.loads(racer.communicate(start, timeout=60)[0]) for racer in racers]


@pytest.mark.django_db(transaction=True)
def test_eight_processes_that_renew_at_once_spend_the_token_once(sandbox, settings, monkeypatch):
    monkeypatch.setattr(highlevel, "SESSION", highlevel.make_session())
    settings.GHL_API_BASE_URL = sandbox
    control(sandbox, "knobs", refresh_grace_seconds=0, access_token_life_seconds=80_000)
    agency = control(sandbox, "agencies", name="Northwind", locations=1)
    location = agency["locations"][0]["id"]
    code = control(
        sandbox,
        "install",
        company_id=agency["id"],
        location_ids=[location],
        bulk=False,
        redirect_uri=django_settings.GHL_REDIRECT_URI,
    )["code"]
    row = install_from_code(code)
    for n in range(1, ROUNDS + 1):
        before = GoHighLevelIntegration.objects.get()
        GoHighLevelIntegration.objects.update(
            expires_at=before.renewed_at, renew_at=before.renewed_at
        )
        answers = race(sandbox, row)
        row.refresh_from_db()
        assert {answer["token"] for answer in answers} == {row.open_access_token()}
        assert row.generation == n + 1
    uses = requests.get(f"{sandbox}/_sandbox/tokens", timeout=5).json()["tokens"]
    assert sorted(token["uses"] for token in uses) == [0] + [1] * ROUNDS
    assert RefreshAttempt.objects.count() == ROUNDS
