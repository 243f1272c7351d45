"""What goes wrong with events, from HighLevel's delivery to a mail in the reader's box."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
import time_machine

from integrations.health import Status
from webhooks import counting, delivery, endpoints, processing
from webhooks.handlers import HANDLERS, EventType
from webhooks.models import Endpoint, GoHighLevelWebhook
from webhooks.tests.conftest import nothing_counted_before, post  # noqa: F401
from webhooks.tests.receiver import receiver as back_end

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def reader(make_channel, mail_server):
    make_channel(address="sam@agency.test")
    return mail_server


def event(n=1, kind="ContactCreate", **fields):
    return json.dumps({"type": kind, "webhookId": f"w-{n}"} | fields).encode()


def subjects(reader):
    return [mail["Subject"].removeprefix("[WhatReach] ") for mail in reader.mails]


def words(reader):
    """The newest mail's text."""
    return reader.mails[-1].get_content()


def test_an_event_that_is_parked_and_its_replay(post, clock, reader, monkeypatch, caplog):  # noqa: F811
    caplog.set_level("CRITICAL")
    monkeypatch.setitem(HANDLERS, "Odd", EventType(lambda event: str(1 / 0), ""))
    with time_machine.travel(clock.now, tick=False) as time:
        assert post(event(kind="Odd")).status_code == 200
        for pause in processing.PAUSES:
            processing.sweep()
            time.shift(pause)
    assert GoHighLevelWebhook.objects.get().status == GoHighLevelWebhook.PARKED
    clock.tick(after=timedelta(hours=15))
    assert subjects(reader) == ["Events could not be processed"]
    assert "1 is parked." in words(reader)
    assert "http://localhost/events/" in words(reader)
    monkeypatch.setitem(HANDLERS, "Odd", EventType(lambda event: "done", ""))
    processing.replay(GoHighLevelWebhook.objects.all())
    clock.tick()
    assert subjects(reader)[1:] == ["Events are all processed"]


def test_an_account_that_falls_silent_and_speaks_again(post, clock, reader, make_install):  # noqa: F811
    row = make_install(name="Harbour Dental", expires_in=timedelta(days=30))

    def comes(n):
        assert post(event(n, locationId=row.resource_id)).status_code == 200
        processing.sweep()

    with time_machine.travel(clock.now - timedelta(hours=16), tick=False) as time:
        for n in range(24):
            comes(n)
            time.shift(timedelta(minutes=40))
    clock.tick()
    assert subjects(reader) == []
    clock.tick(after=timedelta(hours=3))
    assert subjects(reader) == ["Harbour Dental has sent no events for longer than usual"]
    assert "Usually one comes every 40 min." in words(reader)
    assert f"http://localhost/installs/{row.pk}/" in words(reader)
    with time_machine.travel(clock.now, tick=False):
        comes(99)
    clock.tick()
    assert subjects(reader)[1:] == ["Harbour Dental sends events again"]


def test_a_removed_account_that_is_silent_is_nobodys_business(post, clock, reader, make_install):  # noqa: F811
    row = make_install(status=Status.UNINSTALLED, renew_at=None)
    with time_machine.travel(clock.now - timedelta(hours=30), tick=False) as time:
        for n in range(24):
            post(event(n, locationId=row.resource_id))
            processing.sweep()
            time.shift(timedelta(minutes=40))
    clock.tick(after=timedelta(days=2))
    assert subjects(reader) == []


def answers(post, clock, n, mode="ed25519"):  # noqa: F811
    with time_machine.travel(clock.now, tick=False):
        statuses = {post(event(f"{clock.now:%s}-{mode}-{i}"), mode).status_code for i in range(n)}
        counting.write()
    return statuses


def test_deliveries_that_all_have_a_wrong_signature(post, clock, reader, world):  # noqa: F811
    assert answers(post, clock, 12, "wrong_key") == {401}
    clock.tick()
    assert subjects(reader) == ["Deliveries of events are not answered well"]
    assert "has HighLevel's key changed?" in words(reader)
    assert "http://localhost/events/figures/" in words(reader)


def test_a_meter_that_falls_below_95_percent_while_most_is_well(post, clock, reader):  # noqa: F811
    assert answers(post, clock, 95) == {200}
    answers(post, clock, 5, "wrong_key")
    clock.tick()
    assert subjects(reader) == []
    answers(post, clock, 5, "wrong_key")
    clock.tick()
    assert subjects(reader) == ["Deliveries of events are not answered well"]
    assert "Accepted in 3 days: 90.4 % of 105." in words(reader)
    assert "may pause our events below 90 %" in words(reader)


@pytest.mark.parametrize(
    ("status", "why"),
    [(410, "it answered that it is gone for good (410)"), (500, "nothing could be delivered")],
)
def test_an_endpoint_that_is_switched_off_and_on_again(
    post,  # noqa: F811
    clock,
    reader,
    settings,
    monkeypatch,
    status,
    why,
):
    settings.FORWARD_ALLOW_PRIVATE_ADDRESSES = True
    monkeypatch.setattr(delivery, "LINGER_S", 0)
    monkeypatch.setattr(endpoints, "RING_EVERY_S", 0)
    with back_end() as other:
        other.status = status
        with time_machine.travel(clock.now, tick=False) as time:
            endpoints.create(name="Billing", url=other.url, by="sam")
            for n in range(6):
                post(event(n))
            processing.sweep()
            for _ in range(11):
                delivery.deliver_due()
                time.shift(timedelta(hours=13))
    clock.tick(after=timedelta(days=6))
    assert subjects(reader) == ["Endpoint Billing gets no events any more"]
    assert why in words(reader)
    assert "http://localhost/endpoints/" in words(reader)
    endpoints.enable(Endpoint.objects.get())
    clock.tick()
    assert subjects(reader)[1:] == ["Endpoint Billing gets events again"]


def test_an_endpoint_that_staff_switch_off_is_no_trouble(clock, reader):
    endpoint = endpoints.create(name="Billing", url="https://billing.test/", by="sam")
    endpoints.disable(endpoint, by="sam")
    clock.tick()
    assert subjects(reader) == []
