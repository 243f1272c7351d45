from __future__ import annotations

import base64
import json

import pytest

from sandbox.tests.client import PAIR, Client, company_pair, location_pair, said
from sandbox.world import DEMO_CLIENT_ID, DEMO_CLIENT_SECRET, World

pytestmark = pytest.mark.one_database

INVALID_GRANT = (400, {"statusCode": 400, "message": "Invalid grant: refresh token is invalid"})
INVALID_CLIENT = (
    401,
    {"error": "UnAuthorized!", "error_description": "Invalid client credentials!"},
)
CODE_NOT_FOUND = (
    401,
    {"error": "UnAuthorized!", "error_description": "Authorization code not found"},
)
NOT_ACTIVE = (400, {"statusCode": 400, "message": "Location is not active"})


def test_a_location_user_gets_a_location_token(client: Client) -> None:
    pair = location_pair(client)
    assert pair["userType"] == "Location"
    assert pair["expires_in"] == 86399
    assert pair["isBulkInstallation"] is False
    assert list(pair)[:6] == [
        "access_token", "token_type", "expires_in", "refresh_token", "scope", "refreshTokenId",
    ]  # fmt: skip
    assert {"companyId", "locationId", "userId"} <= set(pair)


def test_a_bulk_consent_gives_a_company_token_without_location_id(client: Client) -> None:
    pair = company_pair(client)
    assert pair["userType"] == "Company"
    assert pair["isBulkInstallation"] is True
    assert "locationId" not in pair


def test_one_location_chosen_by_the_agency_still_gives_a_company_token(client: Client) -> None:
    agency = client.world.create_agency(locations=2)
    code = client.world.install(agency.id, [client.world.locations(agency.id)[0].id])
    pair = client.exchange(code, user_type="Location").json()
    assert (pair["userType"], "locationId" in pair) == ("Company", False)


def test_an_agency_app_gets_a_company_token_that_is_not_bulk(client: Client) -> None:
    pair = company_pair(client, bulk=False)
    assert (pair["userType"], pair["isBulkInstallation"]) == ("Company", False)


def test_future_flags_come_only_when_the_knob_says_so(client: Client) -> None:
    assert "approvedLocations" not in company_pair(client)
    client.world.set_knobs(omit_future_flags=False)
    pair = company_pair(client, locations=3, future=True)
    assert len(pair["approvedLocations"]) == 3
    assert pair["installToFutureLocations"] is True
    assert pair["approveAllLocations"] is True


def test_the_access_token_carries_highlevels_claims(client: Client) -> None:
    pair = location_pair(client)
    header, payload, _ = pair["access_token"].split(".")
    assert _json(header)["alg"] == "RS256"
    claims = _json(payload)
    assert claims["authClass"] == "Location"
    assert claims["authClassId"] == claims["primaryAuthClassId"] == pair["locationId"]
    assert (claims["source"], claims["sourceId"]) == ("INTEGRATION", DEMO_CLIENT_ID)
    assert claims["channel"] == "OAUTH"
    assert claims["oauthMeta"]["scopes"] == pair["scope"].split()


def test_each_renewal_gives_a_new_pair(client: Client) -> None:
    first = location_pair(client)
    second = client.refresh(first["refresh_token"]).json()
    assert second["access_token"] != first["access_token"]
    assert second["refresh_token"] != first["refresh_token"]
    assert second["locationId"] == first["locationId"]


@pytest.mark.parametrize("grace", [0, 30])
def test_a_spent_refresh_token_is_refused_after_the_grace_window(
    client: Client, grace: int
) -> None:
    client.world.set_knobs(refresh_grace_seconds=grace)
    pair = location_pair(client)
    client.refresh(pair["refresh_token"])
    client.world.advance(grace)
    assert said(client.refresh(pair["refresh_token"])) == INVALID_GRANT


def test_within_30_seconds_a_spent_token_gets_the_same_refresh_token(client: Client) -> None:
    pair = location_pair(client)
    first = client.refresh(pair["refresh_token"]).json()
    client.world.advance(29.9)
    again = client.refresh(pair["refresh_token"]).json()
    assert again["refresh_token"] == first["refresh_token"]
    assert again["access_token"] != first["access_token"]


def test_the_grace_answer_can_carry_the_same_access_token(client: Client) -> None:
    client.world.set_knobs(grace_same_access_token=True)
    pair = location_pair(client)
    first = client.refresh(pair["refresh_token"]).json()
    client.world.advance(10)
    again = client.refresh(pair["refresh_token"]).json()
    assert again["access_token"] == first["access_token"]
    assert again["expires_in"] == first["expires_in"] - 10


def test_it_counts_every_use_of_a_refresh_token(client: Client) -> None:
    token = location_pair(client)["refresh_token"]
    assert (client.world.uses_of(token), client.world.max_uses()) == (0, 0)
    client.refresh(token)
    client.refresh(token)
    client.world.advance(31)
    client.refresh(token)
    use = client.world.token_uses()[0]
    assert (use.uses, use.accepted, use.accepted_in_grace, use.spent) == (3, 2, 1, True)
    assert (client.world.uses_of(token), client.world.max_uses()) == (3, 3)
    assert client.world.max_accepted() == 2


def test_an_unused_refresh_token_ends_after_a_year(client: Client) -> None:
    pair = location_pair(client)
    client.world.advance(365 * 86400)
    assert said(client.refresh(pair["refresh_token"])) == INVALID_GRANT


def test_a_paused_location_keeps_its_refresh_token(client: Client) -> None:
    pair = location_pair(client)
    client.world.pause(pair["locationId"])
    assert said(client.refresh(pair["refresh_token"])) == NOT_ACTIVE
    client.world.resume(pair["locationId"])
    assert client.refresh(pair["refresh_token"]).status_code == 200


def test_a_paused_agency_pauses_its_locations_too(client: Client) -> None:
    pair = location_pair(client)
    client.world.pause(pair["companyId"])
    assert said(client.refresh(pair["refresh_token"])) == NOT_ACTIVE


def test_a_made_up_refresh_token_tells_a_good_secret_from_a_bad_one(client: Client) -> None:
    good = said(client.refresh("made-up"))
    assert good[1]["error_description"] == "Invalid refresh token"
    assert said(client.refresh("made-up", client_secret="wrong")) == INVALID_CLIENT
    client.world.set_knobs(unknown_refresh_token="400")
    assert said(client.refresh("made-up")) == INVALID_GRANT


def test_a_wrong_secret_does_not_spend_the_token(client: Client) -> None:
    token = location_pair(client)["refresh_token"]
    assert said(client.refresh(token, client_secret="wrong")) == INVALID_CLIENT
    assert client.world.uses_of(token) == 0
    assert client.refresh(token).status_code == 200


def test_another_key_pair_of_the_app_is_refused(client: Client) -> None:
    client.world.put_client("5eed5eed5eed5eed5eed5eed-second00", "s2")
    token = location_pair(client)["refresh_token"]
    other = {"client_id": "5eed5eed5eed5eed5eed5eed-second00", "client_secret": "s2"}
    assert said(client.refresh(token, **other)) == INVALID_CLIENT
    client.world.set_knobs(wrong_client_pair="400")
    assert said(client.refresh(token, **other)) == INVALID_GRANT
    client.world.set_knobs(wrong_client_pair="accept")
    assert client.refresh(token, **other).status_code == 200


def test_a_wrong_user_type_is_refused_and_the_right_one_accepted(client: Client) -> None:
    token = location_pair(client)["refresh_token"]
    assert said(client.refresh(token, user_type="Company")) == INVALID_CLIENT
    assert client.refresh(token, user_type="Location").status_code == 200


@pytest.mark.parametrize(("knob", "answer"), [("401", INVALID_CLIENT), ("400", INVALID_GRANT)])
def test_after_an_uninstall_renewal_is_refused(
    client: Client, knob: str, answer: tuple[int, dict[str, object]]
) -> None:
    client.world.set_knobs(revoked_error=knob)
    pair = location_pair(client)
    client.world.uninstall(pair["locationId"])
    assert said(client.refresh(pair["refresh_token"])) == answer


def test_a_refused_token_is_refused_until_a_reinstall(client: Client) -> None:
    pair = location_pair(client)
    client.world.refuse(pair["locationId"])
    assert said(client.refresh(pair["refresh_token"])) == INVALID_CLIENT
    code = client.world.install(pair["companyId"], [pair["locationId"]], bulk=False)
    again = client.exchange(code).json()
    assert client.refresh(again["refresh_token"]).status_code == 200


@pytest.mark.parametrize("revokes", [False, True])
def test_a_reinstall_keeps_or_ends_the_former_pair(client: Client, revokes: bool) -> None:
    client.world.set_knobs(reinstall_revokes_previous=revokes)
    pair = location_pair(client)
    code = client.world.install(pair["companyId"], [pair["locationId"]], bulk=False)
    client.exchange(code)
    assert client.refresh(pair["refresh_token"]).ok is not revokes


def test_a_code_works_once(client: Client) -> None:
    agency = client.world.create_agency(locations=1)
    code = client.world.install(agency.id)
    assert len(code) == 40
    assert client.exchange(code).status_code == 200
    assert said(client.exchange(code)) == CODE_NOT_FOUND


def test_a_code_ends_after_ten_minutes(client: Client) -> None:
    code = client.world.install(client.world.create_agency(locations=1).id)
    client.world.advance(600)
    assert said(client.exchange(code)) == CODE_NOT_FOUND


def test_the_code_is_checked_before_the_client(client: Client) -> None:
    assert said(client.exchange("bad", client_secret="wrong")) == CODE_NOT_FOUND
    code = client.world.install(client.world.create_agency(locations=1).id)
    assert said(client.exchange(code, client_secret="wrong")) == INVALID_CLIENT
    assert client.exchange(code).status_code == 200


def test_a_different_redirect_uri_is_refused_but_none_is_fine(client: Client) -> None:
    code = client.world.install(
        client.world.create_agency(locations=1).id, redirect_uri="http://localhost/app/callback/"
    )
    assert client.exchange(code, redirect_uri="http://localhost/other/").status_code == 400
    assert client.exchange(code).status_code == 200


@pytest.mark.parametrize(
    ("missing", "named"),
    [
        ("client_id", "clientId"),
        ("client_secret", "clientSecret"),
        ("grant_type", "grantType"),
        ("refresh_token", "refreshToken"),
    ],
)
def test_a_missing_parameter_is_named(client: Client, missing: str, named: str) -> None:
    params = PAIR | {"grant_type": "refresh_token", "refresh_token": "x"}
    del params[missing]
    body = {"statusCode": 400, "message": f"Missing parameter: {named}"}
    assert said(client.call("POST", "/oauth/token", data=params)) == (400, body)


def test_an_unknown_grant_type_is_refused(client: Client) -> None:
    body = {"statusCode": 400, "message": "Invalid parameter: grantType"}
    assert said(client.token(grant_type="client_credentials")) == (400, body)


def test_a_body_that_is_not_json_gets_422_with_an_array(client: Client) -> None:
    answer = client.call(
        "POST", "/oauth/token", data="{", headers={"Content-Type": "application/json"}
    )
    body = {
        "statusCode": 422,
        "message": ["Unprocessable Entity"],
        "error": "Unprocessable Entity",
    }
    assert said(answer) == (422, body)


def test_json_and_camel_case_are_understood_and_answered_in_snake_case(client: Client) -> None:
    answer = client.call("POST", "/oauth/token", json=_camel_refresh(client))
    assert answer.status_code == 200
    assert "access_token" in answer.json()


@pytest.mark.parametrize(
    ("casing", "from_snake", "from_camel"),
    [
        ("snake", "access_token", "access_token"),
        ("camel-v3", "accessToken", "accessToken"),
        ("mirror", "access_token", "accessToken"),
    ],
)
def test_the_casing_of_the_answer_follows_the_knob(
    client: Client, casing: str, from_snake: str, from_camel: str
) -> None:
    token, camel = location_pair(client)["refresh_token"], _camel_refresh(client)
    client.world.set_knobs(token_casing=casing)
    assert from_snake in client.refresh(token).json()
    assert from_camel in client.call("POST", "/oauth/token", json=camel).json()


def test_the_life_of_an_access_token_is_a_knob_for_all_or_for_one(client: Client) -> None:
    client.world.set_knobs(access_token_life_seconds=300)
    pair = location_pair(client)
    assert pair["expires_in"] == 299
    client.world.set_resource_knobs(pair["locationId"], access_token_life_seconds=60)
    assert client.refresh(pair["refresh_token"]).json()["expires_in"] == 59
    assert location_pair(client)["expires_in"] == 299


def test_a_get_of_the_token_endpoint_is_not_found(client: Client) -> None:
    body = {"statusCode": 404, "message": "Cannot GET /oauth/token", "error": "Not Found"}
    assert said(client.call("GET", "/oauth/token")) == (404, body)


def test_threads_that_race_with_one_token_share_one_successor(world: World) -> None:
    from concurrent.futures import ThreadPoolExecutor

    client = Client(world)
    token = location_pair(client)["refresh_token"]
    world.set_knobs(refresh_grace_seconds=0)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: Client(world).refresh(token).status_code, range(16)))
    assert sorted(answers) == [200] + [400] * 15
    assert (world.uses_of(token), world.max_accepted()) == (16, 1)


def _camel_refresh(client: Client) -> dict[str, str]:
    return {
        "clientId": DEMO_CLIENT_ID,
        "clientSecret": DEMO_CLIENT_SECRET,
        "grantType": "refresh_token",
        "refreshToken": location_pair(client)["refresh_token"],
    }


def _json(segment: str) -> dict[str, object]:
    decoded = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    parsed: dict[str, object] = json.loads(decoded)
    return parsed
