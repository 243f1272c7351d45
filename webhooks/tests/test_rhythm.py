from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from integrations.health import Status
from integrations.models import GoHighLevelIntegration
from webhooks import rhythm, tasks
from webhooks.models import EventRhythm, GoHighLevelWebhook

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 5, 4, 12, tzinfo=timezone.get_default_timezone())


def came(account_id: str, at: datetime, *, agency: bool = False) -> GoHighLevelWebhook:
    names = {"company_id": account_id} if agency else {"location_id": account_id}
    return GoHighLevelWebhook(type="ContactCreate", received_at=at, **names)


def came_every(gap: timedelta, account_id: str, *, since: datetime, until: datetime) -> None:
    moment = since
    while moment <= until:
        rhythm.note([came(account_id, moment)])
        moment += gap


def test_an_account_that_usually_sends_every_40_minutes_is_silent_after_a_day(make_install):
    install = make_install(name="Harbour Dental")
    came_every(
        timedelta(minutes=40), install.resource_id, since=NOON - timedelta(days=3), until=NOON
    )
    assert rhythm.silent(NOON + timedelta(minutes=50)) == []
    [silence] = rhythm.silent(NOON + timedelta(hours=26))
    assert silence.install == install
    assert silence.last_at == NOON
    assert silence.usual_s == pytest.approx(40 * 60)


def test_a_weekend_is_no_silence_for_one_that_works_on_weekdays(make_install):
    account_id = make_install().resource_id
    for day in range(14):
        morning = NOON.replace(hour=8) + timedelta(days=day)
        if morning.isoweekday() <= 5:
            came_every(
                timedelta(minutes=30), account_id, since=morning, until=morning.replace(hour=18)
            )
    friday_evening = NOON.replace(hour=18) + timedelta(days=11)
    assert friday_evening.isoweekday() == 5
    assert rhythm.silent(friday_evening + timedelta(hours=62)) == []
    assert len(rhythm.silent(friday_evening + timedelta(hours=100))) == 1


def test_a_burst_is_one_sign_of_life(make_install):
    account_id = make_install().resource_id
    for hour in range(30):
        at = NOON + timedelta(hours=hour)
        rhythm.note([came(account_id, at + timedelta(seconds=n)) for n in range(10)])
    assert EventRhythm.objects.get().usual_s == pytest.approx(3591, rel=0.01)


def test_nothing_is_said_of_an_account_that_is_hardly_known(make_install):
    account_id = make_install().resource_id
    came_every(timedelta(hours=1), account_id, since=NOON, until=NOON + timedelta(hours=10))
    assert rhythm.silent(NOON + timedelta(days=30)) == []


@pytest.mark.parametrize("status", [Status.UNINSTALLED, Status.DEACTIVATED])
def test_an_install_that_has_ended_may_be_silent(make_install, status):
    account_id = make_install(status=status).resource_id
    came_every(timedelta(hours=1), account_id, since=NOON, until=NOON + timedelta(hours=30))
    assert rhythm.silent(NOON + timedelta(days=30)) == []


def test_accounts_that_have_ended_take_no_place_of_those_that_are_silent(make_install):
    gone = make_install(status=Status.UNINSTALLED).resource_id
    present = make_install()
    for account_id in (gone, present.resource_id):
        came_every(timedelta(hours=1), account_id, since=NOON, until=NOON + timedelta(hours=30))
    [silence] = rhythm.silent(NOON + timedelta(days=30), most=1)
    assert silence.install == present
    others = GoHighLevelIntegration.objects.exclude(pk=present.pk)
    assert rhythm.silent(NOON + timedelta(days=30), among=others) == []


def test_the_next_event_ends_the_silence(make_install):
    account_id = make_install().resource_id
    came_every(timedelta(hours=1), account_id, since=NOON, until=NOON + timedelta(hours=30))
    later = NOON + timedelta(days=5)
    assert len(rhythm.silent(later)) == 1
    rhythm.note([came(account_id, later)])
    assert rhythm.silent(later + timedelta(hours=1)) == []


def test_events_that_are_noted_again_or_late_change_nothing(make_install):
    account_id = make_install().resource_id
    came_every(timedelta(hours=1), account_id, since=NOON, until=NOON + timedelta(hours=30))
    before = EventRhythm.objects.values().get()
    came_every(timedelta(minutes=7), account_id, since=NOON, until=NOON + timedelta(hours=30))
    assert EventRhythm.objects.values().get() == before


def test_an_agencys_own_events_have_a_rhythm_too(make_install):
    agency = make_install(agency=True)
    for hour in range(30):
        at = NOON + timedelta(hours=hour)
        rhythm.note([came(agency.resource_id, at, agency=True)])
    [silence] = rhythm.silent(NOON + timedelta(days=10))
    assert silence.install == agency


def test_many_accounts_take_as_many_queries_as_few(django_assert_num_queries):
    first = [came(f"loc-{n}", NOON) for n in range(40)]
    again = [came(f"loc-{n}", NOON + timedelta(hours=1)) for n in range(40)]
    rhythm.note(first)
    with django_assert_num_queries(2):  # look, update
        rhythm.note(again)


def test_the_sweep_notes_the_events_that_it_takes(post):
    post(b'{"type":"ContactCreate","locationId":"loc-1"}')
    tasks.sweep()
    assert EventRhythm.objects.get().account_id == "loc-1"
