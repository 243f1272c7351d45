from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.db import connection
from django.test import Client
from django_q.models import OrmQ

from webhooks.handlers import HANDLERS
from webhooks.models import GoHighLevelWebhook
from webhooks.processing import process_event
from webhooks.tests.conftest import WEBHOOK, as_request

COPIES = 20

pytestmark = pytest.mark.django_db(transaction=True)


def all_at_once(call, n=COPIES):
    """Run `call` in `n` threads that start together, each with a connection of its own."""
    barrier = Barrier(n)

    def run(_):
        try:
            barrier.wait(timeout=30)
            return call()
        finally:
            connection.close()

    with ThreadPoolExecutor(n) as threads:
        return list(threads.map(run, range(n)))


def test_twenty_copies_at_once_are_kept_once_and_all_answered_200(world):
    body, signature = world.signer.signed(b'{"type":"ContactCreate","webhookId":"w-1"}', "ed25519")

    def deliver():
        answer = Client().post(WEBHOOK, body, **as_request(signature))
        return answer.status_code, answer.json().get("duplicate")

    answers = all_at_once(deliver)
    assert sorted(answers) == [(200, False)] + [(200, True)] * (COPIES - 1)
    assert (GoHighLevelWebhook.objects.count(), OrmQ.objects.count()) == (1, 1)


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
    monkeypatch.setitem(HANDLERS, "Counted", lambda event: effects.append(event.pk) or "counted")
    post(b'{"type":"Counted","webhookId":"w-1"}')
    event = GoHighLevelWebhook.objects.get()
    all_at_once(lambda: process_event(event.pk), n=8)
    assert effects == [event.pk]
    event.refresh_from_db()
    assert (event.status, event.attempts) == (GoHighLevelWebhook.PROCESSED, 1)
