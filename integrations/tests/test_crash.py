"""kill -9 in the middle of a renewal, at each point where it could hurt, on a real database.

A child process is forked, renews, and is killed by itself at the chosen point. Then time passes
(the lease is moved into the past, nothing sleeps) and the tick does what it does each minute.
CRASH_ROUNDS sets how often each case is played; 1 is enough to see that it holds.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connections
from django.db.models import F
from django.utils import timezone

from integrations import highlevel, refresh, tasks
from integrations.health import State, Status
from integrations.highlevel import HighLevel
from integrations.install import finish_install
from integrations.models import LOCATION, GoHighLevelIntegration, RefreshAttempt

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
    "before the claim": before(refresh, "_claim"),
    "after the claim": after(refresh, "_claim"),
    "after the journal": before(HighLevel, "refresh"),
    "after HighLevel's answer": after(HighLevel, "refresh"),
    "after the store": before(RefreshAttempt, "save"),
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
    row.refresh_from_db()
    assert row.state(timezone.now()) is State.HEALTHY
    assert row.generation > generation
    assert row.sent_at is None
    assert RefreshAttempt.RUNNING not in RefreshAttempt.objects.values_list("outcome", flat=True)


@pytest.mark.parametrize("round_", range(ROUNDS))
@pytest.mark.parametrize("grace_s", [0, 30])
@every_point
def test_with_an_agency_every_crash_heals_within_two_ticks(sandbox, point, grace_s, round_):
    sandbox.post("knobs", refresh_grace_seconds=grace_s)
    row = sub_account(sandbox, agency=True)
    generation = row.generation
    make_due(row)
    crash(POINTS[point], renew(row))
    let_the_lease_end(sent_ago=timedelta(minutes=5))
    tasks.tick()
    tasks.tick()
    assert_healed(row, generation)
    assert max(token["accepted"] for token in sandbox.token_uses()) <= 1


@pytest.mark.parametrize("round_", range(ROUNDS))
@every_point
def test_alone_a_crash_heals_while_highlevel_still_forgives_a_repeat(sandbox, point, round_):
    sandbox.post("knobs", refresh_grace_seconds=30)
    row = sub_account(sandbox, agency=False)
    generation = row.generation
    make_due(row)
    crash(POINTS[point], renew(row))
    let_the_lease_end(sent_ago=timedelta(seconds=5))
    tasks.tick()
    tasks.tick()
    assert_healed(row, generation)


@pytest.mark.parametrize("round_", range(ROUNDS))
@every_point
def test_alone_and_too_late_only_a_lost_answer_needs_a_person(sandbox, point, round_):
    sandbox.post("knobs", refresh_grace_seconds=0)
    row = sub_account(sandbox, agency=False)
    generation = row.generation
    make_due(row)
    crash(POINTS[point], renew(row))
    let_the_lease_end(sent_ago=timedelta(minutes=5))
    tasks.tick()
    tasks.tick()
    if point != "after HighLevel's answer":
        assert_healed(row, generation)
        return
    row.refresh_from_db()
    assert row.state(timezone.now()) is State.NEEDS_RECONNECT
    assert row.cause == "answer_lost"
    assert max(token["accepted"] for token in sandbox.token_uses()) == 1


def die_at_the_third_renewal() -> None:
    refresh_one, calls = HighLevel.refresh, []

    def count_and_refresh(client: HighLevel, token: str, *, user_type: str) -> object:
        calls.append(token)
        if len(calls) == 3:
            die()
        return refresh_one(client, token, user_type=user_type)

    HighLevel.refresh = count_and_refresh  # type: ignore[assignment]


def test_a_crash_in_the_middle_of_a_batch_costs_no_install(sandbox):
    sandbox.post("knobs", refresh_grace_seconds=0)
    rows = [sandbox.install(bulk=False) for _ in range(6)]
    for row in rows:
        make_due(row)
    crash(die_at_the_third_renewal, tasks.tick)
    assert GoHighLevelIntegration.objects.filter(generation=2).count() == 2
    let_the_lease_end(sent_ago=timedelta(minutes=5))
    tasks.tick()
    for row in rows:
        assert_healed(row, 1)
    assert max(token["uses"] for token in sandbox.token_uses()) == 1
