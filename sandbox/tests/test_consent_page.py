from __future__ import annotations

from html.parser import HTMLParser
from urllib.parse import parse_qs, urlsplit

import pytest
from requests import Response

from sandbox.tests.client import Client
from sandbox.world import DEFAULT_SCOPE, DEMO_CLIENT_ID

pytestmark = pytest.mark.one_database

REDIRECT = "http://localhost:8000/app/callback/"
LINK = {
    "response_type": "code",
    "client_id": DEMO_CLIENT_ID,
    "redirect_uri": REDIRECT,
    "scope": DEFAULT_SCOPE,
    "state": "s t&ate",
}


class Page(HTMLParser):
    """Links, the form's action and its fields, as a browser without scripts sees them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.action = ""
        self.fields: set[tuple[str, str]] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "a":
            self.links.append(found["href"])
        elif tag == "form":
            self.action = found["action"]
        elif tag in ("input", "select", "button", "option"):
            self.fields.add((found.get("name", tag), found.get("value", "")))


def open_page(client: Client, path: str = "/v2/oauth/chooselocation", **query: str) -> Response:
    return client.call("GET", path, params=LINK | query)


def decide(client: Client, company_id: str, form: dict[str, object], **query: str) -> Response:
    params = LINK | {"company": company_id} | query
    return client.call("POST", "/v2/oauth/chooselocation", params=params, data=form)


def landed(answer: Response) -> tuple[str, dict[str, str]]:
    """(redirect URI, its parameters) of a redirect."""
    assert answer.status_code == 303
    parts = urlsplit(answer.headers["Location"])
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    return f"{parts.scheme}://{parts.netloc}{parts.path}", query


@pytest.mark.parametrize("path", ["/v2/oauth/chooselocation", "/oauth/chooselocation"])
def test_a_person_can_click_from_the_link_to_the_callback(client: Client, path: str) -> None:
    agency = client.world.create_agency("Corner & Sons", locations=2)
    first = open_page(client, path)
    assert "Corner &amp; Sons" in first.text
    (link,) = Page(first.text).links
    second = client.call("GET", path + link)
    page = Page(second.text)
    location = client.world.locations(agency.id)[0]
    assert {
        ("location_ids", location.id), ("kind", "bulk"), ("all", ""), ("future", ""),
        ("decision", "allow"), ("decision", "deny"),
    } <= page.fields  # fmt: skip
    form = {"kind": "bulk", "location_ids": location.id, "decision": "allow"}
    uri, query = landed(client.call("POST", path + page.action, data=form))
    assert (uri, query["state"]) == (REDIRECT, LINK["state"])
    assert client.exchange(query["code"]).json()["userType"] == "Company"


def test_choosing_all_and_future_locations_is_remembered(client: Client) -> None:
    agency = client.world.create_agency(locations=3)
    form = {"kind": "bulk", "all": "on", "future": "on", "decision": "allow"}
    decide(client, agency.id, form)
    install = client.world.people.install(agency.id)
    assert install is not None
    assert (install.bulk, install.future) == (True, True)
    assert len(client.world.people.installs(agency.id)) == 4


def test_a_locations_user_gets_a_location_token(client: Client) -> None:
    agency = client.world.create_agency(locations=2)
    location = client.world.locations(agency.id)[1]
    form = {"kind": "user", "location_id": location.id, "decision": "allow"}
    _, query = landed(decide(client, agency.id, form))
    assert client.exchange(query["code"]).json()["locationId"] == location.id


def test_the_agency_alone_gets_a_company_token_without_locations(client: Client) -> None:
    agency = client.world.create_agency(locations=2)
    _, query = landed(decide(client, agency.id, {"kind": "agency", "decision": "allow"}))
    assert client.exchange(query["code"]).json()["isBulkInstallation"] is False
    assert len(client.world.people.installs(agency.id)) == 1


def test_state_comes_back_only_when_the_knob_says_so(client: Client) -> None:
    agency = client.world.create_agency(locations=1)
    client.world.set_knobs(return_state=False)
    _, query = landed(decide(client, agency.id, {"kind": "agency", "decision": "allow"}))
    assert set(query) == {"code"}


def test_deny_sends_the_user_back_or_nowhere(client: Client) -> None:
    agency = client.world.create_agency(locations=1)
    uri, query = landed(decide(client, agency.id, {"decision": "deny"}))
    assert (uri, query["error"], query["state"]) == (REDIRECT, "access_denied", LINK["state"])
    client.world.set_knobs(deny_answer="silent")
    answer = decide(client, agency.id, {"decision": "deny"})
    assert (answer.status_code, "Nothing was installed" in answer.text) == (200, True)
    assert client.world.people.installs() == []


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ({"client_id": "another"}, "No integration found with the ID: another"),
        ({"scope": "locations.readonly made.up"}, "This integration cannot be added"),
        ({"redirect_uri": "https://evil.example/"}, "redirect_uri is not registered"),
        ({"redirect_uri": "javascript://localhost/"}, "redirect_uri is not registered"),
        ({"response_type": "token"}, "response_type must be code"),
    ],
)
def test_a_wrong_link_is_refused_on_the_page(
    client: Client, query: dict[str, str], text: str
) -> None:
    answer = open_page(client, **query)
    assert (answer.status_code, text in answer.text) == (400, True)


def test_a_link_without_version_id_is_refused_when_the_knob_says_so(client: Client) -> None:
    client.world.set_knobs(require_version_id=True)
    assert "error.noversionid" in open_page(client).text
    assert open_page(client, version_id="5eed").status_code == 200


def test_a_redirect_uri_can_be_registered(client: Client) -> None:
    client.world.set_knobs(redirect_uris="https://app.example/app/callback/")
    answer = open_page(client, redirect_uri="https://app.example/app/callback/")
    assert answer.status_code == 200


def test_allowing_nothing_is_refused(client: Client) -> None:
    agency = client.world.create_agency(locations=1)
    answer = decide(client, agency.id, {"kind": "bulk", "decision": "allow"})
    assert (answer.status_code, "at least one" in answer.text) == (400, True)


def test_without_agencies_the_page_offers_to_create_one(client: Client) -> None:
    page = Page(open_page(client).text)
    assert page.action == "/_sandbox/agencies"
