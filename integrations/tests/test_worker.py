"""The worker as it runs in production: `manage.py qcluster`, a cluster of real processes.

Each cluster has a process group of its own. To end it, its first process alone is signalled; what
is left of the group afterwards is an error.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django_q.models import OrmQ, Schedule
from django_q.scheduler import scheduler
from django_q.tasks import async_task

from integrations import heartbeat
from integrations.models import GoHighLevelIntegration, RefreshAttempt
from integrations.refresh import request_refresh
from integrations.schedules import TICK
from integrations.tests.test_crash import assert_healed, assert_well, let_the_lease_end, sub_account
from integrations.tests.test_race import database_url

ROOT = Path(__file__).resolve().parents[2]
# The parent, its sentinel, two workers, the monitor and the pusher.
CLUSTER_SIZE = 6

real_processes = pytest.mark.django_db(transaction=True)


def until(done: Callable[[], Any], *, what: str, at_most_s: float = 120) -> Any:
    """Return the first true result of `done`, asked again and again."""
    give_up_at = time.monotonic() + at_most_s
    while not (result := done()):
        assert time.monotonic() < give_up_at, f"not within {at_most_s} s: {what}"
        time.sleep(0.05)
    return result


class Group:
    """A program and all that it started, in a process group of their own."""

    def __init__(self, *command: str, environ: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env=os.environ | {"DJANGO_SETTINGS_MODULE": "config.settings_test"} | environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )

    def members(self) -> list[int]:
        """The ids of its processes; those that have ended and wait to be reaped do not count."""
        members = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                # "1234 (a name) S 1 1234 …": id, name, state, parent, group
                state, _parent, group = stat.read_text().rpartition(") ")[2].split()[:3]
                if int(group) == self.process.pid and state not in "ZX":
                    members.append(int(stat.parent.name))
        return members

    def end(self) -> None:
        """Ask the first process to end; it must take all others with it."""
        self.process.terminate()
        assert self.process.wait(timeout=120) == 0
        assert self.members() == []

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=60)
        until(lambda: not self.members(), what="every process of the group is gone")


@contextmanager
def group(*command: str, environ: dict[str, str]) -> Iterator[Group]:
    started = Group(*command, environ=environ)
    try:
        yield started
    finally:
        started.kill()


@pytest.fixture
def cluster(sandbox):
    """Return a context that runs a worker's cluster on the test's database."""
    environ = {"DATABASE_URL": database_url(), "GHL_API_BASE_URL": sandbox.url}
    return lambda: group("manage.py", "qcluster", environ=environ)


def is_in_flight(sandbox) -> bool:
    """Whether HighLevel has taken a refresh token; with its latency the answer is on its way."""
    return any(token["accepted"] for token in sandbox.token_uses())


def generation(row: GoHighLevelIntegration) -> int:
    return GoHighLevelIntegration.objects.values_list("generation", flat=True).get(pk=row.pk)


def click(row: GoHighLevelIntegration) -> None:
    assert request_refresh(row.pk, trigger="dashboard", caller="sam")


@real_processes
def test_the_worker_renews_what_was_clicked(sandbox, cluster):
    row = sandbox.install(bulk=False)
    with cluster():
        click(row)
        until(lambda: generation(row) == 2, what="the renewal is stored")
    attempt = RefreshAttempt.objects.get()
    assert (attempt.trigger, attempt.caller) == ("dashboard", "sam")


@real_processes
def test_a_scheduled_tick_shows_that_worker_and_scheduler_live(sandbox, cluster):
    scheduler()  # what the cluster's sentinel does about every 30 s
    with cluster():
        for name in (heartbeat.WORKER, heartbeat.SCHEDULER):
            until(
                lambda name=name: name in heartbeat.read_all(), what=f"a sign of life of the {name}"
            )


@real_processes
def test_sigterm_lets_a_renewal_in_flight_end_and_leaves_no_process(sandbox, cluster):
    row = sandbox.install(bulk=False)
    sandbox.post("knobs", latency_seconds=2, refresh_grace_seconds=0)
    with cluster() as worker:
        click(row)
        until(lambda: is_in_flight(sandbox), what="the renewal is on its way")
        worker.end()
    row.refresh_from_db()
    assert (row.generation, row.sent_at) == (2, None)
    assert max(token["uses"] for token in sandbox.token_uses()) == 1


@real_processes
def test_another_worker_heals_what_kill_9_cut_off(sandbox, cluster):
    sandbox.post("knobs", refresh_grace_seconds=0)
    row = sub_account(sandbox, agency=True)
    OrmQ.objects.all().delete()
    sandbox.post("knobs", latency_seconds=8)  # nobody waits for it: the caller is killed
    with cluster() as worker:
        click(row)
        until(lambda: is_in_flight(sandbox), what="the renewal is on its way")
        worker.kill()
    assert generation(row) == 1
    sandbox.post("knobs", latency_seconds=0)
    let_the_lease_end(sent_ago=timedelta(minutes=5))
    async_task("integrations.tasks.tick")
    with cluster() as another:
        until(lambda: generation(row) == 2, what="the install is healed")
        another.end()
    assert_healed(row, 1)
    assert max(token["accepted"] for token in sandbox.token_uses()) == 1


@real_processes
def test_a_worker_that_starts_again_saves_what_kill_9_cut_off_while_highlevel_forgives(
    sandbox, cluster
):
    row = sub_account(sandbox, agency=False)
    OrmQ.objects.all().delete()
    sandbox.post("knobs", latency_seconds=8, refresh_grace_seconds=30)
    with cluster() as worker:
        click(row)
        until(lambda: is_in_flight(sandbox), what="the renewal is on its way")
        worker.kill()
    sandbox.post("knobs", latency_seconds=0)
    OrmQ.objects.all().delete()  # what was clicked would come again after ten minutes
    with cluster() as another:
        until(lambda: generation(row) == 2, what="the install is healed, its lease not over")
        another.end()
    assert_well(row, 1)


@real_processes
def test_two_workers_that_start_at_once_restore_each_schedule_once(cluster):
    Schedule.objects.all().delete()
    with cluster() as one, cluster() as other:
        for worker in (one, other):
            until(
                lambda worker=worker: len(worker.members()) == CLUSTER_SIZE,
                what="all processes of the cluster run",
            )
        one.end()
        other.end()
    counted = Counter(Schedule.objects.values_list("name", flat=True))
    assert counted[TICK] == 1
    assert set(counted.values()) == {1}
