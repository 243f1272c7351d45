from __future__ import annotations

import pytest
from requests import Response

from sandbox.tests.client import Client, company_pair, location_pair, said

pytestmark = pytest.mark.one_database

USERS_SCOPE = "users.readonly locations.readonly companies.readonly oauth.readonly"


def _refused(status: int, message: str) -> tuple[int, dict[str, object]]:
    return status, {"statusCode": status, "message": message}


def test_the_version_header_is_needed(client: Client) -> None:
    pair = location_pair(client)
    path = f"/locations/{pair['locationId']}"
    answer = client.call("GET", path, headers={"Authorization": f"Bearer {pair['access_token']}"})
    assert said(answer) == _refused(401, "version header was not found.")


def test_an_unknown_version_is_refused_in_either_observed_way(client: Client) -> None:
    pair = location_pair(client)
    call = ("GET", f"/locations/{pair['locationId']}", pair["access_token"])
    message = "Invalid API version segment 'x' at position 0"
    assert said(client.api(*call, version="x")) == _refused(400, message)
    client.world.set_knobs(bad_version_error="401")
    assert said(client.api(*call, version="x")) == _refused(401, "version header is invalid")
    client.world.set_knobs(version_gate=False)
    assert client.api(*call, version="x").status_code == 200


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", '{"a":' * 20_000),
        ("application/json", "[1]"),
        ("multipart/form-data; boundary=", "x"),
    ],
)
def test_a_body_that_cannot_be_read_is_refused_and_ends_no_connection(
    client: Client, kind: str, body: str
) -> None:
    answer = client.call("POST", "/oauth/token", data=body, headers={"Content-Type": kind})
    assert answer.status_code == 422


def test_an_expired_access_token_is_refused_with_the_documented_text(client: Client) -> None:
    pair = location_pair(client)
    client.world.advance(86401)
    answer = client.api("GET", f"/locations/{pair['locationId']}", pair["access_token"])
    body = {
        "statusCode": 401,
        "message": "Invalid token: access token is invalid",
        "error": "Unauthorized",
    }
    assert said(answer) == (401, body)
    client.world.set_knobs(expired_access_error="invalid_jwt")
    answer = client.api("GET", f"/locations/{pair['locationId']}", pair["access_token"])
    assert said(answer) == _refused(401, "Invalid JWT")


def test_a_token_that_is_no_jwt_is_called_so(client: Client) -> None:
    assert said(client.api("GET", "/locations/x", "nonsense")) == _refused(401, "Invalid JWT")


def test_the_former_access_token_lives_on_unless_the_knob_ends_it(client: Client) -> None:
    pair = location_pair(client)
    call = ("GET", f"/locations/{pair['locationId']}", pair["access_token"])
    again = client.refresh(pair["refresh_token"]).json()
    assert client.api(*call).status_code == 200
    client.world.set_knobs(old_access_token_lives=False)
    client.refresh(again["refresh_token"])
    assert client.api(*call[:2], again["access_token"]).status_code == 401


def test_a_missing_scope_is_told(client: Client) -> None:
    pair = location_pair(client, scope="oauth.readonly")
    answer = client.api("GET", f"/locations/{pair['locationId']}", pair["access_token"])
    assert said(answer) == _refused(401, "The token is not authorized for this scope.")


def test_a_company_token_on_a_locations_scope_is_the_wrong_class(client: Client) -> None:
    pair = company_pair(client, scope=USERS_SCOPE)
    answer = client.api("GET", "/users/?locationId=x", pair["access_token"])
    message = (
        "This authClass type is not allowed to access this scope. "
        "Please verify your IAM configuration if this is not the case."
    )
    assert said(answer) == _refused(401, message)


def test_a_location_token_on_an_agencys_endpoint_is_the_wrong_class(client: Client) -> None:
    pair = location_pair(client, scope=USERS_SCOPE)
    answer = client.api("GET", f"/companies/{pair['companyId']}", pair["access_token"])
    assert said(answer) == _refused(401, "This token's user type is not yet supported!")


def test_the_right_class_on_another_location_is_forbidden(client: Client) -> None:
    mine, other = location_pair(client), location_pair(client)
    answer = client.api("GET", f"/locations/{other['locationId']}", mine["access_token"])
    assert said(answer) == _refused(403, "The token does not have access to this location.")


def test_location_company_and_users_can_be_read(client: Client) -> None:
    pair = location_pair(client, scope=USERS_SCOPE)
    token, location_id = pair["access_token"], pair["locationId"]
    location = client.api("GET", f"/locations/{location_id}", token).json()["location"]
    assert (location["id"], location["companyId"]) == (location_id, pair["companyId"])
    users = client.api("GET", f"/users/?locationId={location_id}", token).json()["users"]
    assert [user["id"] for user in users] == [pair["userId"]]
    assert client.api("GET", f"/users/{pair['userId']}", token).json()["id"] == pair["userId"]
    search = {"companyId": pair["companyId"], "query": "owner"}
    found = client.api("GET", "/users/search", token, params=search).json()
    assert found["count"] == 1
    agency = company_pair(client, scope=USERS_SCOPE)
    path = f"/companies/{agency['companyId']}"
    company = client.api("GET", path, agency["access_token"]).json()["company"]
    assert company["id"] == agency["companyId"]


def test_answers_carry_the_rate_limit_headers(client: Client) -> None:
    pair = location_pair(client)
    answer = client.api("GET", f"/locations/{pair['locationId']}", pair["access_token"])
    assert answer.headers["X-RateLimit-Limit-Daily"] == "200000"
    assert answer.headers["X-RateLimit-Daily-Remaining"] == "199999"
    assert answer.headers["X-RateLimit-Interval-Milliseconds"] == "10000"
    assert answer.headers["X-RateLimit-Max"] == "100"
    assert answer.headers["X-RateLimit-Remaining"] == "99"
    assert answer.headers["X-RateLimit-Daily-Reset"] == str(12 * 3600 * 1000)


def test_the_burst_limit_is_per_resource_and_ends_with_the_window(client: Client) -> None:
    client.world.set_knobs(burst_limit=2, retry_after_seconds=7)
    pair, other = location_pair(client), location_pair(client)
    statuses = [_get_location(client, pair).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
    assert _get_location(client, pair).headers["Retry-After"] == "7"
    assert _get_location(client, other).status_code == 200
    client.world.advance(10)
    assert _get_location(client, pair).status_code == 200


def test_the_daily_limit_ends_at_midnight(client: Client) -> None:
    client.world.set_knobs(daily_limit=1)
    pair = location_pair(client)
    client.world.set_knobs(access_token_life_seconds=10**6)
    assert _get_location(client, pair).status_code == 200
    refused = _get_location(client, pair)
    assert (refused.status_code, "Retry-After" in refused.headers) == (429, False)
    assert refused.headers["X-RateLimit-Daily-Remaining"] == "0"
    client.world.advance(12 * 3600)
    assert _get_location(client, pair).status_code == 200


def test_the_token_endpoint_counts_towards_the_limits_only_by_knob(client: Client) -> None:
    client.world.set_knobs(burst_limit=0)
    pair = location_pair(client)
    client.world.set_knobs(limit_token_endpoint=True)
    assert client.refresh(pair["refresh_token"]).status_code == 429
    assert client.world.uses_of(pair["refresh_token"]) == 0


def _get_location(client: Client, pair: dict[str, str]) -> Response:
    return client.api("GET", f"/locations/{pair['locationId']}", pair["access_token"])
