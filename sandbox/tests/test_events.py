from __future__ import annotations

from typing import Any

import pytest

from sandbox.errors import NotFound
from sandbox.knobs import BadKnob
from sandbox.tests.client import APP_ID, Client, company_pair
from sandbox.world import World

pytestmark = pytest.mark.one_database

TIME = "2026-11-24T12:00:00.000Z"


class App:
    """Takes events and answers with the given statuses, 200 when they run out."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.urls: list[str] = []

    def __call__(self, url: str, body: bytes, headers: dict[str, str]) -> int:
        self.urls.append(url)
        self.bodies.append(body)
        self.headers.append(headers)
        return self.statuses.pop(0) if self.statuses else 200


def no_answer(url: str, body: bytes, headers: dict[str, str]) -> int:
    raise ConnectionRefusedError


def types(world: World) -> list[str]:
    return [event.type for event in world.outbox]


def bodies(world: World) -> list[dict[str, Any]]:
    return [event.json() for event in world.outbox]


def test_a_bulk_consent_sends_one_install_per_location(world: World) -> None:
    agency = world.create_agency("Acme", locations=3)
    world.install(agency.id)
    assert [body["locationId"] for body in bodies(world)] == [
        location.id for location in world.locations(agency.id)
    ]
    user = world.people.users(agency.id, "")[0]
    first = bodies(world)[0]
    webhook_id = first.pop("webhookId")
    assert first == {
        "type": "INSTALL",
        "appId": APP_ID,
        "versionId": APP_ID,
        "installType": "Location",
        "locationId": world.locations(agency.id)[0].id,
        "companyId": agency.id,
        "userId": user.id,
        "companyName": "Acme",
        "isWhitelabelCompany": False,
        "whitelabelDetails": {},
        "trial": {},
        "timestamp": TIME,
    }
    assert len(webhook_id) == 36


def test_a_white_label_agency_tells_its_details(world: World) -> None:
    agency = world.create_agency("Acme", locations=1, white_label=True)
    world.install(agency.id)
    (body,) = bodies(world)
    assert body["isWhitelabelCompany"] is True
    assert set(body["whitelabelDetails"]) == {"logoUrl", "domain"}


def test_the_older_install_has_plan_and_trial_instead(world: World) -> None:
    world.set_knobs(install_fields="sparse")
    agency = world.create_agency(locations=1)
    world.install(agency.id)
    (body,) = bodies(world)
    assert "trialStartDate" in body["trial"]
    assert not {"versionId", "installType", "timestamp", "webhookId"} & set(body)


def test_an_agency_install_names_no_location(world: World) -> None:
    agency = world.create_agency(locations=2)
    world.install(agency.id, bulk=False)
    (body,) = bodies(world)
    assert (body["installType"], body["companyId"]) == ("Company", agency.id)
    assert "locationId" not in body
    world.set_knobs(install_fields="sparse")
    world.install(agency.id, bulk=False)
    assert set(bodies(world)[1]) == {"type", "appId", "companyId", "planId", "trial"}


def test_uninstalls_name_the_location_or_the_agency_never_both(world: World) -> None:
    agency = world.create_agency(locations=1)
    location = world.locations(agency.id)[0]
    world.install(agency.id)
    world.deliver(App())
    world.uninstall(location.id)
    world.uninstall(agency.id)
    of_location, of_agency = bodies(world)
    assert list(of_location) == [
        "type", "appId", "versionId", "locationId", "timestamp", "webhookId",
    ]  # fmt: skip
    assert "locationId" not in of_agency
    assert of_agency["companyId"] == agency.id


def test_the_sparse_uninstall_has_ids_only(world: World) -> None:
    world.set_knobs(uninstall_fields="sparse")
    agency = world.create_agency(locations=1)
    location = world.locations(agency.id)[0]
    world.install(agency.id)
    world.uninstall(location.id)
    body = {"type": "UNINSTALL", "appId": APP_ID, "locationId": location.id}
    assert bodies(world)[-1] == body


def test_a_new_location_is_announced_by_id_and_installed_if_wanted(world: World) -> None:
    agency = world.create_agency()
    world.install(agency.id, future=True)
    location = world.create_location(agency.id, "Later")
    created, installed = bodies(world)
    assert (created["type"], created["id"]) == ("LocationCreate", location.id)
    assert "locationId" not in created
    assert (installed["type"], installed["locationId"]) == ("INSTALL", location.id)
    assert not {"companyId", "userId"} & set(installed)
    world.set_knobs(ids_only_in_id=False, future_install_fields="full")
    world.create_location(agency.id, "Later still")
    created, installed = bodies(world)[2:]
    assert created["locationId"] == created["id"]
    assert installed["companyId"] == agency.id


def test_a_new_location_is_only_announced_without_future_installs(world: World) -> None:
    agency = world.create_agency()
    world.create_location(agency.id)
    assert types(world) == []
    world.install(agency.id)
    world.deliver(App())
    world.create_location(agency.id)
    assert types(world) == ["LocationCreate"]


@pytest.mark.parametrize(
    ("order", "before", "after"),
    [("webhook_first", 4, 4), ("callback_first", 0, 4), ("interleaved", 2, 4)],
)
def test_installs_come_before_during_or_after_the_exchange(
    client: Client, order: str, before: int, after: int
) -> None:
    world = client.world
    world.set_knobs(install_order=order)
    code = world.install(world.create_agency(locations=4).id)
    assert len(world.outbox) == before
    assert len(world.queue.held()) == 4 - before
    client.exchange(code)
    assert len(world.outbox) == after


def test_events_are_signed_posts_to_the_webhook_url(world: World) -> None:
    app = App()
    world.set_knobs(webhook_url="http://localhost:8000/app/webhook/")
    world.install(world.create_agency(locations=1).id)
    (delivery,) = world.deliver(app)
    assert (delivery.status, delivery.event.state) == (200, "pending")
    assert world.queue.events()[0].state == "done"
    assert app.urls == ["http://localhost:8000/app/webhook/"]
    assert app.headers[0]["Content-Type"] == "application/json"
    assert len(app.headers[0]["X-GHL-Signature"]) == 88
    assert world.deliver(app) == []


def test_without_a_webhook_url_events_wait(world: World) -> None:
    world.set_knobs(webhook_url="")
    world.install(world.create_agency(locations=1).id)
    assert world.deliver(App()) == []
    assert world.queue.seconds_to_next() is None
    assert len(world.outbox) == 1


def test_anything_but_2xx_is_sent_twelve_more_times_with_the_same_payload(world: World) -> None:
    app = App(*[503] * 20)
    world.install(world.create_agency(locations=1).id)
    for _ in range(20):
        world.deliver(app)
        world.advance(7 * 3600)
    assert len(app.bodies) == 13
    assert len(set(app.bodies)) == 1
    assert world.queue.events()[0].state == "given_up"


def test_the_waits_grow_and_can_be_scaled(world: World) -> None:
    world.set_knobs(retry_scale=0.1)
    world.install(world.create_agency(locations=1).id)
    world.deliver(no_answer)
    first = world.queue.seconds_to_next()
    world.advance(10)
    world.deliver(no_answer)
    second = world.queue.seconds_to_next()
    assert first is not None
    assert second is not None
    assert 6 <= first <= 6.6
    assert 12 <= second <= 13.2


def test_no_answer_is_recorded_with_its_reason(world: World) -> None:
    world.install(world.create_agency(locations=1).id)
    (delivery,) = world.deliver(no_answer)
    assert (delivery.status, delivery.error) == (0, "ConnectionRefusedError")


def test_the_other_policy_retries_a_429_six_times_and_nothing_else(world: World) -> None:
    world.set_knobs(retry_policy="429-only")
    world.install(world.create_agency(locations=1).id)
    world.deliver(App(500))
    assert world.queue.events()[0].state == "given_up"
    world.resend(world.queue.events()[0].webhook_id)
    app = App(*[429] * 20)
    for _ in range(10):
        world.deliver(app)
        world.advance(700)
    assert len(app.bodies) == 7


def test_retries_can_be_switched_off(world: World) -> None:
    world.set_knobs(retry_policy="none")
    world.install(world.create_agency(locations=1).id)
    world.deliver(App(429))
    assert world.queue.seconds_to_next() is None


def test_duplicates_and_the_order_are_knobs(world: World) -> None:
    agency = world.create_agency(locations=3)
    world.set_knobs(duplicate_events=1, event_order="reversed")
    world.install(agency.id)
    app = App()
    world.deliver(app)
    ids = [location.id for location in world.locations(agency.id)]
    sent = [next(i for i in ids if i.encode() in body) for body in app.bodies]
    assert sent == [ids[2], ids[2], ids[1], ids[1], ids[0], ids[0]]


def test_shuffling_loses_no_event(world: World) -> None:
    world.set_knobs(event_order="shuffled")
    world.install(world.create_agency(locations=9).id)
    app = App()
    world.deliver(app)
    assert len(set(app.bodies)) == 9


def test_a_resend_keeps_payload_and_time(world: World) -> None:
    world.install(world.create_agency(locations=1).id)
    app = App()
    world.deliver(app)
    world.advance(3 * 86400)
    world.resend(world.queue.events()[0].webhook_id)
    world.deliver(app)
    assert app.bodies[0] == app.bodies[1]
    with pytest.raises(NotFound):
        world.resend("unknown")


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("UPDATE", {"previousVersionId", "planId", "companyName", "locationId"}),
        ("PLAN_CHANGE", {"currentPlanId", "newPlanId", "locationId"}),
        ("APP_PAYMENT_STATUS", {"previousStatus", "newStatus"}),
        ("LocationUpdate", {"id", "companyId", "stripeProductId"}),
        ("ContactCreate", {"locationId", "firstName", "customFields"}),
        ("InboundMessage", {"conversationId", "direction"}),
        ("UserCreate", {"locationId", "email"}),
        ("INSTALL", {"installType"}),
        ("UNINSTALL", {"locationId"}),
        ("SomethingNew", {"locationId"}),
    ],
)
def test_canned_events_of_every_type_can_be_sent(world: World, kind: str, fields: set[str]) -> None:
    world.create_agency(locations=1)
    event = world.send_event(kind)
    assert fields | {"type", "appId", "timestamp", "webhookId"} <= set(event.json())
    assert event.type == kind


def test_without_extras_other_events_are_as_on_their_pages(world: World) -> None:
    agency = world.create_agency(locations=1)
    world.set_knobs(event_extras=False)
    body = world.send_event("LocationUpdate", world.locations(agency.id)[0].id).json()
    assert set(body) == {"type", "id", "companyId", "name", "email", "stripeProductId"}
    agency_update = world.send_event("UPDATE", agency.id).json()
    assert not {"locationId", "companyName", "isWhitelabelCompany"} & set(agency_update)
    assert world.send_event("UserCreate", agency.id).json()["locations"] == []


def test_an_event_can_be_changed_made_up_or_raw(world: World) -> None:
    world.create_agency(locations=1)
    assert world.send_event("INSTALL", body={"appId": "other"}).json()["appId"] == "other"
    assert world.send_event(body={"type": "X"}).body == b'{"type":"X"}'
    assert world.send_event(raw="not json").body == b"not json"


def test_one_event_can_be_signed_wrongly(world: World) -> None:
    world.create_agency(locations=1)
    event = world.send_event("INSTALL", signature="n/a")
    assert world.queue.headers_and_body(event)[0]["X-GHL-Signature"] == "N/A"
    with pytest.raises(BadKnob):
        world.send_event("INSTALL", signature="md5")


def test_an_event_needs_a_location_to_be_about(world: World) -> None:
    with pytest.raises(NotFound):
        world.send_event("ContactCreate")


def test_500_installs_go_out_once_each(client: Client) -> None:
    company_pair(client, locations=500)
    app = App()
    client.world.deliver(app)
    assert len(set(app.bodies)) == 500
