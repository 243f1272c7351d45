from __future__ import annotations

import hashlib
import itertools
import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from django.db import DataError, IntegrityError, InterfaceError, OperationalError, connection
from django.utils import timezone
from django_q.models import OrmQ

from webhooks import bell, processing, tasks
from webhooks.models import GoHighLevelWebhook

pytestmark = pytest.mark.django_db

APP_ID = "5eed5eed5eed5eed5eed5eed"
# Every type in HighLevel's documentation of August 2026.
EVENT_TYPES = re.findall(
    r"\w+",
    """
    INSTALL UNINSTALL UPDATE PLAN_CHANGE EXTERNAL_AUTH_CONNECTED APP_PAYMENT_STATUS
    LocationCreate LocationUpdate UserCreate UserUpdate UserDelete
    ContactCreate ContactUpdate ContactDelete ContactDndUpdate ContactTagUpdate
    ConversationUnreadUpdate ConversationUpdate InboundMessage OutboundMessage SMS Email
    AppointmentCreate AppointmentUpdate AppointmentDelete TaskCreate TaskComplete TaskDelete
    NoteCreate NoteUpdate NoteDelete OpportunityCreate OpportunityUpdate OpportunityDelete
    OpportunityStageUpdate OpportunityStatusUpdate OpportunityMonetaryValueUpdate
    OpportunityAssignedToUpdate CampaignStatusUpdate LCEmailStats InvoiceCreate InvoiceUpdate
    InvoiceDelete InvoiceSent InvoicePaid InvoicePartiallyPaid InvoiceVoid OrderCreate
    OrderStatusUpdate ProductCreate ProductUpdate ProductDelete PriceCreate PriceUpdate PriceDelete
    AssociationCreate AssociationUpdate AssociationDelete RelationCreate RelationDelete
    ObjectSchemaCreate ObjectSchemaUpdate RecordCreate RecordUpdate RecordDelete
    KnowledgeBaseCreate KnowledgeBaseUpdate KnowledgeBaseDelete KnowledgeBaseFaqChange
    KnowledgeBaseFileChange KnowledgeBaseRichTextChange KnowledgeBaseTableFileChange
    KnowledgeBaseTrainedUrlChange SaaSPlanCreate SupportTicketCreate SupportTicketUpdate
    SupportTicketDelete VoiceAiCallEnd
    """,
)


def as_body(**fields) -> bytes:
    return json.dumps({"type": "ContactCreate"} | fields).encode()


def stored() -> GoHighLevelWebhook:
    return GoHighLevelWebhook.objects.get()


def count() -> int:
    return GoHighLevelWebhook.objects.count()


@pytest.mark.parametrize("path", ["/app/webhook/", "/ghl/webhook/"])
def test_it_keeps_a_signed_event_as_it_came(post, path):
    body = b'{ "type":"ContactCreate",\n "webhookId":"w-1", "locationId":"loc", "name":"\xc3\xa9"}'
    answer = post(body, path=path)
    assert (answer.status_code, answer.json()) == (200, {"received": True, "duplicate": False})
    event = stored()
    assert event.body.encode() == body
    assert (event.webhook_id, event.type, event.location_id) == ("w-1", "ContactCreate", "loc")
    assert event.status == GoHighLevelWebhook.PENDING


def test_it_rings_for_the_worker_with_nothing_of_the_event(post):
    post(as_body(name="Ms Private"))
    task = OrmQ.objects.get().task
    assert task["func"] == "webhooks.tasks.sweep"
    assert [type(value) for value in task["args"]] == [float]


def test_many_events_at_once_ring_once_and_are_all_found_by_the_sweep(post, run_worker, usual_bell):
    for n in range(5):
        post(as_body(webhookId=f"w-{n}"))
    assert OrmQ.objects.count() == 1
    run_worker()
    assert not GoHighLevelWebhook.objects.filter(status=GoHighLevelWebhook.PENDING).exists()


def test_the_bell_rings_again_after_its_pause(post, monkeypatch, usual_bell):
    post(as_body(webhookId="w-1"))
    monkeypatch.setattr(bell, "_last_ring", bell._last_ring - bell.EVERY_S)
    post(as_body(webhookId="w-2"))
    assert OrmQ.objects.count() == 2


def test_the_sweep_goes_on_looking_until_the_next_bell_may_ring(post, monkeypatch):
    monkeypatch.setattr(processing, "LOOK_AT_MOST_S", 1)
    pauses = []

    def deliver_meanwhile(seconds):
        pauses.append(seconds)
        if len(pauses) == 1:
            post(as_body(webhookId="w-late"))

    monkeypatch.setattr(processing.time, "sleep", deliver_meanwhile)
    monkeypatch.setattr(processing.time, "monotonic", itertools.count(0, 0.1).__next__)
    assert processing.sweep(look_for_s=0.8) == 1


def test_a_second_delivery_of_an_event_is_answered_200_and_kept_once(post):
    body = as_body(webhookId="w-1")
    assert post(body).json()["duplicate"] is False
    again = post(body)
    assert (again.status_code, again.json()["duplicate"]) == (200, True)
    assert (count(), OrmQ.objects.count()) == (1, 1)


def test_the_address_of_older_deployments_knows_the_same_events(post):
    body = as_body(webhookId="w-1")
    post(body, path="/ghl/webhook/")
    assert post(body, path="/app/webhook/").json()["duplicate"] is True


def test_an_event_without_an_id_is_known_by_its_body(post):
    body = as_body(name="first")
    post(body)
    assert stored().webhook_id == "sha256:" + hashlib.sha256(body).hexdigest()
    assert post(body).json()["duplicate"] is True
    assert post(as_body(name="second")).json()["duplicate"] is False


@pytest.mark.parametrize("given", [17, "", None, ["w"], "x" * 101, "\ud800", "w\0", "w-1 ", "\tw"])
def test_an_id_that_cannot_be_kept_counts_as_none(post, given):
    assert post(as_body(webhookId=given)).status_code == 200
    assert stored().webhook_id.startswith("sha256:")


def test_ids_that_differ_by_case_are_two_events(post):
    for webhook_id in ("aBc", "abc", "ABC"):
        answer = post(as_body(webhookId=webhook_id, locationId=webhook_id))
        assert answer.json() == {"received": True, "duplicate": False}
    assert GoHighLevelWebhook.objects.get(location_id="abc").webhook_id == "abc"


@pytest.mark.parametrize("name", EVENT_TYPES)
def test_every_event_type_that_highlevel_documents_is_kept(post, name):
    assert post(as_body(type=name, locationId="loc")).status_code == 200
    assert (stored().type, stored().location_id) == (name, "loc")


def test_events_of_unknown_types_are_kept_too(post):
    assert post(as_body(type="SomethingOf2031")).status_code == 200
    assert stored().type == "SomethingOf2031"


def test_an_old_timestamp_is_accepted(post):
    """HighLevel's retries carry the time of the first delivery, and come days later too."""
    post(as_body(timestamp="2025-06-25T06:57:06.225Z"))
    assert stored().occurred_at == datetime(2025, 6, 25, 6, 57, 6, 225_000, UTC)
    assert stored().is_late


def test_an_event_of_just_now_is_not_flagged_as_late(post):
    post(as_body(timestamp=timezone.now().isoformat()))
    assert not stored().is_late


def test_the_headers_that_tell_something_are_kept_and_no_others(post):
    post(as_body(), **{"User-Agent": "HighLevel \xe9", "Cookie": "no", "Authorization": "no"})
    assert stored().headers == {
        "Content-Type": "application/json",
        "User-Agent": "HighLevel \xe9",
        "X-GHL-Signature": stored().headers["X-GHL-Signature"],
        "From": "127.0.0.1",
    }


@pytest.mark.parametrize(
    "told",
    [None, "", "yesterday", 1750834626225, "2025-02-30T00:00:00Z", "0001-01-01T00:00:00+14:00"],
)
def test_without_a_readable_timestamp_the_time_of_receipt_counts(post, told):
    assert post(as_body(timestamp=told)).status_code == 200
    assert stored().occurred_at == stored().received_at


@pytest.mark.parametrize("told", ["2199-01-01T00:00:00Z", "9999-12-31T23:59:59-12:00"])
def test_an_event_cannot_have_happened_long_after_it_came(post, told):
    post(as_body(timestamp=told))
    assert stored().occurred_at - timezone.now() < timedelta(minutes=6)


@pytest.mark.parametrize(
    ("fields", "location_id", "company_id"),
    [
        ({"locationId": "loc", "companyId": "com"}, "loc", "com"),
        ({"location_id": "loc", "company_id": "com"}, "loc", "com"),
        ({"type": "InvoicePaid", "altType": "location", "altId": "loc"}, "loc", ""),
        ({"type": "LocationUpdate", "id": "loc", "companyId": "com"}, "loc", "com"),
        ({"type": "ContactCreate", "id": "contact", "locationId": "loc"}, "loc", ""),
        ({"locationId": None, "companyId": 5}, "", ""),
    ],
)
def test_it_knows_whose_event_it_is(post, fields, location_id, company_id):
    post(as_body(**fields))
    assert (stored().location_id, stored().company_id) == (location_id, company_id)


def test_an_event_of_another_app_is_refused_though_it_is_well_signed(post):
    answer = post(as_body(appId="0123456789abcdef01234567"))
    assert (answer.status_code, answer.json()["error"]) == (403, "event_of_another_app")
    assert count() == 0


@pytest.mark.parametrize("app", [{"appId": APP_ID}, {"app_id": APP_ID}, {}])
def test_an_event_of_this_app_or_of_none_is_accepted(post, app):
    assert post(as_body(**app)).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"type=INSTALL",
        b"[]",
        b'"INSTALL"',
        b"null",
        b'{"type":"INSTALL"',
        b'{"type":"\xff"}',
        '{"type":"INSTALL"}'.encode("utf-16"),
        b'\xef\xbb\xbf{"type":"INSTALL"}',
        b'{"type":"a\x00b"}',
        b'{"a":' * 50_000,
        b'{"type":"INSTALL","n":NaN}',
        b'{"type":"INSTALL","n":-Infinity}',
    ],
    ids=lambda body: repr(body[:24]),
)
def test_what_is_no_event_is_refused_though_it_is_well_signed(post, body):
    answer = post(body)
    assert (answer.status_code, answer.json()["error"]) == (400, "event_unreadable")
    assert count() == 0


@pytest.mark.parametrize("path", ["/app/webhook", "/ghl/webhook"])
def test_an_address_without_its_slash_takes_events_too(post, path):
    assert post(as_body(), path=path).status_code == 200
    assert count() == 1


def test_a_nul_that_json_spells_out_is_kept_as_it_came(post):
    body = b'{"type":"Contact\\u0000Create","locationId":"\\u0000","note":"a\\u0000b"}'
    assert post(body).status_code == 200
    assert stored().body.encode() == body
    assert (stored().type, stored().location_id) == ("", "")
    assert stored().payload["note"] == "a\0b"


def test_a_half_character_in_a_text_stops_no_event(post):
    """JSON can spell half of an emoji, which no database keeps as text."""
    assert post(b'{"type":"ContactCreate\\ud83d","locationId":"\\ud83d","name":"\\ud83d"}').json()
    assert (stored().type, stored().location_id) == ("", "")
    assert stored().payload["name"] == "\ud83d"


def test_a_body_over_a_megabyte_is_refused_unread(post):
    answer = post(as_body(note="x" * 1_000_000))
    assert (answer.status_code, answer.json()["error"]) == (413, "event_too_large")
    assert count() == 0


def test_a_body_just_under_a_megabyte_is_kept_whole(post):
    body = as_body(note="x" * 999_000)
    assert post(body).status_code == 200
    assert stored().body.encode() == body


@pytest.mark.parametrize(
    ("length", "status"), [("many", 400), ("1e3", 400), ("²", 400), ("-1", 401), ("", 401)]
)
def test_a_senseless_length_is_no_fault_of_ours(world, client, length, status):
    answer = client.generic("POST", "/app/webhook/", b"{}", CONTENT_LENGTH=length)
    assert answer.status_code == status


@pytest.mark.parametrize("method", ["get", "head", "put", "patch", "delete", "options"])
def test_only_post_is_answered(client, method):
    answer = getattr(client, method)("/app/webhook/")
    assert answer.status_code == 405
    assert answer["Allow"] == "POST"


def test_a_key_that_cannot_be_read_is_no_reason_to_lose_an_event(post, settings, caplog):
    good = settings.GHL_WEBHOOK_PUBLIC_KEYS
    settings.GHL_WEBHOOK_PUBLIC_KEYS = [*good, "no key"]
    assert post(as_body()).status_code == 429
    assert "GHL_WEBHOOK_PUBLIC_KEYS" in caplog.text
    settings.GHL_WEBHOOK_PUBLIC_KEYS = good
    assert post(as_body()).status_code == 200


def test_a_row_that_is_refused_for_another_reason_than_its_id_is_not_called_known(post):
    def refuse(execute, sql, params, many, context):
        if sql.lstrip().startswith(("INSERT", "SET")) and "gohighlevelwebhook" in sql:
            raise IntegrityError("a column that must not be empty")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(refuse):
        assert post(as_body()).status_code == 429
    assert count() == 0


@pytest.mark.parametrize("fault", [OperationalError, InterfaceError, DataError])
def test_it_asks_for_another_delivery_when_the_database_refuses(post, fault):
    def refuse(execute, sql, params, many, context):
        if "webhooks_gohighlevelwebhook" in sql:
            raise fault("no")
        return execute(sql, params, many, context)

    body = as_body(webhookId="w-1")
    with connection.execute_wrapper(refuse):
        answer = post(body)
    assert (answer.status_code, answer.json()["error"]) == (429, "event_not_stored")
    assert int(answer["Retry-After"]) == answer.json()["retry_after"] > 0
    assert (count(), OrmQ.objects.count()) == (0, 0)
    assert post(body).json() == {"received": True, "duplicate": False}
    assert post(body).json() == {"received": True, "duplicate": True}


@pytest.mark.django_db(transaction=True)
def test_an_event_whose_bell_cannot_be_rung_is_kept_for_the_sweep(post):
    def refuse(execute, sql, params, many, context):
        if "django_q_ormq" in sql:
            raise OperationalError("full")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(refuse):
        assert post(as_body()).status_code == 200
    assert tasks.sweep() == 1


@pytest.mark.parametrize("policy", ["429-only", "any-non-2xx"])
def test_highlevel_delivers_what_could_not_be_stored_again(world, send, policy):
    def refuse(execute, sql, params, many, context):
        raise OperationalError("away")

    world.set_knobs(retry_policy=policy)
    world.create_agency(locations=1)
    world.send_event("ContactCreate")
    with connection.execute_wrapper(refuse):
        assert [delivery.status for delivery in world.deliver(send)] == [429]
    world.advance(12 * 60)
    assert [delivery.status for delivery in world.deliver(send)] == [200]
    assert count() == 1


def test_errors_have_the_shape_of_all_errors(client):
    answer = client.post("/app/webhook/", b"{}", content_type="application/json")
    error = answer.json()
    assert set(error) == {"error", "details", "who_acts", "retry_after", "help_url"}
    assert answer["Cache-Control"] == "no-store"


@pytest.mark.django_db(transaction=True)
def test_a_new_event_takes_one_insert_and_rings_at_times(
    post, django_assert_num_queries, usual_bell
):
    post(as_body(webhookId="w-0"))
    with django_assert_num_queries(1):
        post(as_body(webhookId="w-1"))


@pytest.mark.django_db(transaction=True)
def test_a_known_event_takes_an_insert_and_a_look(post, django_assert_num_queries, usual_bell):
    post(as_body(webhookId="w-1"))
    with django_assert_num_queries(2):
        post(as_body(webhookId="w-1"))


@pytest.mark.parametrize("mode", ["bad", "n/a", "none", "tampered"])
def test_an_unsigned_delivery_costs_no_query(post, django_assert_num_queries, mode):
    with django_assert_num_queries(0):
        post(as_body(), mode)
