"""From what is wrong to what people are told: one thing once, and its end."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from django.core import mail
from django.utils import timezone

from alerts import incidents, watch
from alerts.kinds import Kind
from alerts.models import Incident, Notice, Turn
from integrations import outage
from integrations.health import Status
from integrations.models import GoHighLevelIntegration
from integrations.refresh import refresh_integration
from webhooks.models import EventRhythm

BEGAN, WORSE, STILL, ENDED = Notice.BEGAN, Notice.WORSE, Notice.STILL, Notice.ENDED


def change(row, **columns):
    GoHighLevelIntegration.objects.filter(pk=row.pk).update(**columns)


def refuse(row, now):
    change(row, status=Status.REFUSED, cause="refused", cause_since=now, failures=1, renew_at=None)


def heal(row, now):
    end = now + timedelta(hours=20)
    change(row, status=Status.ACTIVE, cause="", cause_since=None, failures=0, expires_at=end)


@pytest.fixture
def channel(make_channel):
    return make_channel()


def test_a_refused_account_is_told_once_with_cause_effect_and_link(
    world, install_location, clock, channel, told
):
    row = install_location()
    change(row, name="Harbour Dental")
    world.refuse(row.resource_id)
    refresh_integration(row.pk, trigger="schedule")
    clock.ticks(5)
    assert told() == [("Harbour Dental", BEGAN)]
    (message,) = mail.outbox
    assert message.subject == "[WhatReach] Harbour Dental needs reconnect"
    assert "HighLevel no longer accepts our access to this account." in message.body
    assert "Nobody gets a token for it until it is reconnected." in message.body
    assert f"http://localhost/installs/{row.pk}/" in message.body


def test_what_was_wrong_before_the_first_look_is_told_too(make_install, clock, channel, told):
    make_install(
        name="Old Trouble",
        status=Status.REFUSED,
        cause="refused",
        cause_since=timezone.now() - timedelta(days=9),
    )
    clock.tick()
    assert told() == [("Old Trouble", BEGAN)]
    assert "9 days" in mail.outbox[0].body


def test_the_end_is_told_with_how_long_it_lasted(make_install, clock, channel, told):
    row = make_install(name="Harbour Dental")
    refuse(row, clock.now)
    clock.ticks(3)
    heal(row, clock.now)
    clock.ticks(3)
    assert told() == [("Harbour Dental", BEGAN), ("Harbour Dental", ENDED)]
    assert mail.outbox[-1].subject == "[WhatReach] Harbour Dental is connected again"
    assert "It lasted 4 min" in mail.outbox[-1].body
    assert not Incident.objects.open().exists()


def test_an_account_that_was_removed_is_not_told_as_recovered(make_install, clock, channel):
    row = make_install(name="Harbour Dental")
    refuse(row, clock.now)
    clock.tick()
    change(row, status=Status.UNINSTALLED, cause="uninstalled", renew_at=None)
    clock.tick()
    assert mail.outbox[-1].subject == "[WhatReach] Harbour Dental was removed"


def test_trouble_that_gets_worse_stays_one_incident_and_is_told_again(
    make_install, clock, channel, told
):
    row = make_install(
        name="Harbour Dental",
        expires_in=-timedelta(minutes=1),
        failures=3,
        cause="our_request",
    )
    clock.tick()
    refuse(row, clock.now)
    clock.ticks(2)
    assert told() == [("Harbour Dental", BEGAN), ("Harbour Dental", WORSE)]
    assert Incident.objects.get().kind == Kind.NEEDS_RECONNECT


def test_a_token_that_ended_and_then_cannot_be_read_is_told_as_worse(
    world, install_location, clock, channel, told
):
    row = install_location()
    break_down(world)
    fail([row])
    all_tokens_end(clock)
    clock.tick()
    change(row, refresh_token_encrypted=b"not what was stored")
    fail([row])
    clock.ticks(2)
    assert told() == [(str(row), BEGAN), (str(row), WORSE)]
    assert kinds() == [Kind.DAMAGED]
    assert "The stored token cannot be read with the present key." in mail.outbox[-1].body


def test_an_ended_token_that_the_worker_is_about_to_renew_is_no_incident(
    make_install, clock, channel, told
):
    make_install(expires_in=timedelta(seconds=50))
    clock.ticks(3)
    assert told() == []
    clock.ticks(4)
    assert [what for _subject, what in told()] == [BEGAN]


def break_down(world):
    """HighLevel has a fault until it is cleared."""
    world.fault("503", route="/oauth/token", times=None)


def fail(rows):
    for row in rows:
        assert not refresh_integration(row.pk, trigger="schedule").success


def all_tokens_end(clock):
    GoHighLevelIntegration.objects.update(expires_at=clock.now - timedelta(seconds=1))


def kinds():
    return list(Incident.objects.order_by("opened_at").values_list("kind", flat=True))


def test_an_outage_is_one_alert_from_the_first_failures_to_its_end(
    world, install_location, clock, channel, told
):
    """Through renewals and alerts as the worker makes them, until after all tokens have ended."""
    for _ in range(5):
        install_location()
    clock.work()
    break_down(world)
    clock.work(after=timedelta(hours=23))
    assert outage.current()
    for _ in range(3):
        clock.work(after=timedelta(hours=2))
    assert not GoHighLevelIntegration.objects.filter(expires_at__gt=clock.now).exists()
    assert told() == [("HighLevel", BEGAN)]
    assert mail.outbox[0].subject == "[WhatReach] HighLevel does not answer"
    assert "HighLevel answered with a fault of its own." in mail.outbox[0].body

    world.clear_faults()
    for _ in range(12):
        clock.work()
    assert outage.current() is None
    assert told() == [("HighLevel", BEGAN), ("HighLevel", ENDED)]
    assert mail.outbox[-1].subject == "[WhatReach] HighLevel answers again"
    assert GoHighLevelIntegration.objects.filter(failures=0, expires_at__gt=clock.now).count() == 5


def test_an_outage_by_requests_that_highlevel_does_not_understand_is_one_alert(
    install_location, clock, channel, told, settings
):
    rows = [install_location() for _ in range(4)]
    address = settings.GHL_API_BASE_URL
    settings.GHL_API_BASE_URL = f"{address}/nowhere"
    fail(rows)
    assert outage.current().cause == "our_request"
    all_tokens_end(clock)
    clock.ticks(7)
    assert told() == [("HighLevel", BEGAN)]
    assert mail.outbox[0].subject == "[WhatReach] HighLevel renews no tokens"
    assert "Whoever runs WhatReach acts." in mail.outbox[0].body
    settings.GHL_API_BASE_URL = address
    for row in rows:
        refresh_integration(row.pk, trigger="dashboard")
    clock.tick()
    assert told()[1:] == [("HighLevel", ENDED)]
    assert mail.outbox[-1].subject == "[WhatReach] HighLevel renews tokens again"


def test_a_refusal_in_an_outage_is_part_of_it(world, install_location, clock, channel, told):
    *rows, refused = [install_location() for _ in range(4)]
    break_down(world)
    fail(rows)
    world.clear_faults()
    world.refuse(refused.resource_id)
    result = refresh_integration(refused.pk, trigger="dashboard")
    assert result.cause == "refused_in_outage"
    all_tokens_end(clock)
    clock.ticks(10)
    assert told() == [("HighLevel", BEGAN)]
    assert "4 accounts are affected." in mail.outbox[0].body


def test_an_outage_that_began_before_the_worker_is_told_by_it(
    world, install_location, clock, channel, told
):
    """The row is all that is known of it: whoever looks first, and however late, tells it."""
    rows = [install_location() for _ in range(3)]
    break_down(world)
    fail(rows)
    clock.tick(after=timedelta(minutes=15))
    incident = Incident.objects.get()
    assert (incident.kind, incident.opened_at) == (Kind.OUTAGE, outage.current().began_at)


def test_renewals_that_wait_in_an_outage_do_not_stand_still(world, install_location, clock):
    rows = [install_location() for _ in range(3)]
    break_down(world)
    fail(rows)
    clock.tick(after=timedelta(minutes=19))
    assert kinds() == [Kind.OUTAGE]
    clock.tick(after=timedelta(minutes=3))  # one should have tried by now
    assert set(kinds()) == {Kind.OUTAGE, Kind.RENEWALS}


def test_those_left_behind_by_an_outage_are_told_a_moment_after_it(
    world, install_location, clock, channel, told
):
    left, *others = [install_location() for _ in range(4)]
    break_down(world)
    fail([left, *others])
    all_tokens_end(clock)
    clock.tick()
    world.clear_faults()
    for row in others:
        refresh_integration(row.pk, trigger="dashboard")
    clock.ticks(3)
    assert told() == [("HighLevel", BEGAN), ("HighLevel", ENDED)]
    clock.ticks(4)
    assert told()[2:] == [(str(left), BEGAN)]


def test_one_account_that_fails_again_and_again_is_no_outage(
    world, install_location, clock, channel, told
):
    row = install_location()
    break_down(world)
    fail([row] * 5)
    clock.ticks(2)
    assert (outage.current(), told()) == (None, [])
    all_tokens_end(clock)
    clock.ticks(2)
    assert told() == [(str(row), BEGAN)]
    assert kinds() == [Kind.EXPIRED]


def test_faults_beside_renewals_that_work_are_no_outage(
    world, install_location, clock, channel, told
):
    fine, failing = ([install_location() for _ in range(n)] for n in (20, 4))
    for row in fine:
        refresh_integration(row.pk, trigger="schedule")
    break_down(world)
    fail(failing)
    clock.tick()
    assert (outage.current(), told()) == (None, [])


@pytest.mark.parametrize("n", [1, 4])
def test_refused_credentials_are_the_operators_incident_alone(
    install_location, clock, channel, told, settings, n
):
    rows = [install_location() for _ in range(n)]
    secret = settings.GHL_CLIENT_SECRET
    settings.GHL_CLIENT_SECRET = "5eed5eed-0000-4000-8000-00000000bad0"
    fail(rows)
    assert (outage.current() is not None) == (n == 4)
    all_tokens_end(clock)
    clock.ticks(10)
    assert told() == [("HighLevel", BEGAN)]
    assert kinds() == [Kind.CREDENTIALS]
    settings.GHL_CLIENT_SECRET = secret
    for row in rows:
        refresh_integration(row.pk, trigger="dashboard")
    clock.tick()
    assert told()[1:] == [("HighLevel", ENDED)]


def test_what_flaps_is_told_ever_less_often(make_install, clock, channel, told):
    row = make_install()
    for _ in range(8):
        refuse(row, clock.now)
        clock.ticks(2)
        heal(row, clock.now)
        clock.ticks(2)
    # Undamped it would be 8 times "began" and 8 times "ended".
    assert len(told()) <= 5
    clock.tick()
    clock.tick(after=timedelta(minutes=70))
    assert told()[-1][1] == ENDED


def test_what_goes_on_is_told_again_each_day(make_install, clock, channel, told):
    refuse(make_install(), clock.now)
    for _ in range(3):
        clock.tick(after=timedelta(hours=24, minutes=1))
    assert [what for _subject, what in told()] == [BEGAN, STILL, STILL]
    assert mail.outbox[-1].subject.startswith("[WhatReach] Still: ")


def test_nobody_is_reminded_of_what_somebody_looks_after(make_install, clock, channel, told):
    row = make_install()
    refuse(row, clock.now)
    clock.tick()
    incident = Incident.objects.get()
    assert incidents.acknowledge(incident, by="sam")
    assert not incidents.acknowledge(incident, by="vera")
    clock.tick(after=timedelta(days=2))
    assert [what for _subject, what in told()] == [BEGAN]
    heal(row, clock.now)
    clock.tick()
    assert [what for _subject, what in told()] == [BEGAN, ENDED]


def test_many_at_once_are_one_message(make_install, clock, channel):
    for n in range(30):
        refuse(make_install(name=f"Account {n}"), clock.now)
    clock.tick()
    (message,) = mail.outbox
    assert message.subject == "[WhatReach] Incidents: 30 began"
    assert "… and 10 more" in message.body


def test_hundreds_at_once_are_one_message_too(make_install, clock, channel):
    refuse(make_install(), clock.now)
    first = GoHighLevelIntegration.objects.get()
    for n in range(300):
        first.pk, first.resource_id = uuid.uuid4(), f"loc-{n}"
        first.save(force_insert=True)
    clock.tick()
    clock.tick()
    assert [message.subject for message in mail.outbox] == ["[WhatReach] Incidents: 301 began"]
    GoHighLevelIntegration.objects.update(status=Status.ACTIVE, cause="")
    clock.tick()
    clock.tick()
    assert [message.subject for message in mail.outbox[1:]] == ["[WhatReach] Incidents: 301 ended"]


def test_only_one_looks_at_a_time(db):
    now = timezone.now()
    assert incidents.look(now)
    Turn.objects.update(free_at=now + timedelta(seconds=1))  # as while another one is at it
    assert not incidents.look(now)
    assert incidents.look(now + timedelta(seconds=1))


def test_a_slow_look_leaves_the_turn_to_who_has_it_by_now(db, monkeypatch):
    now = timezone.now()
    theirs = now + timedelta(minutes=2)

    def slow(_now):
        Turn.objects.update(free_at=theirs)  # as another one does after a minute
        return []

    monkeypatch.setattr("alerts.watch.troubles", slow)
    incidents.look(now)
    assert Turn.objects.get().free_at == theirs


@pytest.mark.parametrize("n", [1, 40])
def test_a_look_makes_the_same_queries_whatever_goes_on(
    make_install, make_channel, clock, django_assert_num_queries, n
):
    make_channel()
    clock.tick()
    for _ in range(n):
        refuse(make_install(), clock.now)
        make_install(expires_in=-timedelta(minutes=1), failures=5, cause="our_request")
    # turn (2) and its end, heartbeats, overdue, outage, credentials, parked, answers, meter,
    # endpoints, keys, failed channels, transaction (2), ended snoozes, open incidents, refused,
    # damaged, expired, relapsed, calm, the last two also of runways and rhythms besides these
    # themselves, to close, to remind, digests
    quiet = 31
    # refused and expired: their incidents, earlier ones, insert; snoozes, announced, channels,
    # waiting, delivery, notices
    with django_assert_num_queries(quiet + 12):
        incidents.look(clock.now)
    with django_assert_num_queries(quiet):
        incidents.look(clock.now)


@pytest.mark.parametrize("n", [3, 12])
def test_in_an_outage_a_look_makes_one_query_more(
    world, install_location, clock, django_assert_num_queries, n
):
    rows = [install_location() for _ in range(n)]
    break_down(world)
    fail(rows)
    all_tokens_end(clock)
    clock.tick()
    with django_assert_num_queries(32):  # the 31 of above; how many are affected
        incidents.look(clock.now)


def test_more_than_one_look_finds_come_with_the_next(make_install, clock, monkeypatch):
    monkeypatch.setattr(watch, "MOST", 3)
    for _ in range(7):
        refuse(make_install(), clock.now)
    clock.ticks(3)
    assert Incident.objects.open().count() == 7


def silence(row, now):
    last = now - timedelta(days=9)
    EventRhythm.objects.create(account_id=row.resource_id, last_at=last, gaps=50, silent_at=last)


def hear(row, now):
    EventRhythm.objects.filter(pk=row.resource_id).update(silent_at=now + timedelta(days=9))


def leave_idle(row, now):
    long_ago = now - timedelta(days=350)
    change(row, status=Status.PAUSED, cause="location_inactive", renewed_at=long_ago, renew_at=None)


@pytest.mark.parametrize(
    ("begin", "end"), [(silence, hear), (leave_idle, heal)], ids=["silence", "runway"]
)
def test_of_silences_and_idle_tokens_none_is_left_out_and_each_ends_by_itself(
    make_install, clock, channel, told, monkeypatch, begin, end
):
    monkeypatch.setattr(watch, "MOST", 3)
    rows = [make_install(name=f"Account {n}") for n in range(7)]
    for row in rows:
        begin(row, clock.now)
    clock.ticks(4)
    assert sorted(told()) == [(row.name, BEGAN) for row in rows]
    end(rows[5], clock.now)
    clock.ticks(2)
    assert told()[7:] == [("Account 5", ENDED)]
    assert Incident.objects.open().count() == 6


def test_a_silence_that_comes_back_soon_flaps(make_install, clock, channel, told):
    row = make_install(name="Harbour Dental")
    silence(row, clock.now)
    clock.tick()
    hear(row, clock.now)
    clock.tick()
    EventRhythm.objects.update(silent_at=clock.now)
    clock.tick()
    hear(row, clock.now)
    clock.tick()
    assert [what for _who, what in told()] == [BEGAN, ENDED, BEGAN]
    EventRhythm.objects.update(silent_at=clock.now)
    clock.tick()
    incident = Incident.objects.open().get()
    assert (incident.relapses, incident.calm_since) == (2, None)
