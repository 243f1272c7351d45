"""How many calls a key has a minute, and how many wrong keys an address may try."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import time_machine
from django.db import connection

from access import limits
from access.models import CallWindow

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).resolve().parents[2]
NOON = datetime(2026, 11, 24, 12, 0, 20, tzinfo=UTC)
LIST = "/app/list/"


@pytest.fixture(autouse=True)
def noon():
    with time_machine.travel(NOON, tick=False):
        yield


def statuses(client, count, **extra):
    return [client.get(LIST, **extra).status_code for _ in range(count)]


@pytest.mark.parametrize("limit", [1, 7, 130])
def test_a_key_has_so_many_calls_a_minute_and_then_waits(api, settings, limit):
    settings.API_RATE_PER_MINUTE = limit
    client = api()
    assert statuses(client, limit) == [200] * limit
    answer = client.get(LIST)
    assert (answer.status_code, answer.json()["error"]) == (429, "too_many_calls")
    assert answer["Retry-After"] == "40"
    assert answer.json()["retry_after"] == 40
    with time_machine.travel(NOON + timedelta(seconds=40), tick=False):
        assert client.get(LIST).status_code == 200


def test_one_keys_calls_are_not_anothers(api, settings):
    settings.API_RATE_PER_MINUTE = 2
    busy, quiet = api(), api()
    assert statuses(busy, 3) == [200, 200, 429]
    assert statuses(quiet, 2) == [200, 200]


def test_without_a_limit_nothing_is_counted(api, settings):
    settings.API_RATE_PER_MINUTE = 0
    assert statuses(api(), 50) == [200] * 50
    assert not CallWindow.objects.exists()


def test_a_busy_key_costs_few_writes(api, settings, django_assert_max_num_queries):
    settings.API_RATE_PER_MINUTE = 1000
    key_id = uuid4()
    limits.wait_of_key(key_id)
    with django_assert_max_num_queries(5):
        assert [limits.wait_of_key(key_id) for _ in range(99)] == [None] * 99


def test_wrong_keys_of_one_address_are_answered_429_after_a_while(client, settings):
    settings.API_FAILED_KEYS_PER_MINUTE = 3
    wrong = {"headers": {"Authorization": "Bearer wr_0_x"}}
    assert statuses(client, 5, **wrong) == [401, 401, 401, 429, 429]
    assert client.get(LIST, **wrong)["Retry-After"] == "40"
    assert statuses(client, 1, REMOTE_ADDR="192.0.2.9", **wrong) == [401]


def test_a_good_key_opens_from_an_address_with_too_many_wrong_ones(api, client, settings):
    settings.API_FAILED_KEYS_PER_MINUTE = 1
    good = api()
    statuses(client, 3, headers={"Authorization": "Bearer wr_0_x"})
    assert good.get(LIST).status_code == 200


def test_a_clock_that_is_behind_does_not_begin_the_minute_again(settings):
    settings.API_FAILED_KEYS_PER_MINUTE = 2
    with time_machine.travel(NOON + timedelta(minutes=1), tick=False):
        assert limits.wait_of_address("192.0.2.1") is None
        assert limits.wait_of_address("192.0.2.1") is None
    assert limits.wait_of_address("192.0.2.1") is not None


def test_counters_that_were_quiet_for_an_hour_are_dropped(settings):
    limits.wait_of_address("192.0.2.1")
    limits.wait_of_key(uuid4())
    assert limits.forget_old() == 0
    with time_machine.travel(NOON + timedelta(minutes=62), tick=False):
        assert limits.forget_old() == 2


@pytest.mark.django_db(transaction=True)
def test_the_threads_of_a_process_use_up_the_whole_limit(settings):
    limit, threads, key_id = 500, 8, uuid4()
    settings.API_RATE_PER_MINUTE = limit
    barrier = threading.Barrier(threads)

    def allowed() -> int:
        barrier.wait()
        try:
            return sum(limits.wait_of_key(key_id) is None for _ in range(limit))
        finally:
            connection.close()

    with ThreadPoolExecutor(threads) as pool:
        counts = [pool.submit(allowed) for _ in range(threads)]
    assert sum(count.result() for count in counts) == limit


COUNTER = """
import sys, django, time_machine
django.setup()
from uuid import UUID
from access import limits
with time_machine.travel(float(sys.argv[2]), tick=False):
    print("ready", flush=True)
    sys.stdin.readline()
    print(sum(limits.wait_of_key(UUID(sys.argv[1])) is None for _ in range(200)))
"""


@pytest.mark.django_db(transaction=True)
def test_several_processes_share_one_limit():
    limit, key_id, processes = 300, uuid4(), 4
    name = connection.settings_dict["NAME"]
    is_sqlite = connection.vendor == "sqlite"
    url = f"sqlite:///{name}" if is_sqlite else os.environ["DATABASE_URL"].rpartition("/")[0]
    env = os.environ | {
        "DATABASE_URL": url if is_sqlite else f"{url}/{name}",
        "API_RATE_PER_MINUTE": str(limit),
        "DJANGO_SETTINGS_MODULE": "config.settings_test",
    }
    counting = [
        subprocess.Popen(
            [sys.executable, "-c", COUNTER, str(key_id), str(NOON.timestamp())],
            cwd=ROOT,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(processes)
    ]
    for process in counting:
        assert process.stdout.readline() == "ready\n"
    counts = [int(process.communicate("go\n", timeout=300)[0]) for process in counting]
    # A process takes six at a time (limit / 50), and may end with five of them left.
    assert limit - 5 * processes <= sum(counts) <= limit
