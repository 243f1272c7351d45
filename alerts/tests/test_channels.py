"""Who is told what, and when."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

import pytest
import time_machine
from django.core import mail

from access.models import User
from access.roles import Role
from alerts import delivery, digest
from alerts.kinds import Kind
from alerts.models import Channel, Delivery, Incident
from alerts.tests.test_incidents import BEGAN, ENDED, heal, refuse


def subjects(told, channel):
    return [subject for subject, _what in told(channel)]


def test_a_channel_of_some_agencies_is_told_of_these_alone(make_install, make_channel, clock, told):
    northern = make_channel(agencies=["agency-north"])
    everything = make_channel()
    refuse(make_install(name="North", company_id="agency-north"), clock.now)
    refuse(make_install(name="South", company_id="agency-south"), clock.now)
    clock.tick()
    assert subjects(told, northern) == ["North"]
    assert sorted(subjects(told, everything)) == ["North", "South"]


def test_a_person_limited_to_agencies_hears_of_nothing_else(
    make_install, make_channel, make_person, clock, told
):
    vera = make_person("vera", Role.VIEWER, agencies=["agency-north"])
    hers = make_channel(vera)
    refuse(make_install(name="North", company_id="agency-north"), clock.now)
    refuse(make_install(name="South", company_id="agency-south"), clock.now)
    for _ in range(3):
        make_install(failures=1, cause="our_credentials", cause_since=clock.now)
    clock.tick()
    assert subjects(told, hers) == ["North"]


def test_a_channel_of_some_kinds_is_told_of_these_alone(make_install, make_channel, clock, told):
    channel = make_channel(kinds=[Kind.EXPIRED])
    refuse(make_install(name="Refused"), clock.now)
    make_install(name="Expired", expires_in=-timedelta(minutes=1), failures=2, cause="our_request")
    clock.tick()
    assert subjects(told, channel) == ["Expired"]


@pytest.mark.parametrize("change", [{"is_active": False}, {"is_staff": False}])
def test_whoever_has_left_is_told_nothing(make_install, make_channel, staff, clock, told, change):
    make_channel(staff)
    User.objects.filter(pk=staff.pk).update(**change)
    refuse(make_install(), clock.now)
    clock.tick()
    assert told() == []


def test_a_channel_that_is_off_is_told_nothing(make_install, make_channel, clock, told):
    delivery.switch_off(make_channel(), Channel.BY_PERSON)
    refuse(make_install(), clock.now)
    clock.tick()
    assert told() == []


# --- Quiet hours ---


@pytest.fixture
def night(make_channel, clock):
    """It is 23:30 in Berlin; the channel sleeps from 22 to 7 there."""
    clock.now = datetime(2026, 11, 24, 22, 30, tzinfo=UTC)
    with time_machine.travel(clock.now, tick=False):
        return make_channel(
            quiet_from=time(22), quiet_until=time(7), zone="Europe/Berlin", address="a@b.test"
        )


def test_in_quiet_hours_alerts_are_gathered_into_one_message(night, make_install, clock):
    one, other = make_install(name="One"), make_install(name="Other")
    refuse(one, clock.now)
    clock.tick()
    refuse(other, clock.now)
    clock.tick()
    heal(one, clock.now)
    clock.tick()
    assert mail.outbox == []
    assert Delivery.objects.get().due_at == datetime(2026, 11, 25, 6, tzinfo=UTC)
    clock.tick(after=timedelta(hours=7, minutes=30))
    (message,) = mail.outbox
    assert message.subject == "[WhatReach] Incidents: 1 began, 1 ended"
    assert "Other needs reconnect" in message.body
    assert "One is connected again" in message.body


@pytest.mark.parametrize(
    ("clock_time", "ends"),
    [
        ("2026-11-24T20:59", None),  # 21:59 in Berlin
        ("2026-11-24T21:00", "2026-11-25T06:00"),
        ("2026-11-25T05:59", "2026-11-25T06:00"),
        ("2026-11-25T06:00", None),
    ],
)
def test_quiet_hours_go_over_midnight_in_the_readers_zone(night, clock_time, ends):
    moment = datetime.fromisoformat(clock_time).replace(tzinfo=UTC)
    expected = datetime.fromisoformat(ends).replace(tzinfo=UTC) if ends else None
    assert night.quiet_ends(moment) == expected


# --- The weekly digest ---


def test_the_digest_comes_each_monday_also_when_all_is_well(make_install, make_channel, clock):
    clock.now = datetime(2026, 11, 22, 12, tzinfo=UTC)  # a Sunday
    with time_machine.travel(clock.now, tick=False):
        make_channel(
            wants_digest=True, digest_at=digest.next_time(clock.now, "UTC"), address="a@b.test"
        )
        make_install(renew_at=clock.now + timedelta(days=9), expires_in=timedelta(days=9))
    clock.tick()
    assert mail.outbox == []
    clock.tick(after=timedelta(hours=20))
    clock.tick(after=timedelta(hours=20))
    (message,) = mail.outbox
    assert message.subject == "[WhatReach] Your week: all is well"
    assert "1 accounts are looked after." in message.body
    clock.tick(after=timedelta(days=7))
    assert len(mail.outbox) == 2


def test_the_digest_counts_only_what_its_reader_may_see(
    make_install, make_channel, make_person, clock
):
    vera = make_person("vera", Role.VIEWER, agencies=["agency-north"])
    make_channel(vera, wants_digest=True, digest_at=clock.now)
    make_install(company_id="agency-north")
    refuse(make_install(name="South", company_id="agency-south"), clock.now)
    clock.tick()
    (message,) = [m for m in mail.outbox if "Your week" in m.subject]
    assert "1 accounts are looked after." in message.body
    assert "South" not in message.body


def test_next_monday_at_eight_is_where_the_reader_is():
    sunday = datetime(2026, 11, 22, 12, tzinfo=UTC)
    assert digest.next_time(sunday, "Europe/Berlin") == datetime(2026, 11, 23, 7, tzinfo=UTC)
    monday = datetime(2026, 11, 23, 7, tzinfo=UTC)
    assert digest.next_time(monday, "Europe/Berlin") == datetime(2026, 11, 30, 7, tzinfo=UTC)


def test_an_incident_tells_each_channel_once(make_install, make_channel, clock, told):
    one, other = make_channel(), make_channel(address="other@agency.test")
    row = make_install(name="Harbour Dental")
    refuse(row, clock.now)
    clock.ticks(2)
    heal(row, clock.now)
    clock.ticks(2)
    for channel in (one, other):
        assert told(channel) == [("Harbour Dental", BEGAN), ("Harbour Dental", ENDED)]
    assert Incident.objects.count() == 1
