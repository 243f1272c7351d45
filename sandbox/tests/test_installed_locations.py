from __future__ import annotations

import pytest

from sandbox.tests.client import APP_ID, Client, company_pair, said

pytestmark = pytest.mark.one_database


def test_it_pages_by_skip_and_limit(client: Client) -> None:
    company = company_pair(client, locations=25)
    token, company_id = company["access_token"], company["companyId"]
    first = client.installed(token, company_id).json()
    rest = client.installed(token, company_id, skip=20, limit=20).json()
    assert (len(first["locations"]), len(rest["locations"])) == (20, 5)
    assert first["count"] == 25
    ids = [location["_id"] for location in first["locations"] + rest["locations"]]
    assert ids == [location.id for location in client.world.locations(company_id)]


def test_a_row_says_where_and_since_when(client: Client) -> None:
    company = company_pair(client, locations=1, version_id="v" * 24)
    row = client.installed(company["access_token"], company["companyId"]).json()["locations"][0]
    assert set(row) == {"_id", "name", "address", "isInstalled", "versionId", "installedAt"}
    assert row["versionId"] == "v" * 24
    assert row["installedAt"] == "2026-11-24T12:00:00.000Z"


def test_the_count_is_the_companys_whatever_the_filter(client: Client) -> None:
    company = company_pair(client, locations=3)
    token, company_id = company["access_token"], company["companyId"]
    client.world.create_location(company_id, "Not installed")
    body = client.installed(token, company_id, isInstalled="true").json()
    assert (len(body["locations"]), body["count"]) == (3, 4)
    body = client.installed(token, company_id, isInstalled="false").json()
    assert [row["name"] for row in body["locations"]] == ["Not installed"]
    assert len(client.installed(token, company_id, query="not inst").json()["locations"]) == 1


def test_it_tells_whether_future_locations_get_the_app(client: Client) -> None:
    for future in (True, False):
        company = company_pair(client, future=future)
        body = client.installed(company["access_token"], company["companyId"]).json()
        assert body["installToFutureLocations"] is future


def test_a_deleted_location_is_gone_without_an_event(client: Client) -> None:
    company = company_pair(client, locations=2)
    before = len(client.world.queue.events())
    location = client.world.locations(company["companyId"])[0]
    client.world.delete_location(location.id)
    body = client.installed(company["access_token"], company["companyId"]).json()
    assert location.id not in [row["_id"] for row in body["locations"]]
    assert len(client.world.queue.events()) == before


def test_another_companys_locations_are_forbidden(client: Client) -> None:
    mine, other = company_pair(client), company_pair(client)
    assert client.installed(mine["access_token"], other["companyId"]).status_code == 403


def test_v3_refuses_the_old_path_after_the_token_was_checked(client: Client) -> None:
    company = company_pair(client)
    path = f"/oauth/installedLocations?companyId={company['companyId']}&appId={APP_ID}"
    assert client.api("GET", path, "a.b.c", version="v3").status_code == 401
    answer = client.api("GET", path, company["access_token"], version="v3")
    message = (
        f"Endpoint {path} not available in API version v3. This endpoint was removed in version "
        "v3. Please use a version before v3."
    )
    assert said(answer) == (400, {"statusCode": 400, "message": message, "error": "Bad Request"})


def test_v3_pages_by_token(client: Client) -> None:
    company = company_pair(client, locations=5)
    query = {"companyId": company["companyId"], "appId": APP_ID, "pageSize": "2"}
    seen, page_token = [], ""
    while True:
        body = client.api(
            "GET",
            "/oauth/installed-locations",
            company["access_token"],
            version="v3",
            params=query | ({"pageToken": page_token} if page_token else {}),
        ).json()
        seen += [row["_id"] for row in body["items"]]
        if not body["pagination"]["hasNextPage"]:
            break
        page_token = body["pagination"]["nextPageToken"]
    assert seen == [location.id for location in client.world.locations(company["companyId"])]
    assert body["pagination"]["totalRecords"] == 5
