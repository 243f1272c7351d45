from __future__ import annotations

import pytest

from sandbox.tests.client import APP_ID, PAIR, Client, company_pair, location_pair, said

pytestmark = pytest.mark.one_database

INSTALLATIONS = f"/marketplace/app/{APP_ID}/installations"


def test_installer_details_answer_who_am_i_for_both_classes(client: Client) -> None:
    for pair in (company_pair(client), location_pair(client)):
        answer = client.api("GET", INSTALLATIONS, pair["access_token"])
        details = answer.json()["installationDetails"]
        assert details["companyId"] == pair["companyId"]
        assert details["locationId"] == pair.get("locationId")
        assert details["userId"] == pair["userId"]


def test_an_agency_uninstall_ends_every_location_and_sends_one_event(client: Client) -> None:
    company = company_pair(client)
    token, company_id = company["access_token"], company["companyId"]
    location = client.world.locations(company_id)[0]
    minted = client.mint(token, company_id, location.id).json()
    client.world.deliver(lambda url, body, headers: 200)
    answer = client.api(
        "DELETE", INSTALLATIONS, token, json={"companyId": company_id, "reason": "test"}
    )
    assert said(answer) == (200, {"success": True})
    assert client.refresh(minted["refresh_token"]).status_code == 401
    assert client.installed(token, company_id).status_code == 401
    (event,) = client.world.outbox
    assert (event.type, "locationId" in event.json()) == ("UNINSTALL", False)


def test_a_location_token_uninstalls_its_own_location_only(client: Client) -> None:
    mine, other = location_pair(client), location_pair(client)
    body = {"locationId": other["locationId"]}
    answer = client.api("DELETE", INSTALLATIONS, mine["access_token"], json=body)
    assert answer.status_code == 403
    assert client.api("DELETE", INSTALLATIONS, mine["access_token"], json={}).status_code == 422
    body = {"locationId": mine["locationId"]}
    assert client.api("DELETE", INSTALLATIONS, mine["access_token"], json=body).ok
    assert client.refresh(mine["refresh_token"]).status_code == 401


def test_reconnect_is_removed(client: Client) -> None:
    answer = client.call("POST", "/oauth/reconnect", json={})
    body = {"statusCode": 400, "message": "API endpoint has been removed", "error": "Bad Request"}
    assert said(answer) == (400, body)


def test_reconnect_revived_gives_a_code_for_an_installed_location(client: Client) -> None:
    client.world.set_knobs(reconnect="works")
    pair = location_pair(client)
    client.world.refuse(pair["locationId"])
    keys = {"clientKey": PAIR["client_id"], "clientSecret": PAIR["client_secret"]}
    body = keys | {"locationId": pair["locationId"]}
    answer = client.call("POST", "/oauth/reconnect", json=body).json()
    assert answer["expiresAt"] == "2026-11-24T12:10:00.000Z"
    healed = client.exchange(answer["authorizationCode"]).json()
    assert healed["locationId"] == pair["locationId"]
    client.world.uninstall(pair["locationId"])
    assert client.call("POST", "/oauth/reconnect", json=body).status_code == 400
