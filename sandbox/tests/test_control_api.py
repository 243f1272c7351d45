from __future__ import annotations

from typing import Any

import pytest

from sandbox.tests.client import APP_ID, Client, company_pair, location_pair
from sandbox.world import DEMO_CLIENT_ID

pytestmark = pytest.mark.one_database


def post(client: Client, call: str, /, **body: Any) -> dict[str, Any]:
    answer = client.call("POST", f"/_sandbox/{call}", json=body)
    assert answer.status_code == 200, answer.text
    parsed: dict[str, Any] = answer.json()
    return parsed


def get(client: Client, name: str) -> dict[str, Any]:
    parsed: dict[str, Any] = client.call("GET", f"/_sandbox/{name}").json()
    return parsed


def test_env_has_what_an_app_needs(client: Client) -> None:
    env = client.call("GET", "/_sandbox/env", headers={"Host": "127.0.0.1:8801"}).json()
    assert env["GHL_CLIENT_ID"] == DEMO_CLIENT_ID
    assert env["GHL_APP_ID"] == APP_ID
    assert env["GHL_API_BASE_URL"] == env["GHL_MARKETPLACE_URL"] == "http://127.0.0.1:8801"
    assert env["GHL_WEBHOOK_PUBLIC_KEYS"].startswith("MCowBQYDK2VwAyEA")
    assert env["GHL_WEBHOOK_RSA_PUBLIC_KEYS"].startswith("MIICIjAN")
    assert env["GHL_CLIENT_SECRET"]


def test_agencies_locations_and_installs_can_be_made(client: Client) -> None:
    agency = post(client, "agencies", name="Acme", locations=["One", "Two"])
    post(client, "locations", company_id=agency["id"], name="Three")
    ids = [location["id"] for location in agency["locations"]]
    done = post(
        client,
        "install",
        company_id=agency["id"],
        location_ids=ids,
        bulk=True,
        redirect_uri="http://localhost/cb?x=1",
        state="abc",
    )
    assert done["redirect_url"] == f"http://localhost/cb?x=1&code={done['code']}&state=abc"
    assert client.exchange(done["code"]).status_code == 200
    (listed,) = get(client, "agencies")["agencies"]
    assert [row["name"] for row in listed["locations"]] == ["One", "Two", "Three"]
    assert [row["installed"] for row in listed["locations"]] == [True, True, False]
    post(client, "delete-location", location_id=ids[0])
    assert len(get(client, "agencies")["agencies"][0]["locations"]) == 2


def test_pause_resume_refuse_and_uninstall_take_an_id(client: Client) -> None:
    pair = location_pair(client)
    location = {"location_id": pair["locationId"]}
    post(client, "pause", **location)
    assert client.refresh(pair["refresh_token"]).status_code == 400
    post(client, "resume", **location)
    pair = client.refresh(pair["refresh_token"]).json()
    post(client, "refuse", **location)
    assert client.refresh(pair["refresh_token"]).status_code == 401
    post(client, "uninstall", **location)
    again = client.call("POST", "/_sandbox/uninstall", json=location)
    assert (again.status_code, again.json()["error"]) == (404, "not_found")


def test_advance_moves_the_clock_forward_only(client: Client) -> None:
    assert post(client, "advance", seconds=90)["now"] == "2026-11-24T12:01:30.000Z"
    assert client.call("POST", "/_sandbox/advance", json={"seconds": -1}).status_code == 400
    assert client.call("POST", "/_sandbox/advance", json={}).status_code == 400


def test_knobs_can_be_read_and_turned(client: Client) -> None:
    pair = location_pair(client)
    post(client, "knobs", refresh_grace_seconds=0)
    post(client, "knobs", resource_id=pair["locationId"], latency_seconds=2)
    knobs = get(client, "knobs")
    assert knobs["knobs"]["refresh_grace_seconds"] == 0
    assert knobs["resource_knobs"] == {pair["locationId"]: {"latency_seconds": 2.0}}
    assert {row["name"] for row in knobs["about"]} == set(knobs["knobs"])


@pytest.mark.parametrize(
    ("name", "body", "wrong"),
    [
        ("knobs", {"no_such": 1}, "no_such"),
        ("knobs", {"signatures": "md5"}, "signatures"),
        ("faults", {"fault": "fire"}, "fault"),
        ("faults", {"fault": "500", "times": "x"}, "times"),
        ("faults", {"fault": "500", "often": 2}, "often"),
        ("install", {"company": "x"}, "company"),
        ("install", {"location_ids": "x"}, "location_ids"),
        ("agencies", {"locations": "many"}, "locations"),
        ("events", {"type": "INSTALL", "body": [1]}, "body"),
        ("clients", {"client_id": "x"}, "client_secret"),
    ],
)
def test_a_wrong_name_or_value_gets_400_and_is_named(
    client: Client, name: str, body: dict[str, Any], wrong: str
) -> None:
    answer = client.call("POST", f"/_sandbox/{name}", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"] == "bad_value"
    assert answer.json()["name"] == wrong


def test_a_body_that_is_no_object_is_refused(client: Client) -> None:
    for body in ("[1]", "{"):
        headers = {"Content-Type": "application/json"}
        answer = client.call("POST", "/_sandbox/knobs", data=body, headers=headers)
        assert (answer.status_code, answer.json()["name"]) == (400, "body")


def test_an_event_can_be_sent_and_sent_again(client: Client) -> None:
    pair = location_pair(client)
    sent = post(
        client,
        "events",
        type="ContactCreate",
        location_id=pair["locationId"],
        body={"email": "a@b.example"},
        signature="none",
    )
    assert '"email":"a@b.example"' in sent["body"]
    client.world.deliver(lambda url, body, headers: 200)
    assert post(client, "resend", webhookId=sent["webhook_id"])["state"] == "pending"
    listed = get(client, "events")
    assert listed["deliveries"][0]["status"] == 200
    assert listed["events"][0]["webhook_id"] == sent["webhook_id"]


def test_tokens_show_fingerprints_and_counts_only(client: Client) -> None:
    pair = location_pair(client)
    client.refresh(pair["refresh_token"])
    answer = client.call("GET", "/_sandbox/tokens")
    assert pair["refresh_token"] not in answer.text
    used = answer.json()["tokens"][0]
    assert (used["uses"], used["accepted"], used["accepted_in_grace"]) == (1, 1, 0)
    assert used["resource_id"] == pair["locationId"]


def test_calls_and_summary_tell_what_happened(client: Client) -> None:
    pair = location_pair(client)
    client.refresh("made-up")
    call = get(client, "calls")["calls"][0]
    assert (call["status"], call["grant_type"]) == (401, "refresh_token")
    assert call["message"] == "Invalid refresh token"
    client.refresh(pair["refresh_token"])
    client.api("GET", f"/locations/{pair['locationId']}", pair["access_token"])
    summary = get(client, "summary")
    assert summary["calls"] == {
        "/oauth/token 200": 2,
        "/oauth/token 401": 1,
        "/locations/{location_id} 200": 1,
    }
    assert (summary["installs"], summary["max_uses"]) == (1, 1)


def test_a_client_secret_can_be_changed(client: Client) -> None:
    token = location_pair(client)["refresh_token"]
    post(client, "clients", client_id=DEMO_CLIENT_ID, client_secret="new")
    assert client.refresh(token).status_code == 401
    assert client.refresh(token, client_secret="new").status_code == 200
    assert get(client, "env")["GHL_CLIENT_SECRET"] == "new"


def test_retiring_a_version_uninstalls_whatever_is_on_it(client: Client) -> None:
    company_pair(client, locations=2, version_id="old")
    location_pair(client, version_id="new")
    client.world.deliver(lambda url, body, headers: 200)
    assert post(client, "retire", version_id="old") == {"removed": 3}
    assert [event.type for event in client.world.outbox] == ["UNINSTALL"]
    assert [install.version_id for install in client.world.people.installs()] == ["new"]


def test_reset_forgets_all_but_keys_clients_and_addresses(client: Client) -> None:
    company_pair(client)
    client.world.set_knobs(webhook_url="http://localhost:1/hook", refresh_grace_seconds=1)
    client.world.fault("500", times=None)
    key = get(client, "env")["GHL_WEBHOOK_PUBLIC_KEYS"]
    assert post(client, "reset")["agencies"] == 0
    assert get(client, "env")["GHL_WEBHOOK_PUBLIC_KEYS"] == key
    assert get(client, "knobs")["knobs"]["webhook_url"] == "http://localhost:1/hook"
    assert get(client, "knobs")["knobs"]["refresh_grace_seconds"] == 30
    assert get(client, "faults") == {"faults": []}


def test_the_wrong_method_is_refused(client: Client) -> None:
    assert client.call("POST", "/_sandbox/summary").status_code == 405
    assert client.call("GET", "/_sandbox/pause").status_code == 405


def test_the_root_leads_to_the_control_page(client: Client) -> None:
    assert client.call("GET", "/").headers["Location"] == "/_sandbox/"


def test_the_control_page_shows_agencies_calls_events_and_knobs(client: Client) -> None:
    pair = location_pair(client)
    client.world.fault("500", resource_id="x")
    client.world.set_resource_knobs(pair["locationId"], latency_seconds=2)
    client.refresh("made-up")
    client.world.deliver(lambda url, body, headers: 500)
    page = client.call("GET", "/_sandbox/").text
    for text in (pair["locationId"], "Invalid refresh token", "INSTALL", "refresh_grace_seconds"):
        assert text in page


def test_a_form_of_the_control_page_comes_back_to_it(client: Client) -> None:
    pair = location_pair(client)
    answer = client.call("POST", "/_sandbox/pause", data={"location_id": pair["locationId"]})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/_sandbox/")
    form = {"name": "", "locations": "2"}
    client.call("POST", "/_sandbox/agencies", data=form)
    assert len(client.world.locations(client.world.companies()[-1].id)) == 2


def test_reinstalling_by_the_page_leads_to_the_apps_callback(client: Client) -> None:
    pair = location_pair(client)
    form = {"company_id": pair["companyId"], "location_ids": pair["locationId"], "bulk": "false"}
    answer = client.call("POST", "/_sandbox/install", data=form)
    url = answer.headers["Location"]
    assert url.startswith("http://127.0.0.1:8000/app/callback/?code=")
    code = url.rpartition("=")[2]
    assert client.exchange(code).json()["locationId"] == pair["locationId"]


def test_all_knobs_of_the_page_can_be_sent_back_unchanged(client: Client) -> None:
    before = client.world.knobs
    rows = get(client, "knobs")["about"]
    form = {row["name"]: "" if row["value"] is None else str(row["value"]) for row in rows}
    assert client.call("POST", "/_sandbox/knobs", data=form).status_code == 303
    assert client.world.knobs == before


def test_an_unknown_path_is_not_found(client: Client) -> None:
    assert client.call("GET", "/_sandbox/nothing").status_code == 404
