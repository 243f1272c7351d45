"""The queue in Redis: a real server, a real worker. Part of the run where both are installed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from integrations.models import GoHighLevelIntegration
from integrations.tests.test_race import database_url
from integrations.tests.test_worker import generation, group, until

redis = pytest.importorskip("redis", reason="pip install -r requirements-redis.txt")
pytestmark = [
    pytest.mark.one_database,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(shutil.which("redis-server") is None, reason="apt-get install redis-server"),
]

CLICK = """
import sys, uuid, django
django.setup()
from django.db import transaction
from django_q.brokers import get_broker
from integrations.refresh import request_refresh
with transaction.atomic():
    assert request_refresh(uuid.UUID(sys.argv[1]), trigger="dashboard", caller="sam")
    print("inside", get_broker().queue_size())
print("after", get_broker().queue_size())
"""


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    server = subprocess.Popen([*command, "--dir", str(tmp_path)], stdout=subprocess.DEVNULL)
    url = f"redis://127.0.0.1:{port}/0"
    try:
        client = redis.Redis.from_url(url)
        give_up_at = time.monotonic() + 60
        while True:
            try:
                client.ping()
                break
            except redis.ConnectionError:
                assert time.monotonic() < give_up_at, "Redis does not answer"
                time.sleep(0.05)
        client.close()
        yield url
    finally:
        server.terminate()
        server.wait(60)


@pytest.fixture
def environ(sandbox: Any, redis_url: str) -> dict[str, str]:
    return {
        "DATABASE_URL": database_url(),
        "GHL_API_BASE_URL": sandbox.url,
        "REDIS_URL": redis_url,
    }


def click(row: GoHighLevelIntegration, environ: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-c", CLICK, str(row.pk)],
        cwd=settings.BASE_DIR,
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "config.settings_test"} | environ,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_task_is_rung_for_after_its_transaction(sandbox, environ):
    row = sandbox.install(bulk=False)
    assert click(row, environ).split() == ["inside", "0", "after", "1"]


def test_a_worker_takes_its_tasks_from_redis(sandbox, environ):
    row = sandbox.install(bulk=False)
    click(row, environ)
    with group("manage.py", "qcluster", environ=environ) as worker:
        until(lambda: generation(row) == 2, what="the renewal is stored")
        worker.end()


def test_without_redis_what_was_clicked_is_still_known(sandbox, environ):
    row = sandbox.install(bulk=False)
    broken = environ | {"REDIS_URL": "redis://127.0.0.1:1/0"}
    program = CLICK.replace('print("inside", get_broker().queue_size())', "pass")
    program = program.replace('print("after", get_broker().queue_size())', "")
    done = subprocess.run(
        [sys.executable, "-c", program, str(row.pk)],
        cwd=settings.BASE_DIR,
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "config.settings_test"} | broken,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "Redis does not take a task" in done.stderr
    row.refresh_from_db()
    assert row.requested_at is not None


def test_doctor_says_that_redis_is_away(environ):
    done = subprocess.run(
        [sys.executable, "manage.py", "doctor", "--offline"],
        cwd=settings.BASE_DIR,
        env=os.environ
        | {"DJANGO_SETTINGS_MODULE": "config.settings_test"}
        | environ
        | {"REDIS_URL": "redis://127.0.0.1:1/0"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "The queue cannot be reached: Redis does not answer" in done.stdout
