"""kill -9 in the middle of a renewal, at each point where it could hurt, on a real database.

A child process is forked, renews, and is killed by itself at the chosen point. Then time passes
(the lease is moved into the past, nothing sleeps) and the tick does what it does each minute.
CRASH_ROUNDS sets how often each case is played; 1 is enough to see that it holds.
"""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connections
from django.db.models import F
from django.utils import timezone
from django_q.models import OrmQ

from integrations import bulk, highlevel, holders, refresh, tasks
from integrations.health import State, Status
from integrations.highlevel import HighLevel
from integrations.install import finish_install
from integrations.models import (
    LOCATION,
    GoHighLevelIntegration,
    RefreshAttempt,
    RenewalJob,
    RenewalJobItem,
)

pytestmark = pytest.mark.django_db(transaction=True)
ROUNDS = int(os.environ.get("CRASH_ROUNDS", "1"))


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def before(owner: object, name: str) -> Callable[[], None]:
    """Die instead of calling it."""
    return lambda: setattr(owner, name, die)


def after(owner: object, name: str) -> Callable[[], None]:
    """Call it, then die with its result."""

    def patch() -> None:
        original = getattr(owner, name)

        def call_and_die(*args: object, **kwargs: object) -> None:
            original(*args, **kwargs)
            die()

        setattr(owner, name, call_and_die)

    return patch


POINTS = {
    "before the claim": before(refresh._Renewal, "claim"),
    "after the claim": before(RefreshAttempt, "save"),
    "after the journal": before(HighLevel, "refresh"),
    "after HighLevel's answer": after(HighLevel, "refresh"),
    "after the store": after(refresh._Renewal, "_put"),
}
every_point = pytest.mark.parametrize("point", POINTS)


def crash(arm: Callable[[], None], work: Callable[[], object]) -> None:
    """Do the work in a child that is killed where it was armed."""
    connections.close_all()
    pid = os.fork()
    if pid == 0:
        try:
            highlevel.SESSION = highlevel.make_session()
            arm()
            work()
        finally:
            os._exit(0)
    _pid, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, "it was not killed"


def let_the_lease_end(sent_ago: timedelta) -> None:
    """What the clock would do: leases and open journal entries are of some minutes ago."""
    now = timezone.now()
    rows = GoHighLevelIntegration.objects.exclude(lease_id=None)
    rows.update(lease_until=now - timedelta(seconds=1), renew_at=now - timedelta(seconds=1))
    GoHighLevelIntegration.objects.exclude(sent_at=None).update(sent_at=now - sent_ago)
    RefreshAttempt.objects.update(started_at=F("started_at") - timedelta(minutes=5))


def make_due(row: GoHighLevelIntegration) -> None:
    GoHighLevelIntegration.objects.filter(pk=row.pk).update(renew_at=timezone.now())


def sub_account(sandbox, *, agency: bool) -> GoHighLevelIntegration:
    """A connected sub-account, of an agency that is connected here too or by its own user."""
    installed = sandbox.install(bulk=agency)
    if agency:
        finish_install(installed.pk)
        tasks.tick()
    row = GoHighLevelIntegration.objects.get(user_type=LOCATION)
    assert row.status == Status.ACTIVE
    RefreshAttempt.objects.all().delete()
    return row


def renew(row: GoHighLevelIntegration) -> Callable[[], object]:
    return lambda: refresh.refresh_integration(row.pk, trigger="test")


def assert_healed(row: GoHighLevelIntegration, generation: int) -> None:
    assert_well(row, generation)
    assert RefreshAttempt.RUNNING not in RefreshAttempt.objects.values_list("outcome", flat=True)


def assert_well(row: GoHighLevelIntegration, generation: int) -> None:
    """As healed as it can be before the journal's entries of the dead are closed."""
    row.refresh_from_db()
    assert row.state(timezone.now()) is State.HEALTHY
    assert row.generation > generation
    assert row.sent_at is None


def crash_and_tick_twice(
    sandbox, point: str, *, agency: bool, grace_s: int, sent_ago: timedelta
) -> tuple[GoHighLevelIntegration, int]:
    """Return the install whose renewal was killed, and its generation before."""
    sandbox.post("knobs", refresh_grace_seconds=grace_s)
    row = sub_account(sandbox, agency=agency)
    make_due(row)
    crash(POINTS[point], renew(row))
    let_the_lease_end(sent_ago)
    tasks.tick()
    tasks.tick()
    return row, row.generation


@pytest.mark.parametrize("round_", range(ROUNDS))
@pytest.mark.parametrize("grace_s", [0, 30])
@every_point
def test_with_an_agency_every_crash_heals_within_two_ticks(sandbox, point, grace_s, round_):
    row, generation = crash_and_tick_twice(
        sandbox, point, agency=True, grace_s=grace_s, sent_ago=timedelta(minutes=5)
    )
    assert_healed(row, generation)
    assert max(token["accepted"] for token in sandbox.token_uses()) <= 1


@pytest.mark.parametrize("round_", range(ROUNDS))
@every_point
def test_alone_a_crash_heals_while_highlevel_still_forgives_a_repeat(sandbox, point, round_):
    row, generation = crash_and_tick_twice(
        sandbox, point, agency=False, grace_s=30, sent_ago=timedelta(seconds=5)
    )
    assert_healed(row, generation)


@pytest.mark.parametrize("round_", range(ROUNDS))
@every_point
def test_alone_and_too_late_only_a_lost_answer_needs_a_person(sandbox, point, round_):
    row, generation = crash_and_tick_twice(
        sandbox, point, agency=False, grace_s=0, sent_ago=timedelta(minutes=5)
    )
    if point != "after HighLevel's answer":
        assert_healed(row, generation)
        return
    row.refresh_from_db()
    assert row.state(timezone.now()) is State.NEEDS_RECONNECT
    assert row.cause == "answer_lost"
    assert max(token["accepted"] for token in sandbox.token_uses()) == 1


@pytest.mark.parametrize("round_", range(ROUNDS))
@every_point
def test_whoever_wants_the_token_next_goes_on_in_the_place_of_the_dead(sandbox, point, round_):
    sandbox.post("knobs", refresh_grace_seconds=30)
    row = sub_account(sandbox, agency=False)
    crash(POINTS[point], renew(row))
    assert refresh.refresh_integration(row.pk, trigger="api").success
    assert_well(row, 1)


@pytest.mark.parametrize("round_", range(ROUNDS))
def test_the_worker_is_told_at_once_of_what_a_dead_process_left(sandbox, round_):
    sandbox.post("knobs", refresh_grace_seconds=30)
    rows = [sandbox.install(bulk=False) for _ in range(3)]
    crash(after(HighLevel, "refresh"), renew(rows[0]))
    OrmQ.objects.all().delete()
    assert [holders.call_back_abandoned(), holders.call_back_abandoned()] == [1, 0]
    (rung,) = OrmQ.objects.all()
    assert rung.task["func"] == "integrations.tasks.tick"
    tasks.tick()
    assert_well(rows[0], 1)
    assert [row.generation for row in rows[1:]] == [1, 1]


def hold(row: GoHighLevelIntegration, holder: str) -> None:
    """Have somebody in the middle of a renewal."""
    now = timezone.now()
    GoHighLevelIntegration.objects.filter(pk=row.pk).update(
        lease_id=uuid.uuid4(),
        lease_until=now + refresh.LEASE,
        renew_at=now + refresh.LEASE,
        lease_holder=holder,
    )
    RefreshAttempt.objects.create(integration=row, way="refresh", generation=1, started_at=now)


def test_what_a_living_process_holds_is_left_to_it(sandbox):
    row = sandbox.install(bulk=False)
    hold(row, holders.this_process())
    assert refresh.refresh_integration(row.pk, trigger="api").outcome is refresh.Outcome.BUSY
    assert holders.call_back_abandoned() == 0
    assert not any(token["uses"] for token in sandbox.token_uses())


@pytest.mark.parametrize("holder", ["", "0123456789abcdef:99999999:1", "rubbish", "a:b:c"])
def test_what_a_process_out_of_sight_holds_is_left_to_it(sandbox, holder):
    row = sandbox.install(bulk=False)
    hold(row, holder)
    assert refresh.refresh_integration(row.pk, trigger="api").outcome is refresh.Outcome.BUSY
    assert holders.call_back_abandoned() == 0


def test_a_process_is_gone_once_it_is_killed_also_before_its_parent_takes_note():
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, holders.this_process().encode())
        signal.pause()
    child = os.read(reader, 100).decode()
    assert child != holders.this_process()
    assert not holders.is_gone(child)
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert holders.is_gone(child), "a zombie"
    os.waitpid(pid, 0)
    assert holders.is_gone(child)


def test_another_process_of_the_same_number_is_not_taken_for_it():
    place, pid, start = holders.this_process().split(":")
    assert holders.is_gone(f"{place}:{pid}:{int(start) - 1}")
    assert not holders.is_gone(f"{place}:{pid}:{start}")


def die_at(call: int) -> Callable[[], None]:
    """Die instead of sending so many renewals' refresh token."""

    def arm() -> None:
        refresh_one, calls = HighLevel.refresh, []

        def count_and_refresh(client: HighLevel, token: str, *, user_type: str) -> object:
            calls.append(token)
            if len(calls) == call:
                die()
            return refresh_one(client, token, user_type=user_type)

        HighLevel.refresh = count_and_refresh  # type: ignore[assignment]

    return arm


@pytest.fixture
def six_due(sandbox) -> list[GoHighLevelIntegration]:
    sandbox.post("knobs", refresh_grace_seconds=0)
    rows = [sandbox.install(bulk=False) for _ in range(6)]
    for row in rows:
        make_due(row)
    return rows


@pytest.mark.parametrize("round_", range(ROUNDS))
@pytest.mark.parametrize("call", [1, 2, 3, 6])
def test_a_crash_in_the_middle_of_a_batch_costs_no_install(sandbox, six_due, call, round_):
    crash(die_at(call), tasks.tick)
    assert GoHighLevelIntegration.objects.filter(generation=2).count() == call - 1
    let_the_lease_end(sent_ago=timedelta(minutes=5))
    tasks.tick()
    for row in six_due:
        assert_healed(row, 1)
    assert max(token["uses"] for token in sandbox.token_uses()) == 1


@pytest.mark.parametrize("round_", range(ROUNDS))
@pytest.mark.parametrize("call", [1, 2, 3, 6])
def test_a_job_whose_worker_was_killed_is_finished_without_a_second_renewal(
    sandbox, six_due, call, round_
):
    ids = [row.pk for row in six_due]
    job = bulk.create_job(ids, caller="test")
    bulk.hand_to_worker(job)
    OrmQ.objects.all().delete()  # the queue keeps what it handed out for ten minutes
    crash(die_at(call), lambda: bulk.run_batch(job, ids))
    assert job.progress().done < len(ids)
    let_the_lease_end(sent_ago=timedelta(minutes=5))
    long_ago = timezone.now() - bulk.STANDS_STILL - timedelta(seconds=1)
    RenewalJob.objects.update(rung_at=long_ago)
    # A slow machine has written some results down before the kill.
    RenewalJobItem.objects.exclude(ended_at=None).update(ended_at=long_ago)
    tasks.tick()  # renews what was in flight, and rings for the job
    (again,) = [task.task["args"] for task in OrmQ.objects.all()]
    tasks.renew_batch(*again)
    assert job.progress().renewed == len(ids)
    for row in six_due:
        assert_healed(row, 1)
    assert GoHighLevelIntegration.objects.filter(generation=2).count() == len(ids)
    assert max(token["uses"] for token in sandbox.token_uses()) == 1
