"""A message that is not taken is tried again, for a day; a channel that only fails is given up."""

from __future__ import annotations

import logging
from datetime import time, timedelta

import pytest
import time_machine

from access.roles import Role
from alerts import delivery, messages, tasks
from alerts.kinds import Kind
from alerts.models import Channel, Delivery, Incident
from alerts.tests.test_incidents import refuse


@pytest.fixture
def hook(make_channel, receiver):
    return make_channel(address=receiver.url, name="Hook")


@pytest.fixture
def trouble(make_install, clock):
    row = make_install(name="Harbour Dental")
    refuse(row, clock.now)
    return row


def reload(row):
    row.refresh_from_db()
    return row


def test_it_is_tried_again_in_growing_distances_until_it_is_taken(hook, trouble, clock, receiver):
    receiver.status = 500
    clock.tick()
    tries = [0]
    for minute in range(1, 25):
        before = len(receiver.paths)
        clock.deliver()
        tries += [minute] if len(receiver.paths) > before else []
    assert tries == [0, 1, 3, 8, 23]
    waiting = Delivery.objects.get()
    assert (waiting.status, waiting.attempts) == (Delivery.WAITING, 5)
    assert "error=500" in waiting.error
    receiver.status = 200
    clock.deliver(after=timedelta(minutes=30))
    assert reload(waiting).status == Delivery.SENT
    assert (reload(hook).failing_since, hook.last_error) == (None, "")


def test_one_message_that_cannot_be_made_holds_up_no_other(
    make_channel, trouble, clock, receiver, monkeypatch, caplog
):
    caplog.set_level(logging.CRITICAL)  # its traceback is not what this shows
    bad = make_channel(address=receiver.url)
    good = make_channel(address=receiver.url)
    compose = messages.compose

    def broken(message, now):
        if message.channel_id == bad.pk:
            raise LookupError("nobody foresaw this")
        return compose(message, now)

    monkeypatch.setattr(messages, "compose", broken)
    clock.tick()
    statuses = dict(Delivery.objects.values_list("channel", "status"))
    assert statuses == {bad.pk: Delivery.WAITING, good.pk: Delivery.SENT}


def test_a_channel_in_a_zone_that_is_no_more_keeps_no_other_from_being_told(
    make_channel, hook, trouble, clock, receiver
):
    quiet = {"quiet_from": time(1), "quiet_until": time(1)}  # never
    make_channel(address=receiver.url, zone="US/Pacific-New", wants_digest=True, **quiet)
    clock.tick(after=timedelta(days=8))
    assert reload(hook).told_at
    assert Delivery.objects.filter(status=Delivery.SENT).count() == 3


def test_after_a_day_of_tries_it_is_given_up(hook, trouble, clock, receiver):
    receiver.status = 503
    clock.tick()
    for pause in delivery.PAUSES:
        clock.deliver(after=pause)
    (given_up,) = Delivery.objects.all()
    assert (given_up.status, given_up.due_at) == (Delivery.GIVEN_UP, None)
    assert len(receiver.paths) == given_up.attempts == len(delivery.PAUSES) + 1
    assert reload(hook).is_on


def test_a_channel_that_refuses_again_and_again_is_switched_off_and_another_is_told(
    hook, trouble, clock, receiver, make_channel, told
):
    other = make_channel(name="Other")
    receiver.status = 404
    for _ in range(delivery.MOST_REFUSALS + 1):
        clock.tick(after=timedelta(hours=3))
    assert reload(hook).disabled_why == Channel.FAILED
    assert ("Channel Hook", "began") in told(other)
    asked = len(receiver.paths)
    clock.tick(after=timedelta(hours=30))
    assert len(receiver.paths) == asked
    delivery.switch_on(hook)
    clock.tick()
    assert Incident.objects.get(kind=Kind.CHANNEL).closed_at is not None


def test_a_limited_person_hears_when_another_channel_of_theirs_is_switched_off(
    clock, make_channel, make_person, told
):
    vera = make_person("vera", Role.VIEWER, agencies=["agency-north"])
    broken, other = make_channel(vera, name="Broken"), make_channel(vera, name="Other")
    delivery.switch_off(broken, Channel.FAILED)
    clock.tick()
    assert told(other) == [("Channel Broken", "began")]


def test_a_channel_that_fails_for_five_days_is_switched_off(hook, trouble, clock, receiver):
    receiver.status = 500
    for _ in range(9):
        clock.tick(after=timedelta(hours=12))
    assert reload(hook).is_on
    for _ in range(3):
        clock.tick(after=timedelta(hours=12))
    assert reload(hook).disabled_why == Channel.FAILED


def test_one_success_forgets_earlier_failures(hook, trouble, clock, receiver):
    receiver.status = 404
    clock.ticks(3)
    assert reload(hook).refusals == 2
    receiver.status = 200
    clock.ticks(3)
    assert (reload(hook).refusals, hook.failing_since) == (0, None)


def test_what_a_process_died_with_is_sent_by_another(hook, trouble, clock, receiver, monkeypatch):
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("alerts.sending.send_by_apprise", die)
        clock.tick()
    clock.now += timedelta(minutes=2)
    with time_machine.travel(clock.now, tick=False):
        tasks.deliver()
    assert Delivery.objects.get().status == Delivery.SENT
    assert len(receiver.bodies) == 1


def test_two_that_take_the_same_delivery_send_it_once(hook, trouble, clock, receiver):
    clock.tick()
    sent = Delivery.objects.get()
    assert delivery.deliver(sent.pk) == Delivery.SENT
    assert len(receiver.bodies) == 1


def test_old_rows_are_forgotten_and_open_ones_kept(hook, trouble, clock, settings):
    settings.HISTORY_KEEP_DAYS = 10
    clock.tick()
    Incident.objects.create(
        key="disk", kind=Kind.DISK, subject="Disk", opened_at=clock.now, closed_at=clock.now
    )
    with time_machine.travel(clock.now + timedelta(days=11)):
        tasks.clean_up()
    assert list(Incident.objects.values_list("subject", flat=True)) == ["Harbour Dental"]
    assert not Delivery.objects.exists()
