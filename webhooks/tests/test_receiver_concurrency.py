from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.db import connection
from django.test import Client

from webhooks import tasks, views
from webhooks.handlers import HANDLERS, EventType
from webhooks.models import GoHighLevelWebhook
from webhooks.processing import process_event
from webhooks.tests.conftest import WEBHOOK, as_request

COPIES = 20
# COPIES_ROUNDS=200 for the long run.
ROUNDS = int(os.environ.get("COPIES_ROUNDS", "5"))

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """How long a delivery waits for its turn is another test's: twenty at once may be slow here."""
    monkeypatch.setattr(views, "MOST_WAIT_MS", 60_000)


def all_at_once(call, n=COPIES):
    """Run `call` in `n` threads that start together, each with a connection of its own."""
    barrier = Barrier(n)

    def run(_):
        try:
            barrier.wait(timeout=120)
            return call()
        finally:
            connection.close()

    with ThreadPoolExecutor(n) as threads:
        return list(threads.map(run, range(n)))


def test_twenty_copies_at_once_have_one_effect_round_after_round(world, monkeypatch):
    effects = []
    counted = EventType(lambda event: effects.append(event.webhook_id) or "counted", "")
    monkeypatch.setitem(HANDLERS, "Counted", counted)
    with ThreadPoolExecutor(COPIES) as threads:
        for number in range(ROUNDS):
            barrier = Barrier(COPIES)
            event = {"type": "Counted", "webhookId": f"w-{number}"}
            body, signature = world.signer.signed(json.dumps(event).encode(), "ed25519")

            def deliver(_, barrier=barrier, body=body, signature=signature):
                barrier.wait(timeout=120)
                answer = Client().post(WEBHOOK, body, **as_request(signature))
                return answer.status_code, answer.json().get("duplicate")

            answers = list(threads.map(deliver, range(COPIES)))
            assert sorted(answers) == [(200, False)] + [(200, True)] * (COPIES - 1)
            tasks.sweep()
        closing = Barrier(COPIES)
        list(threads.map(lambda _: (closing.wait(timeout=120), connection.close()), range(COPIES)))
    assert effects == [f"w-{number}" for number in range(ROUNDS)]
    assert GoHighLevelWebhook.objects.count() == ROUNDS


def test_twenty_different_events_at_once_are_all_kept(world):
    numbers = iter(range(COPIES))

    def deliver():
        event = {"type": "ContactCreate", "webhookId": f"w-{next(numbers)}"}
        body, signature = world.signer.signed(json.dumps(event).encode(), "ed25519")
        return Client().post(WEBHOOK, body, **as_request(signature)).status_code

    assert all_at_once(deliver) == [200] * COPIES
    assert GoHighLevelWebhook.objects.count() == COPIES


def test_an_event_processed_by_many_at_once_has_one_effect(post, monkeypatch):
    effects = []
    counted = EventType(lambda event: effects.append(event.pk) or "counted", "")
    monkeypatch.setitem(HANDLERS, "Counted", counted)
    post(b'{"type":"Counted","webhookId":"w-1"}')
    event = GoHighLevelWebhook.objects.get()
    all_at_once(lambda: process_event(event.pk), n=8)
    assert effects == [event.pk]
    event.refresh_from_db()
    assert (event.status, event.attempts) == (GoHighLevelWebhook.PROCESSED, 1)
