"""Quiet for a while, with a reason; never about something that gets worse."""

from __future__ import annotations

from datetime import timedelta

import pytest

from alerts import incidents
from alerts.models import Notice, Snooze
from alerts.tests.test_incidents import BEGAN, ENDED, STILL, WORSE, heal, refuse


@pytest.fixture
def row(make_install, make_channel):
    make_channel()
    return make_install(
        name="Harbour Dental", expires_in=-timedelta(minutes=1), failures=3, cause="our_request"
    )


def snooze(row, clock, hours=4):
    return incidents.snooze(
        incidents.key_of(row),
        until=clock.now + timedelta(hours=hours),
        reason="client is told",
        by="sam",
        subject=str(row),
        install=row,
    )


def whats(told):
    return [what for subject, what in told() if subject == "Harbour Dental"]


def test_what_is_snoozed_is_not_told_until_the_snooze_is_over(row, clock, told):
    clock.tick()
    snooze(row, clock, hours=30)
    clock.tick(after=timedelta(hours=25))  # a reminder would be due
    assert whats(told) == [BEGAN]
    clock.tick(after=timedelta(hours=6))
    assert whats(told) == [BEGAN, STILL]
    assert Snooze.objects.get().ending == Snooze.OVER


def test_a_worse_state_ends_the_snooze_at_once(row, clock, told):
    clock.tick()
    snooze(row, clock)
    clock.tick()
    refuse(row, clock.now)
    clock.tick()
    assert whats(told) == [BEGAN, WORSE]
    assert Snooze.objects.get().ending == Snooze.WORSE


def test_the_same_state_again_stays_quiet(row, clock, told):
    refuse(row, clock.now)
    clock.tick()
    snooze(row, clock)
    heal(row, clock.now)
    clock.tick()
    refuse(row, clock.now)
    clock.ticks(3)
    assert whats(told) == [BEGAN, ENDED]


def test_an_account_that_was_fine_when_it_was_snoozed_is_told_when_it_is_not(row, clock, told):
    heal(row, clock.now)
    snooze(row, clock)
    refuse(row, clock.now)
    clock.tick()
    assert whats(told) == [BEGAN]


def test_undone_it_tells_again_what_goes_on(row, clock, told):
    clock.tick()
    running = snooze(row, clock)
    clock.tick()
    assert incidents.end_snooze(running)
    assert not incidents.end_snooze(running)
    clock.tick()
    assert whats(told) == [BEGAN, STILL]


def test_a_second_snooze_takes_the_place_of_the_first(row, clock):
    first = snooze(row, clock)
    second = snooze(row, clock, hours=8)
    first.refresh_from_db()
    assert first.ending == Snooze.REPLACED
    assert list(Snooze.objects.running(clock.now)) == [second]


def test_what_began_while_it_was_snoozed_is_not_told_as_ended(row, clock, told):
    refuse(row, clock.now)
    clock.tick()
    snooze(row, clock)
    heal(row, clock.now)
    clock.tick()
    Notice.objects.all().delete()
    refuse(row, clock.now)
    clock.tick()
    heal(row, clock.now)
    clock.ticks(10)
    assert whats(told) == []
