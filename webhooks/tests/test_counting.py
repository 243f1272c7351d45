from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.db.models import Sum
from django.utils import timezone

from webhooks import counting, meter
from webhooks.models import AnswerCount, Outcome

pytestmark = pytest.mark.django_db

APP = "0123456789abcdef01234567"


def counts() -> dict[str, int]:
    counting.write()
    rows = AnswerCount.objects.values_list("outcome").annotate(n=Sum("count"))
    return dict(rows.order_by("outcome"))


def as_body(**fields) -> bytes:
    return json.dumps({"type": "ContactCreate"} | fields).encode()


def test_each_answer_is_counted_with_its_reason(post, client):
    post(as_body(webhookId="w-1"))
    post(as_body(webhookId="w-1"))
    for mode in ("none", "n/a", "bad", "tampered", "wrong_key"):
        post(as_body(), mode)
    post(as_body(appId=APP))
    post(b"no json")
    post(as_body(note="x" * 1_000_001))
    assert counts() == {
        Outcome.STORED: 1,
        Outcome.DUPLICATE: 1,
        Outcome.UNSIGNED: 2,
        Outcome.BAD_SIGNATURE: 3,
        Outcome.OTHER_APP: 1,
        Outcome.UNREADABLE: 1,
        Outcome.TOO_LARGE: 1,
    }


@pytest.mark.parametrize("mode", ["none", "n/a"])
def test_what_bears_no_signature_does_not_count_as_highlevels_whatever_it_is_refused_for(
    post, mode
):
    post(as_body(webhookId="w-1"))
    assert post(as_body(note="x" * 1_000_001), mode).status_code == 413
    counting.write()
    assert AnswerCount.objects.get(status=413).outcome == Outcome.UNSIGNED
    assert meter.read(timezone.now()).percentage == 100


def test_a_refused_delivery_leaves_when_and_from_where_and_nothing_of_itself(post):
    post(as_body(type="Forged", name="Ms Private"), "bad")
    counting.write()
    row = AnswerCount.objects.get()
    assert (row.status, row.outcome, row.type) == (401, Outcome.BAD_SIGNATURE, "")
    assert row.last_address == "127.0.0.1"
    assert timezone.now() - row.last_at < timedelta(minutes=1)


def test_stored_events_are_counted_by_type(post):
    for n, kind in enumerate(["INSTALL", "ContactCreate", "ContactCreate"]):
        post(as_body(type=kind, webhookId=f"w-{n}"))
    counting.write()
    rows = AnswerCount.objects.filter(outcome=Outcome.STORED)
    assert dict(rows.values_list("type", "count")) == {"INSTALL": 1, "ContactCreate": 2}


def test_counts_add_up_over_several_writings(post):
    for n in range(3):
        post(as_body(webhookId=f"w-{n}"))
        counting.write()
    row = AnswerCount.objects.get()
    assert (row.count, row.hour) == (3, row.last_at.replace(minute=0, second=0, microsecond=0))


@pytest.mark.django_db(transaction=True)
def test_a_count_that_cannot_be_written_is_written_later(post):
    def refuse(execute, sql, params, many, context):
        raise OperationalError("away")

    post(as_body(webhookId="w-1"))
    with connection.execute_wrapper(refuse), pytest.raises(OperationalError):
        counting.write()
    post(as_body(webhookId="w-2"))
    assert counts() == {Outcome.STORED: 2}


def test_a_flood_of_types_does_not_fill_the_memory(post, monkeypatch):
    monkeypatch.setattr(counting, "MOST_WAITING", 3)
    for n in range(6):
        post(as_body(type=f"Type{n}", webhookId=f"w-{n}"))
    assert counts() == {Outcome.STORED: 6}
    assert AnswerCount.objects.count() == 4


@pytest.mark.django_db(transaction=True)
def test_a_thread_writes_what_was_counted_within_its_second(settings):
    settings.WEBHOOK_COUNT_EVERY_S = 0.01
    before = set(threading.enumerate())
    counting.count(200, Outcome.STORED, "ContactCreate", 4, "192.0.2.1")
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=60)
    assert AnswerCount.objects.get().count == 1


@pytest.mark.django_db(transaction=True)
def test_nothing_is_lost_between_threads_that_count_and_write_at_once():
    def work(_):
        try:
            for n in range(20):
                counting.count(200, Outcome.STORED, f"Type{n % 3}", 1, "")
                if n % 5 == 0:
                    counting.write()
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(work, range(6)))
    assert counts() == {Outcome.STORED: 120}


def test_old_counts_are_purged():
    counting.count(200, Outcome.STORED, "", 1, "")
    counting.write()
    assert counting.purge(timezone.now()) == 0
    assert counting.purge(timezone.now() + counting.KEEP + timedelta(hours=2)) == 1
