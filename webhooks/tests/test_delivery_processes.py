"""Deliveries by the worker as it runs in production, and by several at once."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import pytest
from django.utils import timezone
from django_q.models import OrmQ
from django_q.tasks import async_task

from integrations.tests.test_race import database_url
from integrations.tests.test_worker import group, until
from webhooks import delivery, endpoints
from webhooks.models import Delivery, Endpoint, GoHighLevelWebhook
from webhooks.tests.receiver import Receiver, receiver
from webhooks.tests.test_receiver_concurrency import all_at_once

pytestmark = pytest.mark.django_db(transaction=True)
EVENTS = 200


@pytest.fixture
def back_end() -> Iterator[Receiver]:
    with receiver() as told:
        yield told


def waiting_deliveries(url: str, count: int = EVENTS) -> None:
    """An endpoint, and so many events that are on their way to it."""
    endpoints.create(name="Billing", url=url, by="sam")
    now = timezone.now()
    events = GoHighLevelWebhook.objects.bulk_create(
        GoHighLevelWebhook(
            webhook_id=f"w-{n}",
            type="ContactCreate",
            body=json.dumps({"type": "ContactCreate", "n": n}),
            occurred_at=now,
            received_at=now,
            process_at=now,
        )
        for n in range(count)
    )
    endpoints.fan_out(events)
    OrmQ.objects.all().delete()


def test_a_kill_9_of_the_worker_in_the_middle_loses_nothing(back_end):
    waiting_deliveries(back_end.url)
    environ = {"DATABASE_URL": database_url(), "FORWARD_ALLOW_PRIVATE_ADDRESSES": "true"}
    half_way, released = threading.Event(), threading.Event()

    def stop_half_way(_received: object) -> None:
        if len(back_end.got) >= EVENTS // 2:
            half_way.set()
            released.wait(30)

    back_end.hook = stop_half_way
    async_task("webhooks.tasks.deliver")
    with group("manage.py", "qcluster", environ=environ) as worker:
        assert half_way.wait(60)
        worker.kill()
    released.set()
    left = Delivery.objects.waiting().count()
    assert 0 < left < EVENTS
    # The leases end.
    Endpoint.objects.update(sending_until=None)
    Delivery.objects.waiting().update(send_at=timezone.now())
    OrmQ.objects.all().delete()
    async_task("webhooks.tasks.deliver")
    with group("manage.py", "qcluster", environ=environ) as another:
        until(lambda: not Delivery.objects.waiting().exists(), what="everything is delivered")
        another.end()
    assert Delivery.objects.filter(status=Delivery.DELIVERED).count() == EVENTS
    arrived = [json.loads(received.body)["n"] for received in back_end.got]
    assert set(arrived) == set(range(EVENTS))
    # Twice only what the killed worker had no time to note.
    assert len(arrived) <= EVENTS + delivery.BATCH


def test_many_processes_at_once_deliver_each_event_once(back_end, settings, monkeypatch):
    settings.FORWARD_ALLOW_PRIVATE_ADDRESSES = True
    monkeypatch.setattr(delivery, "LINGER_S", 0)
    waiting_deliveries(back_end.url)
    all_at_once(delivery.deliver_due, n=6)
    while delivery.deliver_due():
        pass
    assert len(back_end.got) == len(set(back_end.ids)) == EVENTS
