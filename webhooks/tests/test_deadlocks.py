"""Two that wait for each other's rows: the database ends one of them, and both get their way.

Which of the two it ends is the database's choice, so both sides of each test do the same.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.urls import reverse
from django.utils import timezone

from access.models import AuditEvent
from access.roles import Role
from integrations.deadlocks import TRIES, atomically, despite_deadlocks
from integrations.models import Heartbeat
from webhooks import processing
from webhooks.handlers import HANDLERS, EventType
from webhooks.models import EventAttempt, GoHighLevelWebhook

pytestmark = pytest.mark.django_db(transaction=True)
two_writers = pytest.mark.skipif(connection.vendor == "sqlite", reason="there one writes at a time")

WAIT_S = 20
EVENTS = GoHighLevelWebhook.objects
DEADLOCK = OperationalError(1213, "Deadlock found when trying to get lock")


def stored(name: str, kind: str = "ContactCreate") -> GoHighLevelWebhook:
    now = timezone.now()
    return EVENTS.create(
        webhook_id=name, type=kind, body="{}", occurred_at=now, received_at=now, process_at=now
    )


class Crossing:
    """Two that take the same two events, each the other one's first."""

    def __init__(self) -> None:
        self.first, self.second = stored("w-1"), stored("w-2")
        # What comes before the first lock, an UPDATE for example, may run into the other's.
        self._both_are_here = threading.Barrier(2)
        self._both_have_one = threading.Barrier(2)
        self._has_met = threading.local()

    def run(self, work: Callable[[int], Any]) -> list[Any]:
        """Run it twice side by side, the number says as which; return what they return."""

        def on_a_connection_of_its_own(which: int) -> Any:
            try:
                return work(which)
            finally:
                connection.close()

        with ThreadPoolExecutor(2) as threads:
            return list(threads.map(on_a_connection_of_its_own, range(2)))

    def take_both(self, which: int) -> None:
        """Lock one, then, as soon as the other side has one too, the other. Not the second time."""
        pair = (self.first, self.second) if which == 0 else (self.second, self.first)
        is_first_time = not hasattr(self._has_met, "once")
        self._has_met.once = True
        if is_first_time:
            self._both_are_here.wait(WAIT_S)
        EVENTS.select_for_update().get(pk=pair[0].pk)
        if is_first_time:
            self._both_have_one.wait(WAIT_S)
        EVENTS.select_for_update().get(pk=pair[1].pk)

    def on_the_way(self, which: int) -> Callable[..., Any]:
        """Around an UPDATE of events: it comes upon them in this order."""

        def execute(execute: Any, sql: str, *args: Any) -> Any:
            if not (sql.startswith("UPDATE") and GoHighLevelWebhook._meta.db_table in sql):
                return execute(sql, *args)
            alone = not connection.in_atomic_block
            with transaction.atomic() if alone else nullcontext():
                self.take_both(which)
                return execute(sql, *args)

        return execute


@two_writers
def test_two_clicks_that_wait_for_each_other_both_replay(make_person: Any, sign_in: Any) -> None:
    crossing = Crossing()
    EVENTS.update(status=GoHighLevelWebhook.PROCESSED, attempts=1, process_at=None)
    sam = make_person("sam", Role.OWNER)
    browsers = [sign_in(sam), sign_in(sam)]

    def click(which: int) -> int:
        with connection.execute_wrapper(crossing.on_the_way(which)):
            answer = browsers[which].post(reverse("dashboard:event-bulk-run"), {"all": "1"})
        return int(answer.status_code)

    assert crossing.run(click) == [302, 302]
    assert EVENTS.filter(status=GoHighLevelWebhook.PENDING, attempts=0).count() == 2
    assert AuditEvent.objects.filter(action="event.bulk_replay").count() == 2


@two_writers
def test_two_sweeps_that_wait_for_each_other_end_what_nobody_handles() -> None:
    crossing = Crossing()

    def sweep(which: int) -> int:
        with connection.execute_wrapper(crossing.on_the_way(which)):
            return processing.sweep()

    assert crossing.run(sweep) == [2, 2]
    assert EVENTS.filter(status=GoHighLevelWebhook.IGNORED, attempts=1).count() == 2


@two_writers
def test_two_handlers_that_wait_for_each_other_both_do_their_work(monkeypatch: Any) -> None:
    crossing = Crossing()
    own = {crossing.first.pk: 0, crossing.second.pk: 1}

    def handle(event: GoHighLevelWebhook) -> str:
        crossing.take_both(own[event.pk])
        return "done"

    monkeypatch.setitem(HANDLERS, "ContactCreate", EventType(handle, ""))
    pks = list(own)
    assert crossing.run(lambda which: processing.process_event(pks[which])) == ["processed"] * 2
    assert not EventAttempt.objects.exists()


def failing(error: OperationalError) -> tuple[list[int], Callable[[], None]]:
    tries: list[int] = []

    def write() -> None:
        tries.append(1)
        raise error

    return tries, write


def test_a_database_that_is_locked_or_away_is_not_asked_again() -> None:
    for text in ("database is locked", "server closed the connection"):
        tries, write = failing(OperationalError(text))
        with pytest.raises(OperationalError):
            despite_deadlocks(write)
        assert len(tries) == 1


def test_what_ends_in_a_deadlock_each_time_is_given_up() -> None:
    tries, write = failing(DEADLOCK)
    with pytest.raises(OperationalError):
        despite_deadlocks(write)
    assert len(tries) == TRIES


def test_what_is_run_again_leaves_nothing_of_its_first_try() -> None:
    faults = [DEADLOCK]

    @atomically
    def write(name: str) -> str:
        Heartbeat.objects.create(name=f"{name} {len(faults)}", at=timezone.now())
        if faults:
            raise faults.pop()
        return name

    assert write("try") == "try"
    assert [row.name for row in Heartbeat.objects.filter(name__startswith="try")] == ["try 0"]


def test_a_part_of_a_transaction_is_not_run_again_alone() -> None:
    tries, write = failing(DEADLOCK)
    with pytest.raises(OperationalError), transaction.atomic():
        despite_deadlocks(write)
    assert len(tries) == 1
