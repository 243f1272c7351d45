from __future__ import annotations

import pytest

from sandbox.tests.client import Client, company_pair, location_pair, said

pytestmark = pytest.mark.one_database


def test_minting_answers_201_with_a_pair_of_its_own(client: Client) -> None:
    company = company_pair(client)
    location = client.world.locations(company["companyId"])[0]
    answer = client.mint(company["access_token"], company["companyId"], location.id)
    body = answer.json()
    assert answer.status_code == 201
    assert (body["userType"], body["locationId"]) == ("Location", location.id)
    assert body["expires_in"] == 86400
    assert "refreshTokenId" not in body
    assert client.refresh(body["refresh_token"], user_type="Location").status_code == 200


def test_the_status_of_a_mint_is_a_knob(client: Client) -> None:
    client.world.set_knobs(location_token_status=200)
    company = company_pair(client)
    location = client.world.locations(company["companyId"])[0]
    answer = client.mint(company["access_token"], company["companyId"], location.id)
    assert answer.status_code == 200


def test_a_minted_token_gains_the_oauth_scopes(client: Client) -> None:
    company = company_pair(client, scope="oauth.write locations.readonly")
    location = client.world.locations(company["companyId"])[0]
    body = client.mint(company["access_token"], company["companyId"], location.id).json()
    assert body["scope"] == "oauth.write locations.readonly oauth.readonly"


@pytest.mark.parametrize("revokes", [False, True])
def test_a_second_mint_keeps_or_ends_the_first_pair(client: Client, revokes: bool) -> None:
    client.world.set_knobs(mint_revokes_previous=revokes)
    company = company_pair(client)
    place = (company["companyId"], client.world.locations(company["companyId"])[0].id)
    first = client.mint(company["access_token"], *place).json()
    client.mint(company["access_token"], *place)
    assert client.refresh(first["refresh_token"]).ok is not revokes


def test_minting_needs_a_company_token(client: Client) -> None:
    pair = location_pair(client)
    answer = client.mint(pair["access_token"], pair["companyId"], pair["locationId"])
    message = "This token's user type is not yet supported!"
    assert said(answer) == (401, {"statusCode": 401, "message": message})


def test_minting_needs_the_app_on_that_location(client: Client) -> None:
    company = company_pair(client, locations=1)
    later = client.world.create_location(company["companyId"], "Later")
    answer = client.mint(company["access_token"], company["companyId"], later.id)
    assert answer.status_code == 400


def test_minting_for_another_agencys_location_is_forbidden(client: Client) -> None:
    company, other = company_pair(client), location_pair(client)
    answer = client.mint(company["access_token"], company["companyId"], other["locationId"])
    message = "The token does not have access to this location."
    assert said(answer) == (403, {"statusCode": 403, "message": message})


def test_minting_for_a_paused_location_is_refused(client: Client) -> None:
    company = company_pair(client)
    location = client.world.locations(company["companyId"])[0]
    client.world.pause(location.id)
    answer = client.mint(company["access_token"], company["companyId"], location.id)
    assert said(answer)[1]["message"] == "Location is not active"


def test_missing_ids_get_422_with_a_message_each(client: Client) -> None:
    company = company_pair(client)
    status, body = said(client.api("POST", "/oauth/locationToken", company["access_token"]))
    assert status == 422
    assert body["message"] == ["companyId should not be empty", "locationId should not be empty"]


def test_the_v3_path_mints_with_v3_only(client: Client) -> None:
    company = company_pair(client)
    location = client.world.locations(company["companyId"])[0]
    ids = {"companyId": company["companyId"], "locationId": location.id}
    call = ("POST", "/oauth/location-token", company["access_token"])
    assert client.api(*call, data=ids).status_code == 404
    assert client.api(*call, version="v3", json=ids).status_code == 201
