"""The pages of the back ends that get the events too."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django_q.models import OrmQ

from access.models import AuditEvent
from access.roles import Role
from webhooks import endpoints
from webhooks.models import Delivery, Endpoint, GoHighLevelWebhook

pytestmark = pytest.mark.django_db
URL = "https://billing.example.com/events?token=tell-nobody"


def path(name: str, *args: Any) -> str:
    return reverse(f"dashboard:{name}", args=args)


def make_endpoint(name: str = "Billing", **fields: Any) -> Endpoint:
    return endpoints.create(name=name, url=URL, by="sam", **fields)


def make_deliveries(endpoint: Endpoint, count: int = 1, **fields: Any) -> list[Delivery]:
    now = timezone.now()
    events = GoHighLevelWebhook.objects.bulk_create(
        GoHighLevelWebhook(
            webhook_id=str(uuid.uuid4()),
            type="ContactCreate",
            body='{"type": "ContactCreate"}',
            occurred_at=now,
            received_at=now,
        )
        for _ in range(count)
    )
    told = {"created_at": now, "send_at": now} | fields
    return [Delivery.objects.create(endpoint=endpoint, event=event, **told) for event in events]


def failed(endpoint: Endpoint, count: int = 1) -> list[Delivery]:
    return make_deliveries(
        endpoint,
        count,
        status=Delivery.FAILED,
        send_at=None,
        attempts=9,
        tried_at=timezone.now(),
        http_status=500,
        error="It had a fault (500).",
        answer="<script>alert(1)</script>",
    )


def form(**values: Any) -> dict[str, Any]:
    told = {"id": str(uuid.uuid4()), "name": "Billing", "url": URL, "description": ""}
    return told | {"event_types": "", "agencies": []} | values


def text_of(answer: Any) -> str:
    return answer.content.decode()


# --- Making one ---


def test_a_new_endpoint_shows_its_secret_and_is_recorded(staff_client):
    sent = form(event_types="Contact*, InvoicePaid\nContact*")
    answer = staff_client.post(path("endpoint-new"), sent)
    endpoint = Endpoint.objects.get()
    assert endpoint.open_secret() in text_of(answer)
    assert endpoint.event_types == ["Contact*", "InvoicePaid"]
    recorded = AuditEvent.objects.get(action="endpoint.create")
    assert recorded.target_id == str(endpoint.pk)
    assert "tell-nobody" not in str(recorded.details) and "whsec" not in str(recorded.details)


def test_the_form_sent_twice_makes_one_endpoint(staff_client):
    sent = form()
    staff_client.post(path("endpoint-new"), sent)
    answer = staff_client.post(path("endpoint-new"), sent, follow=True)
    assert "made already" in text_of(answer)
    assert Endpoint.objects.count() == 1


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"url": "http://billing.example.com/"}, "only https:// addresses are allowed"),
        ({"url": "https://127.0.0.1/"}, "in a private network"),
        ({"url": "https://169.254.169.254/"}, "in a private network"),
        ({"url": "nonsense"}, "Give a whole address"),
        ({"url": ""}, "required"),
        ({"name": ""}, "required"),
        ({"event_types": "x" * 81}, "at most 80 characters"),
        ({"agencies": ["unknown"]}, "not one of the available choices"),
        ({"id": "nonsense"}, "valid UUID"),
    ],
)
def test_what_cannot_be_is_said_beside_the_field(staff_client, values, said):
    answer = staff_client.post(path("endpoint-new"), form(**values))
    assert answer.status_code == 422
    assert said in text_of(answer) or said in str(answer.context["form"].errors)
    assert not Endpoint.objects.exists()


def test_there_is_an_end_to_endpoints(staff_client, monkeypatch):
    monkeypatch.setattr(endpoints, "MOST", 1)
    make_endpoint()
    assert "no more fit" in text_of(staff_client.post(path("endpoint-new"), form()))
    assert Endpoint.objects.count() == 1


def test_changing_it_is_recorded_and_keeps_the_secret(staff_client):
    endpoint = make_endpoint()
    url = path("endpoint-edit", endpoint.pk)
    assert "Billing" in text_of(staff_client.get(url))
    staff_client.post(url, form(name="Reports", event_types="Invoice*"))
    changed = Endpoint.objects.get()
    assert (changed.name, changed.event_types) == ("Reports", ["Invoice*"])
    assert changed.open_secret() == endpoint.open_secret()
    assert AuditEvent.objects.filter(action="endpoint.change").exists()


# --- The secret ---


def test_the_secret_shows_only_when_it_is_asked_for_and_leaves_a_record(staff_client):
    endpoint = make_endpoint()
    secret = endpoint.open_secret()
    for page in (path("endpoint-list"), path("endpoint-detail", endpoint.pk)):
        assert "whsec_" not in text_of(staff_client.get(page))
    answer = staff_client.post(path("endpoint-secret", endpoint.pk))
    assert secret in text_of(answer)
    assert "no-store" in answer["Cache-Control"]
    assert AuditEvent.objects.filter(action="endpoint.reveal").count() == 1


def test_a_new_secret_is_shown_and_the_old_one_signs_on(staff_client):
    endpoint = make_endpoint()
    old = endpoint.open_secret()
    answer = staff_client.post(path("endpoint-rotate", endpoint.pk))
    endpoint.refresh_from_db()
    assert endpoint.open_secret() in text_of(answer) and old not in text_of(answer)
    assert "The secret before signs too" in text_of(answer)
    assert len(endpoint.signers(timezone.now())) == 2


def test_a_secret_that_cannot_be_read_is_no_server_error(staff_client):
    endpoint = make_endpoint()
    Endpoint.objects.update(secret_encrypted=b"nonsense")
    answer = staff_client.post(path("endpoint-secret", endpoint.pk), follow=True)
    assert "Make a new one" in text_of(answer)
    answer = staff_client.post(path("endpoint-rotate", endpoint.pk))
    assert Endpoint.objects.get().open_secret() in text_of(answer)


@pytest.mark.parametrize("name", ["endpoint-secret", "endpoint-rotate", "endpoint-delete"])
def test_secrets_need_a_confirmation_of_who_it_is(staff, sign_in, name):
    endpoint = make_endpoint()
    answer = sign_in(staff, minutes_ago=20).post(path(name, endpoint.pk))
    assert answer.status_code == 302 and "reauthenticate" in answer["Location"]
    assert "whsec_" not in text_of(answer)
    assert Endpoint.objects.get().rotated_at is None


# --- On and off, away ---


def test_switching_off_and_on_again(staff_client):
    endpoint = make_endpoint()
    answer = staff_client.post(path("endpoint-disable", endpoint.pk), follow=True)
    assert "Undo: switch on again" in text_of(answer)
    assert Endpoint.objects.get().disabled_by == "sam"
    answer = staff_client.post(path("endpoint-enable", endpoint.pk), follow=True)
    assert "gets events again" in text_of(answer)
    assert Endpoint.objects.get().is_active
    actions = AuditEvent.objects.filter(action__in=["endpoint.disable", "endpoint.enable"])
    assert actions.count() == 2


def test_one_that_was_given_up_says_so(staff_client):
    endpoint = make_endpoint()
    Endpoint.objects.update(disabled_at=timezone.now(), disabled_reason=Endpoint.FAILING)
    html = text_of(staff_client.get(path("endpoint-detail", endpoint.pk)))
    assert "nothing could be delivered for five days" in html


def test_deleting_takes_the_log_along_and_leaves_the_events(staff_client):
    endpoint = make_endpoint()
    make_deliveries(endpoint, 3)
    staff_client.post(path("endpoint-delete", endpoint.pk))
    assert (Endpoint.objects.count(), Delivery.objects.count()) == (0, 0)
    assert GoHighLevelWebhook.objects.count() == 3
    assert AuditEvent.objects.get(action="endpoint.delete").target_name == "Billing"


# --- The log ---


def test_the_log_says_what_came_of_each_in_plain_words(staff_client):
    endpoint = make_endpoint()
    failed(endpoint)
    html = text_of(staff_client.get(path("endpoint-detail", endpoint.pk)))
    assert "It had a fault (500)." in html and "9 tries" in html and "ContactCreate" in html
    assert "<script>alert" not in html and "&lt;script&gt;alert" in html


def test_the_log_is_filtered_and_paged_by_its_address(staff_client):
    endpoint = make_endpoint()
    make_deliveries(endpoint, 60, status=Delivery.DELIVERED, send_at=None)
    failed(endpoint)
    here = path("endpoint-detail", endpoint.pk)
    first = staff_client.get(here)
    log = first.context["log"]
    assert len(log.lines) == 50 and log.older
    rest = staff_client.get(f"{here}?before={log.older}").context["log"]
    assert len(rest.lines) == 11 and not rest.older
    only = staff_client.get(f"{here}?state=failed").context["log"]
    assert [line.look.label for line in only.lines] == ["Failed"]


@pytest.mark.parametrize("query", ["before=x", "before=-1", "before=9" * 30, "state=x", "before=²"])
def test_nonsense_in_the_address_is_left_out(staff_client, query):
    endpoint = make_endpoint()
    failed(endpoint)
    answer = staff_client.get(f"{path('endpoint-detail', endpoint.pk)}?{query}")
    assert len(answer.context["log"].lines) == 1


@pytest.mark.parametrize("name", ["live-endpoint", "live-endpoint-list"])
def test_the_live_part_is_a_fragment_and_silent_while_nothing_changes(staff_client, name):
    endpoint = make_endpoint()
    url = path(name, *([endpoint.pk] if name == "live-endpoint" else []))
    first = staff_client.get(url, headers={"HX-Request": "true"})
    assert "<html" not in text_of(first) and "data-panel" in text_of(first)
    again = staff_client.get(url, headers={"X-Panel-Version": first["X-Panel-Version"]})
    assert again.status_code == 204


def test_the_pages_take_the_same_queries_however_much_there_is(staff_client):
    for n in range(3):
        failed(make_endpoint(f"Endpoint {n}"), 3)
    endpoint = Endpoint.objects.first()
    pages = [path("live-endpoint-list"), path("live-endpoint", endpoint.pk)]
    counts = [_queries(staff_client, page) for page in pages]
    for n in range(10):
        failed(make_endpoint(f"More {n}"), 3)
    failed(endpoint, 30)
    assert [_queries(staff_client, page) for page in pages] == counts


def _queries(client: Any, url: str) -> int:
    with CaptureQueriesContext(connection) as asked:
        assert client.get(url).status_code == 200
    return len(asked)


# --- Sending again ---


def test_one_is_sent_again(staff_client):
    endpoint = make_endpoint()
    (delivery,) = failed(endpoint)
    staff_client.post(path("endpoint-delivery-send-again", endpoint.pk, delivery.pk))
    delivery.refresh_from_db()
    assert (delivery.status, delivery.attempts) == (Delivery.WAITING, 0)
    assert delivery.send_at is not None
    assert OrmQ.objects.get().task["func"] == "webhooks.tasks.deliver"


def test_all_that_failed_are_sent_again(staff_client):
    endpoint = make_endpoint()
    failed(endpoint, 3)
    make_deliveries(endpoint, 1, status=Delivery.DELIVERED, send_at=None)
    failed(make_endpoint("Reports"))
    answer = staff_client.post(path("endpoint-send-again", endpoint.pk), follow=True)
    assert "3 failed deliveries are sent again" in text_of(answer)
    assert Delivery.objects.waiting().count() == 3


def test_all_since_a_time_are_left_to_the_worker(staff_client):
    endpoint = make_endpoint()
    answer = staff_client.post(
        path("endpoint-send-again", endpoint.pk), {"hours": "24"}, follow=True
    )
    assert "The events of the last day are sent again" in text_of(answer)
    task = OrmQ.objects.get().task
    assert task["func"] == "webhooks.tasks.send_again_since"
    assert task["args"][0] == str(endpoint.pk)


def test_a_test_event_is_put_on_its_way(staff_client):
    endpoint = make_endpoint()
    answer = staff_client.post(path("endpoint-test", endpoint.pk), follow=True)
    assert "Test event" in text_of(answer)
    assert Delivery.objects.get().event_id is None


def test_nothing_is_sent_again_to_one_that_is_off(staff_client):
    endpoint = make_endpoint()
    (delivery,) = failed(endpoint)
    endpoints.disable(endpoint, by="sam")
    for url in (
        path("endpoint-test", endpoint.pk),
        path("endpoint-send-again", endpoint.pk),
        path("endpoint-delivery-send-again", endpoint.pk, delivery.pk),
    ):
        assert "switch it on first" in text_of(staff_client.post(url, follow=True))
    assert not Delivery.objects.waiting().exists()
    assert AuditEvent.objects.filter(outcome=AuditEvent.REFUSED).count() == 3


def test_a_delivery_of_another_endpoint_is_not_found(staff_client):
    (delivery,) = failed(make_endpoint())
    other = make_endpoint("Reports")
    url = path("endpoint-delivery-send-again", other.pk, delivery.pk)
    assert staff_client.post(url).status_code == 404


# --- Who may ---

CHANGES = ["endpoint-edit", "endpoint-delete", "endpoint-secret", "endpoint-rotate"]
OPERATIONS = ["endpoint-disable", "endpoint-enable", "endpoint-test", "endpoint-send-again"]


@pytest.mark.parametrize(
    ("role", "allowed"), [(Role.VIEWER, []), (Role.OPERATOR, OPERATIONS)], ids=str
)
def test_what_a_role_may_not_do_is_refused(make_person, sign_in, role, allowed):
    endpoint = make_endpoint()
    client = sign_in(make_person("vera", role))
    assert client.get(path("endpoint-detail", endpoint.pk)).status_code == 200
    assert client.post(path("endpoint-new"), form()).status_code == 403
    for name in CHANGES + OPERATIONS:
        status = client.post(path(name, endpoint.pk)).status_code
        assert status == (302 if name in allowed else 403), name
    html = text_of(client.get(path("endpoint-detail", endpoint.pk)))
    assert ("Send test event" in html) is bool(allowed)
    assert "Signing secret" not in html


def test_who_is_limited_to_an_agency_sees_and_makes_endpoints_of_it_alone(
    make_person, sign_in, make_install
):
    make_install(agency=True, company_id="agency-1")
    make_install(agency=True, company_id="agency-2")
    own = make_endpoint("Own", agencies=["agency-1"])
    hidden = [
        make_endpoint("All"),
        make_endpoint("Other", agencies=["agency-2"]),
        make_endpoint("Both", agencies=["agency-1", "agency-2"]),
    ]
    client = sign_in(make_person("olga", Role.OWNER, agencies=["agency-1"]))
    html = text_of(client.get(path("endpoint-list")))
    assert "Own" in html and not any(f">{endpoint.name}</a>" in html for endpoint in hidden)
    assert client.get(path("endpoint-detail", own.pk)).status_code == 200
    for endpoint in hidden:
        assert client.get(path("endpoint-detail", endpoint.pk)).status_code == 404
        for name in CHANGES + OPERATIONS:
            assert client.post(path(name, endpoint.pk)).status_code == 404, name
    assert client.post(path("endpoint-new"), form(agencies=["agency-2"])).status_code == 422
    client.post(path("endpoint-new"), form(name="Mine"))
    assert Endpoint.objects.get(name="Mine").agencies == ["agency-1"]


@pytest.mark.parametrize("name", [*OPERATIONS, "endpoint-delete", "endpoint-secret"])
def test_actions_are_posts(staff_client, name):
    assert staff_client.get(path(name, make_endpoint().pk)).status_code == 405


def test_a_stranger_is_sent_to_sign_in(client):
    endpoint = make_endpoint()
    for url in (path("endpoint-list"), path("endpoint-detail", endpoint.pk), path("endpoint-new")):
        assert client.get(url)["Location"].startswith("/accounts/login/")
    client.post(path("endpoint-disable", endpoint.pk))
    assert Endpoint.objects.get().is_active


def test_an_unknown_endpoint_is_not_found(staff_client):
    assert staff_client.get(path("endpoint-detail", uuid.uuid4())).status_code == 404
