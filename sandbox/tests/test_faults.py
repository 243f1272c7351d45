from __future__ import annotations

import json

import pytest
from requests.exceptions import ConnectionError, ConnectTimeout, ReadTimeout

from sandbox.http import answer
from sandbox.knobs import BadKnob
from sandbox.tests.client import PAIR, Client, company_pair, location_pair
from sandbox.world import World

pytestmark = pytest.mark.one_database


def test_a_lost_answer_has_spent_the_token(client: Client) -> None:
    client.world.set_knobs(refresh_grace_seconds=0)
    token = location_pair(client)["refresh_token"]
    client.world.fault("drop_after_commit", route="/oauth/token")
    with pytest.raises(ConnectionError):
        client.refresh(token)
    assert client.world.uses_of(token) == 1
    assert client.refresh(token).status_code == 400


def test_a_lost_answer_is_saved_by_a_retry_within_the_grace_window(client: Client) -> None:
    token = location_pair(client)["refresh_token"]
    client.world.fault("drop_after_commit")
    with pytest.raises(ConnectionError):
        client.refresh(token)
    client.world.advance(5)
    assert client.refresh(token).status_code == 200
    assert client.world.max_accepted() == 2


def test_a_reset_and_an_unreachable_host_spend_nothing(client: Client) -> None:
    token = location_pair(client)["refresh_token"]
    client.world.fault("reset")
    with pytest.raises(ConnectionError) as reset:
        client.refresh(token)
    assert not isinstance(reset.value, ConnectTimeout)
    client.world.fault("connect_timeout")
    with pytest.raises(ConnectTimeout):
        client.refresh(token)
    assert client.world.uses_of(token) == 0


def test_a_slow_answer_beyond_the_read_timeout_spends_the_token(client: Client) -> None:
    token = location_pair(client)["refresh_token"]
    client.world.fault("slow", seconds=11)
    with pytest.raises(ReadTimeout):
        client.call("POST", "/oauth/token", data=_refresh_body(token), timeout=(3, 10))
    assert client.world.uses_of(token) == 1


def test_a_slow_answer_within_the_timeout_arrives(client: Client) -> None:
    token = location_pair(client)["refresh_token"]
    client.world.fault("slow", seconds=9)
    reply = client.call("POST", "/oauth/token", data=_refresh_body(token), timeout=10)
    assert reply.status_code == 200


@pytest.mark.parametrize("status", ["500", "502", "503", "504"])
def test_a_server_error_spends_nothing_unless_told_otherwise(client: Client, status: str) -> None:
    token = location_pair(client)["refresh_token"]
    client.world.fault(status)
    assert client.refresh(token).status_code == int(status)
    assert client.world.uses_of(token) == 0
    client.world.fault(status, after_commit=True)
    assert client.refresh(token).status_code == int(status)
    assert client.world.uses_of(token) == 1


def test_429_comes_with_or_without_retry_after(client: Client) -> None:
    client.world.fault("429")
    client.world.fault("429", retry_after=12)
    assert "Retry-After" not in client.refresh("x").headers
    assert client.refresh("x").headers["Retry-After"] == "12"


def test_401_refuses_everybody_at_once(client: Client) -> None:
    client.world.fault("401", route="/oauth/token", times=None)
    for _ in range(2):
        reply = client.refresh("x")
        assert reply.json()["error_description"] == "Invalid client credentials!"
    client.world.clear_faults()
    assert client.refresh("x").json()["error_description"] == "Invalid refresh token"


def test_a_proxys_html_page_can_come_with_any_status(client: Client) -> None:
    client.world.fault("html_body")
    client.world.fault("html_body", status=200)
    for status in (502, 200):
        reply = client.refresh("x")
        assert (reply.status_code, reply.headers["Content-Type"]) == (status, "text/html")


def test_a_fault_strikes_its_route_and_its_resource_only(client: Client) -> None:
    mine, other = location_pair(client), location_pair(client)
    client.world.fault("500", route="/oauth/token", resource_id=mine["locationId"], times=2)
    path = f"/locations/{mine['locationId']}"
    assert client.api("GET", path, mine["access_token"]).status_code == 200
    assert client.refresh(other["refresh_token"]).status_code == 200
    statuses = [client.refresh(mine["refresh_token"]).status_code for _ in range(3)]
    assert statuses == [500, 500, 200]


def test_a_fault_for_a_location_strikes_its_minting_and_its_code(client: Client) -> None:
    company = company_pair(client)
    location = client.world.locations(company["companyId"])[0]
    client.world.fault("503", resource_id=location.id, times=2)
    reply = client.mint(company["access_token"], company["companyId"], location.id)
    assert reply.status_code == 503
    code = client.world.install(company["companyId"], [location.id], bulk=False)
    assert client.exchange(code).status_code == 503


def test_a_route_ending_in_a_slash_is_a_prefix(client: Client) -> None:
    pair = location_pair(client)
    client.world.fault("500", route="/locations/")
    assert client.refresh(pair["refresh_token"]).status_code == 200
    reply = client.api("GET", f"/locations/{pair['locationId']}", pair["access_token"])
    assert reply.status_code == 500


def test_faults_leave_the_control_api_alone(client: Client) -> None:
    client.world.fault("500", times=None)
    assert client.call("GET", "/_sandbox/summary").status_code == 200


def test_latency_is_for_all_or_for_one(client: Client) -> None:
    mine, other = location_pair(client), location_pair(client)
    client.world.set_knobs(latency_seconds=1)
    client.world.set_resource_knobs(mine["locationId"], latency_seconds=4)
    assert delay_of_refresh(client.world, mine["refresh_token"]) == 4
    assert delay_of_refresh(client.world, other["refresh_token"]) == 1


@pytest.mark.parametrize("times", [0, -1, "x"])
def test_a_fault_that_strikes_less_than_once_is_refused(client: Client, times: object) -> None:
    with pytest.raises(BadKnob):
        client.world.fault("500", times=times)


def delay_of_refresh(world: World, token: str) -> float:
    headers = {"Content-Type": "application/json"}
    body = json.dumps(_refresh_body(token)).encode()
    return answer(world, "POST", "/oauth/token", headers, body).delay_s


def _refresh_body(token: str) -> dict[str, str]:
    return PAIR | {"grant_type": "refresh_token", "refresh_token": token}
