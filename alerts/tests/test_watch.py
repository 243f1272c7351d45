"""What is noticed, beside the access of accounts (test_incidents.py)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from access.keys import create_api_key
from access.models import KeyAlert, Scope
from alerts import watch
from alerts.kinds import Kind
from integrations import heartbeat
from integrations.health import Status
from integrations.models import Heartbeat, RefreshAttempt
from webhooks.models import AnswerCount, EventRhythm, GoHighLevelWebhook, Outcome

NOW = timezone.now()


@pytest.fixture(autouse=True)
def alive(db):
    for name in heartbeat.PARTS:
        Heartbeat.objects.create(name=name, at=NOW)


def found(now=NOW):
    of_installs = [trouble for _kind, new, _q in watch.besides_access(now) for trouble in new]
    return {trouble.kind: trouble for trouble in [*watch.troubles(now), *of_installs]}


def test_nothing_is_found_where_nothing_is_wrong(make_install):
    make_install()
    assert found() == {}


@pytest.mark.parametrize("name", heartbeat.PARTS)
def test_each_part_that_gives_no_sign_for_75_s(name):
    last = NOW - heartbeat.STALE_AFTER
    Heartbeat.objects.filter(name=name).update(at=last + timedelta(seconds=1))
    assert found() == {}
    Heartbeat.objects.filter(name=name).update(at=last)
    (trouble,) = found().values()
    assert (trouble.kind, trouble.since) == (name, last)


def test_renewals_that_are_due_while_none_is_done(make_install):
    row = make_install(renew_at=NOW - timedelta(minutes=11))
    assert found()[Kind.RENEWALS].since == row.renew_at
    RefreshAttempt.objects.create(
        integration=row, way="refresh", generation=1, started_at=NOW - timedelta(minutes=3)
    )
    assert found() == {}


def test_events_that_are_parked(db):
    GoHighLevelWebhook.objects.create(
        webhook_id="1",
        type="INSTALL",
        status=GoHighLevelWebhook.PARKED,
        body="{}",
        occurred_at=NOW,
        received_at=NOW,
        processed_at=NOW,
    )
    assert found()[Kind.EVENTS_PARKED].detail == "1 is parked."


def answers(outcome, count, status=200):
    hour = NOW.replace(minute=0, second=0, microsecond=0)
    AnswerCount.objects.create(hour=hour, status=status, outcome=outcome, count=count, last_at=NOW)


def test_deliveries_that_cannot_be_stored(db):
    answers(Outcome.STORED, 500)
    answers(Outcome.NOT_STORED, 4, 429)
    assert found() == {}
    AnswerCount.objects.filter(outcome=Outcome.NOT_STORED).update(count=20)
    assert found()[Kind.ANSWERS].detail == "20 of 520 could not be stored lately."


def test_deliveries_none_of_which_is_signed_well(db):
    answers(Outcome.BAD_SIGNATURE, 12, 401)
    assert "has HighLevel's key changed?" in found()[Kind.ANSWERS].detail
    answers(Outcome.STORED, 1)  # strangers that knock are no reason for an alert
    assert found() == {}


def test_an_account_that_fell_silent(make_install):
    row = make_install()
    last = NOW - timedelta(days=2)
    EventRhythm.objects.create(
        account_id=row.resource_id, last_at=last, gaps=50, silent_at=NOW - timedelta(hours=1)
    )
    silence = found()[Kind.SILENCE]
    assert (silence.integration_id, silence.since) == (row.pk, last)


def test_a_refresh_token_with_less_than_30_days(make_install):
    def paused(days):
        return make_install(
            status=Status.PAUSED,
            cause="location_inactive",
            renewed_at=NOW - timedelta(days=days),
            renew_at=NOW + timedelta(hours=20),
        )

    paused(334)
    assert found() == {}
    short = paused(336)
    assert found()[Kind.RUNWAY].integration_id == short.pk


def test_an_unusual_use_of_a_key_until_somebody_accepts_it(db):
    key, _text = create_api_key("billing", scopes=[Scope.TOKENS_READ])
    alert = KeyAlert.objects.create(key=key, kind=KeyAlert.NEW_ADDRESS, at=NOW)
    assert found()[Kind.KEY_USE].subject == "API key billing"
    KeyAlert.objects.filter(pk=alert.pk).update(accepted_at=NOW)
    assert found() == {}


def test_a_disk_that_is_nearly_full(settings):
    settings.ALERTS_DISK_FREE_MB = 10**9
    assert "MB are free." in found()[Kind.DISK].detail
