"""One refresh token, many processes: real ones, on a real database, against the sandbox's own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from django.db import connection

from integrations.install import finish_install
from integrations.models import LOCATION, GoHighLevelIntegration, RefreshAttempt

ROOT = Path(__file__).resolve().parents[2]
PROCESSES = 8
ROUNDS = 10

# Each process waits for the moment that all were given, then asks for a token that is due.
RACER = """
import sys, time, json, django
django.setup()
from datetime import timedelta
from integrations.tokens import get_access_token
from django.db import connection
connection.ensure_connection()
print("ready", flush=True)
for line in sys.stdin:
    time.sleep(max(0, float(line) - time.time()))
    token = get_access_token(sys.argv[1], min_valid_for=timedelta(hours=11))
    print(token.access_token, flush=True)
"""


def database_url() -> str:
    """The address of the test's own database, for other processes."""
    name = connection.settings_dict["NAME"]
    if connection.vendor == "sqlite":
        return f"sqlite:///{name}"
    return f"{os.environ['DATABASE_URL'].rpartition('/')[0]}/{name}"


@contextmanager
def racers(url: str, row: GoHighLevelIntegration) -> Iterator[list[subprocess.Popen[str]]]:
    env = os.environ | {
        "DATABASE_URL": database_url(),
        "GHL_API_BASE_URL": url,
        "DJANGO_SETTINGS_MODULE": "config.settings_test",
    }
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", RACER, str(row.pk)],
                    cwd=ROOT,
                    env=env,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(PROCESSES)
        ]
        for process in processes:
            assert answer_of(process) == "ready"
        yield processes


def answer_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def race(processes: list[subprocess.Popen[str]]) -> set[str]:
    """Let all ask at the same moment; return the tokens that they got."""
    start = f"{time.time() + 0.2}\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(start)
        process.stdin.flush()
    return {answer_of(process) for process in processes}


@pytest.mark.django_db(transaction=True)
def test_eight_processes_that_renew_at_once_spend_the_token_once(sandbox):
    sandbox.post("knobs", refresh_grace_seconds=0, access_token_life_seconds=80_000)
    row = sandbox.install(bulk=False)
    with racers(sandbox.url, row) as processes:
        for n in range(1, ROUNDS + 1):
            GoHighLevelIntegration.objects.update(expires_at=row.installed_at)
            tokens = race(processes)
            row.refresh_from_db()
            assert tokens == {row.open_access_token()}
            assert row.generation == n + 1
    assert sorted(token["uses"] for token in sandbox.token_uses()) == [0] + [1] * ROUNDS
    assert RefreshAttempt.objects.count() == ROUNDS


@pytest.mark.django_db(transaction=True)
def test_eight_processes_that_want_the_first_token_of_one_that_waits_mint_it_once(sandbox):
    agency = sandbox.install(bulk=True)
    finish_install(agency.pk)
    row = GoHighLevelIntegration.objects.get(user_type=LOCATION)
    with racers(sandbox.url, row) as processes:
        tokens = race(processes)
    row.refresh_from_db()
    assert tokens == {row.open_access_token()}
    assert RefreshAttempt.objects.get().way == "mint"
