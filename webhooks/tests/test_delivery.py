"""Events reach the other back ends: signed, at least once, whatever goes wrong there or here."""

from __future__ import annotations

import json
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_q.models import OrmQ
from standardwebhooks import WebhookVerificationError

from integrations import rotation
from webhooks import delivery, endpoints, processing, sending
from webhooks.handlers import HANDLERS, EventType
from webhooks.models import Delivery, Endpoint, GoHighLevelWebhook
from webhooks.tests.receiver import Receiver, receiver

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def own_network(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The receivers are on this machine, and nothing waits for the clock."""
    settings.FORWARD_ALLOW_PRIVATE_ADDRESSES = True
    monkeypatch.setattr(delivery, "LINGER_S", 0)
    monkeypatch.setattr(endpoints, "RING_EVERY_S", 0)


@pytest.fixture
def back_end() -> Iterator[Receiver]:
    with receiver() as told:
        yield told


@pytest.fixture
def other_back_end() -> Iterator[Receiver]:
    with receiver() as told:
        yield told


def make_endpoint(url: str, name: str = "Billing", **fields: Any) -> Endpoint:
    return endpoints.create(name=name, url=url, by="sam", **fields)


def event(kind: str = "ContactCreate", n: int = 1, **fields: str) -> bytes:
    told = {"type": kind, "webhookId": f"w-{n}", "locationId": "location-1", "name": "Ödön"}
    return json.dumps(told | fields, ensure_ascii=False, indent=1).encode()


def pass_on() -> int:
    """What the worker does: process what came, deliver what is due."""
    processing.sweep()
    return delivery.deliver_due()


def only() -> Delivery:
    return Delivery.objects.get()


# --- What arrives ---


def test_an_event_arrives_as_highlevel_sent_it_and_well_signed(post, back_end):
    endpoint = make_endpoint(back_end.url)
    post(event())
    assert pass_on() == 1
    (received,) = back_end.got
    assert received.body == event()
    assert received.headers["content-type"] == "application/json"
    assert received.verified(endpoint.open_secret()) == json.loads(event())
    with pytest.raises(WebhookVerificationError):
        received.verified("whsec_" + "QUJD" * 8)
    row = only()
    assert (row.status, row.attempts, row.http_status) == (Delivery.DELIVERED, 1, 200)
    assert (row.answer, row.error, row.send_at) == ("thank you", "", None)
    assert pass_on() == 0


@pytest.mark.parametrize("kind", ["ContactCreate", "SomethingNew", "INSTALL"])
def test_events_of_every_type_are_passed_on(post, back_end, kind):
    make_endpoint(back_end.url)
    post(event(kind))
    pass_on()
    assert len(back_end.got) == 1


def test_an_event_that_our_own_handler_fails_on_is_passed_on_once(post, back_end, monkeypatch):
    def fail(_event: GoHighLevelWebhook) -> str:
        raise ZeroDivisionError

    monkeypatch.setitem(HANDLERS, "Broken", EventType(fail, ""))
    make_endpoint(back_end.url)
    post(event("Broken"))
    for _ in range(3):
        pass_on()
        GoHighLevelWebhook.objects.update(process_at=timezone.now())
    assert GoHighLevelWebhook.objects.get().status == GoHighLevelWebhook.PENDING
    assert len(back_end.got) == 1


def test_a_duplicate_and_a_replay_are_not_passed_on_again(post, back_end):
    make_endpoint(back_end.url)
    post(event())
    post(event())
    pass_on()
    processing.replay(GoHighLevelWebhook.objects.all())
    pass_on()
    assert len(back_end.got) == 1


def test_an_event_replayed_before_its_sweep_is_passed_on_all_the_same(post, back_end):
    make_endpoint(back_end.url)
    post(event())
    processing.replay(GoHighLevelWebhook.objects.all())
    pass_on()
    assert len(back_end.got) == 1


def test_what_came_before_the_endpoint_is_not_sent_by_itself(post, back_end):
    post(event())
    make_endpoint(back_end.url)
    pass_on()
    assert back_end.got == []


def test_the_worker_is_rung_for(post, back_end, run_worker):
    make_endpoint(back_end.url)
    post(event())
    run_worker()
    assert len(back_end.got) == 1
    assert OrmQ.objects.count() == 0


# --- Which go where ---


@pytest.mark.parametrize(
    ("types", "arrives"),
    [
        ([], True),
        (["ContactCreate"], True),
        (["Contact*"], True),
        (["Invoice*", "ContactCreate"], True),
        (["contactcreate"], False),
        (["Contact"], False),
        (["Invoice*"], False),
    ],
)
def test_the_filter_of_types(post, back_end, types, arrives):
    make_endpoint(back_end.url, event_types=types)
    post(event("ContactCreate"))
    pass_on()
    assert bool(back_end.got) is arrives


def test_the_filter_of_agencies_knows_whose_a_sub_account_is(post, back_end, make_install):
    make_install(resource_id="location-1", company_id="agency-1")
    make_install(resource_id="location-2", company_id="agency-2")
    make_endpoint(back_end.url, agencies=["agency-1"])
    post(event(n=1, locationId="location-1"))
    post(event(n=2, locationId="location-2"))
    post(event(n=3, locationId="nobody-knows"))
    post(event(n=4, locationId="nobody-knows", companyId="agency-1"))
    post(event(n=5, companyId="agency-2"))
    pass_on()
    assert sorted(json.loads(got.body)["webhookId"] for got in back_end.got) == ["w-1", "w-4"]


def test_a_changed_filter_counts_from_now_on(post, back_end):
    endpoint = make_endpoint(back_end.url, event_types=["Invoice*"])
    post(event())
    pass_on()
    endpoints.change(endpoint, {"url": endpoint.url, "event_types": [], "agencies": []})
    processing.replay(GoHighLevelWebhook.objects.all())
    post(event(n=2))
    pass_on()
    assert [json.loads(got.body)["webhookId"] for got in back_end.got] == ["w-2"]


# --- Secrets ---


def test_while_a_secret_is_changed_both_sign(post, back_end):
    endpoint = make_endpoint(back_end.url)
    old = endpoint.open_secret()
    endpoints.rotate_secret(endpoint)
    endpoint.refresh_from_db()
    new = endpoint.open_secret()
    assert new != old
    post(event())
    pass_on()
    assert back_end.got[0].verified(old) and back_end.got[0].verified(new)
    Endpoint.objects.update(old_secret_until=timezone.now())
    post(event(n=2))
    pass_on()
    assert back_end.got[1].verified(new)
    with pytest.raises(WebhookVerificationError):
        back_end.got[1].verified(old)


def test_the_secret_is_sealed_for_its_row_and_field(post, back_end):
    one, other = make_endpoint(back_end.url), make_endpoint(back_end.url, "Reports")
    assert b"whsec_" not in bytes(one.secret_encrypted)
    Endpoint.objects.filter(pk=one.pk).update(secret_encrypted=other.secret_encrypted)
    post(event())
    pass_on()
    assert len(back_end.got) == 1  # the other one's
    row = Delivery.objects.get(endpoint=one)
    assert "TOKEN_ENCRYPTION_KEYS" in row.error
    assert (row.status, row.http_status) == (Delivery.WAITING, None)


def test_a_rotation_of_the_keys_takes_the_secrets_along(post, back_end, settings):
    endpoint = make_endpoint(back_end.url)
    endpoints.rotate_secret(endpoint)
    endpoint.refresh_from_db()
    secret = endpoint.open_secret()
    old_key = settings.TOKEN_ENCRYPTION_KEYS
    new_key = "t2:ZmVkY2JhOTg3NjU0MzIxMFpZWFdWVVRTUlFQT05NTEs="
    settings.TOKEN_ENCRYPTION_KEYS = f"{new_key},{old_key}"
    assert rotation.run(rotation.start(by="sam"))
    settings.TOKEN_ENCRYPTION_KEYS = new_key
    post(event())
    pass_on()
    assert back_end.got[0].verified(secret)
    assert len(back_end.got[0].headers["webhook-signature"].split()) == 2


# --- What goes wrong ---


def test_it_is_tried_again_later_and_later_with_the_same_id_and_then_given_up(post, back_end):
    back_end.status = 500
    with time_machine.travel(NOON, tick=False) as clock:
        make_endpoint(back_end.url)
        post(event())
        pass_on()
        waits = []
        while (send_at := only().send_at) is not None:
            waits.append((send_at - timezone.now()).total_seconds())
            clock.move_to(send_at)
            Endpoint.objects.update(probe_at=None)
            assert delivery.deliver_due() == 1
    assert len(back_end.got) == delivery.MOST_ATTEMPTS
    assert len(set(back_end.ids)) == 1
    for waited, pause in zip(waits, delivery.PAUSES, strict=True):
        assert waited == pytest.approx(pause.total_seconds(), rel=0.2)
    row = only()
    assert (row.status, row.error) == (Delivery.FAILED, "It had a fault (500).")


def test_it_arrives_at_the_second_try(post, back_end):
    back_end.status = 500
    make_endpoint(back_end.url)
    post(event())
    pass_on()
    assert delivery.deliver_due() == 0  # not yet
    back_end.status = 204
    Delivery.objects.update(send_at=timezone.now())
    delivery.deliver_due()
    assert (only().status, only().attempts) == (Delivery.DELIVERED, 2)
    endpoint = Endpoint.objects.get()
    assert (endpoint.failures, endpoint.failing_since) == (0, None)
    assert endpoint.delivered_at is not None


@pytest.mark.parametrize("form", ["seconds", "date"])
@pytest.mark.parametrize("status", [429, 503])
def test_it_waits_as_long_as_it_is_asked_to(post, back_end, status, form):
    asked = {"seconds": "900", "date": "Tue, 24 Nov 2026 12:15:00 GMT"}[form]
    back_end.status, back_end.headers = status, {"Retry-After": asked}
    with time_machine.travel(NOON, tick=False) as clock:
        make_endpoint(back_end.url)
        post(event())
        post(event(n=2))
        pass_on()
        tried = len(back_end.got)
        assert left_in_peace_until() == NOON + timedelta(minutes=15)
        clock.shift(timedelta(minutes=14))
        Delivery.objects.update(send_at=timezone.now())
        assert delivery.deliver_due() == 0
        clock.shift(timedelta(minutes=1))
        back_end.status = 200
        delivery.deliver_due()
        delivery.deliver_due()
    assert len(back_end.got) == tried + 2
    assert not Delivery.objects.waiting().exists()


def left_in_peace_until() -> datetime | None:
    return Endpoint.objects.get().probe_at


@pytest.mark.parametrize("asked", ["soon", "-5", "nan", "inf", "0"])
def test_a_wait_that_is_none_is_overlooked(post, back_end, asked):
    back_end.status, back_end.headers = 429, {"Retry-After": asked}
    make_endpoint(back_end.url)
    post(event())
    pass_on()
    assert left_in_peace_until() is None
    assert only().send_at - only().tried_at < timedelta(seconds=7)


def test_a_redirect_is_not_followed(post, back_end, other_back_end):
    back_end.status, back_end.headers = 307, {"Location": other_back_end.url}
    make_endpoint(back_end.url)
    post(event())
    pass_on()
    assert other_back_end.got == []
    assert only().error == "It sends us to another address (307); redirects are not followed."


def test_nobody_there(post, back_end):
    make_endpoint("http://127.0.0.1:1/events")
    post(event())
    pass_on()
    assert only().error == "Nobody listens at this address."


def test_an_answer_that_never_comes_is_not_waited_for(post, back_end, monkeypatch):
    monkeypatch.setattr(sending, "AT_MOST_S", 0.2)
    released = threading.Event()
    back_end.hook = lambda _received: released.wait(10) and None
    make_endpoint(back_end.url)
    post(event())
    pass_on()
    released.set()
    assert only().error.startswith("No complete answer within")
    assert only().took_ms < 5000


def test_an_answer_that_dribbles_in_for_ever_is_broken_off(post, monkeypatch):
    monkeypatch.setattr(sending, "AT_MOST_S", 0.3)
    with dribbling_server() as url:
        make_endpoint(url)
        post(event())
        pass_on()
    assert only().error.startswith("No complete answer within")
    assert only().took_ms < 5000


def test_of_a_long_answer_only_the_beginning_is_read_and_kept(post, back_end):
    back_end.status, back_end.text = 500, "é<b>\x00".encode() * 300_000
    make_endpoint(back_end.url)
    post(event())
    pass_on()
    assert len(only().answer) == sending.ANSWER_CHARACTERS
    assert "\x00" not in only().answer


# --- The breaker ---


def test_an_endpoint_that_fails_is_left_in_peace_and_the_others_do_not_notice(
    post, back_end, other_back_end
):
    back_end.status = 500
    broken = make_endpoint(back_end.url)
    make_endpoint(other_back_end.url, "Reports")
    for n in range(40):
        post(event(n=n))
    while pass_on():
        pass
    assert len(other_back_end.got) == 40
    assert delivery.BREAK_AT <= len(back_end.got) <= delivery.BREAK_AT + delivery.LANES
    broken.refresh_from_db()
    assert broken.probe_at > timezone.now()


def test_it_is_probed_at_growing_distance_and_gets_everything_when_it_works_again(post, back_end):
    back_end.status = 500
    with time_machine.travel(NOON, tick=False) as clock:
        make_endpoint(back_end.url)
        for n in range(20):
            post(event(n=n))
        pass_on()
        distances = []
        for _ in range(8):
            tried = len(back_end.got)
            probe_at = Endpoint.objects.get().probe_at
            distances.append((probe_at - timezone.now()).total_seconds())
            clock.move_to(probe_at)
            delivery.deliver_due()
            assert len(back_end.got) == tried + 1
        assert distances == sorted(distances) and distances[-1] == 1800
        back_end.status = 200
        clock.move_to(Endpoint.objects.get().probe_at)
        while delivery.deliver_due():
            pass
    assert Delivery.objects.filter(status=Delivery.DELIVERED).count() == 20
    assert Endpoint.objects.get().probe_at is None


def test_after_five_days_of_failure_it_is_switched_off_and_keeps_what_waits(post, back_end):
    back_end.status = 500
    with time_machine.travel(NOON, tick=False) as clock:
        endpoint = make_endpoint(back_end.url)
        for n in range(60):
            post(event(n=n))
        pass_on()
        for _ in range(10):
            clock.shift(timedelta(hours=13))
            pass_on()
        endpoint.refresh_from_db()
        assert endpoint.disabled_reason == Endpoint.FAILING
        tried = len(back_end.got)
        clock.shift(timedelta(days=1))
        post(event(n=999))
        assert pass_on() == 0
        assert len(back_end.got) == tried
        back_end.status = 200
        endpoints.enable(endpoint)
        while delivery.deliver_due():
            pass
    assert Delivery.objects.filter(status=Delivery.DELIVERED).count() == 60


def test_an_endpoint_that_is_gone_for_good_is_switched_off_at_once(post, back_end):
    back_end.status = 410
    make_endpoint(back_end.url)
    post(event())
    pass_on()
    assert Endpoint.objects.get().disabled_reason == Endpoint.GONE


# --- Again ---


def test_a_failed_one_is_sent_again_with_the_same_id(post, back_end):
    endpoint = make_endpoint(back_end.url)
    post(event())
    pass_on()
    assert endpoints.send_again(endpoint, pk=only().pk) == 1
    delivery.deliver_due()
    assert len(back_end.got) == 2
    assert len(set(back_end.ids)) == 1


def test_all_since_a_time_are_sent_again_also_what_was_never_sent(post, back_end, run_worker):
    post(event(n=1))
    processing.sweep()
    since = timezone.now()
    post(event(n=2))
    post(event(n=3, kind="InvoicePaid"))
    processing.sweep()
    endpoint = make_endpoint(back_end.url, event_types=["Contact*"])
    post(event(n=4))
    OrmQ.objects.all().delete()
    pass_on()
    endpoints.request_resend(endpoint, since, timezone.now())
    run_worker()
    sent = sorted(json.loads(got.body)["webhookId"] for got in back_end.got)
    assert sent == ["w-2", "w-4", "w-4"]


def test_more_than_one_batch_is_sent_again(post, back_end, monkeypatch):
    monkeypatch.setattr(endpoints, "BATCH", 3)
    now = timezone.now()
    for n in range(10):
        post(event(n=n))
    processing.sweep()
    GoHighLevelWebhook.objects.filter(webhook_id__in=["w-1", "w-2", "w-3", "w-4"]).update(
        received_at=now
    )
    endpoint = make_endpoint(back_end.url)
    assert endpoints.resend_batches(endpoint, now, timezone.now()) is None
    assert Delivery.objects.count() == 10
    monkeypatch.setattr(endpoints, "BUDGET_S", 0)
    assert endpoints.resend_batches(endpoint, now, timezone.now()) == now


def test_a_test_event_needs_no_event(back_end):
    endpoint = make_endpoint(back_end.url)
    endpoints.send_test(endpoint)
    delivery.deliver_due()
    (received,) = back_end.got
    assert received.verified(endpoint.open_secret())["type"] == "whatreach.test"


# --- One after the other ---


def test_another_process_at_work_is_left_alone(post, back_end):
    make_endpoint(back_end.url)
    post(event())
    processing.sweep()
    Endpoint.objects.update(sending_until=timezone.now() + timedelta(seconds=60))
    assert delivery.deliver_due() == 0
    Endpoint.objects.update(sending_until=timezone.now() - timedelta(seconds=1))
    assert delivery.deliver_due() == 1


def test_what_a_dead_process_had_taken_is_sent_after_its_lease(post, back_end):
    make_endpoint(back_end.url)
    post(event())
    processing.sweep()
    delivery._take(Endpoint.objects.all(), uuid.uuid4(), timezone.now())
    Endpoint.objects.update(sending_until=None)
    assert delivery.deliver_due() == 0
    with time_machine.travel(timezone.now() + delivery.LEASE, tick=False):
        assert delivery.deliver_due() == 1
    assert (only().status, only().attempts) == (Delivery.DELIVERED, 2)


def test_what_was_not_begun_in_time_is_given_back(post, back_end, monkeypatch):
    clock = SimpleNamespace(monotonic=lambda: clock.now_s, sleep=time.sleep, now_s=0.0)
    monkeypatch.setattr(delivery, "time", clock)

    def the_budget_is_spent(_received: object) -> None:
        clock.now_s = delivery.BUDGET_S

    back_end.hook = the_budget_is_spent
    make_endpoint(back_end.url)
    for n in range(40):
        post(event(n=n))
    processing.sweep()
    tried = delivery.deliver_due()
    assert 0 < tried <= delivery.LANES
    assert Delivery.objects.due(timezone.now()).filter(attempts=0, claim=None).count() == 40 - tried
    assert any(entry.task["func"] == "webhooks.tasks.deliver" for entry in OrmQ.objects.all())


def test_connections_are_used_again(post, back_end):
    make_endpoint(back_end.url)
    for n in range(60):
        post(event(n=n))
    while pass_on():
        pass
    assert len(back_end.got) == 60
    assert len(back_end.connections) <= delivery.LANES


# --- Cost and cleaning up ---


def store(count: int) -> list[GoHighLevelWebhook]:
    now = timezone.now()
    rows = [
        GoHighLevelWebhook(
            webhook_id=f"w-{n}",
            type="ContactCreate",
            location_id=f"location-{n}",
            body=event(n=n).decode(),
            occurred_at=now,
            received_at=now,
            process_at=now,
        )
        for n in range(count)
    ]
    return GoHighLevelWebhook.objects.bulk_create(rows)


def test_a_batch_of_events_takes_few_queries_however_many_endpoints_there_are(back_end):
    for n in range(20):
        make_endpoint(back_end.url, f"Endpoint {n}", agencies=["agency-1"] if n == 7 else [])
    store(1000)
    for batch in range(5):
        fresh = GoHighLevelWebhook.objects.order_by("pk")[batch * 200 : (batch + 1) * 200]
        with CaptureQueriesContext(connection) as asked:
            endpoints.fan_out(fresh)
        # events, endpoints, agencies of the locations, the insert's savepoint (2), the ring;
        # SQLite takes a large insert in parts
        assert len([q for q in asked if "INTO" not in q["sql"] or "ormq" in q["sql"]]) <= 7
    assert Delivery.objects.count() == 19 * 1000


def test_delivering_takes_a_query_for_many_deliveries(back_end):
    for n in range(20):
        make_endpoint(back_end.url, f"Endpoint {n}")
    endpoints.fan_out(store(50))
    with CaptureQueriesContext(connection) as asked:
        while delivery.deliver_due():
            pass
    assert len(back_end.got) == 1000
    assert len(asked) < 300


def test_old_deliveries_are_deleted(post, back_end, settings):
    make_endpoint(back_end.url)
    for n in range(3):
        post(event(n=n))
    pass_on()
    old = timezone.now() - timedelta(days=15)
    Delivery.objects.filter(pk=Delivery.objects.first().pk).update(created_at=old)
    settings.FORWARD_KEEP_DAYS = 0
    assert endpoints.purge(timezone.now()) == 0
    settings.FORWARD_KEEP_DAYS = 14
    assert endpoints.purge(timezone.now()) == 1
    assert Delivery.objects.count() == 2


def test_an_event_that_is_purged_takes_its_deliveries_along(post, back_end):
    make_endpoint(back_end.url)
    post(event())
    pass_on()
    GoHighLevelWebhook.objects.all().delete()
    assert Delivery.objects.count() == 0


@contextmanager
def dribbling_server() -> Iterator[str]:
    """Begins its answer at once and sends a byte now and then, for ever."""
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while not over.wait(0.05):
                try:
                    connection.sendall(b"x")
                except OSError:
                    return

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        over.set()
        thread.join()
        listener.close()
