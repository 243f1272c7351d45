"""A bare HighLevel client for these tests: requests over the in-process transport."""

from __future__ import annotations

from typing import Any

import requests

from sandbox.transport import SandboxAdapter
from sandbox.world import DEMO_CLIENT_ID, DEMO_CLIENT_SECRET, World

BASE = "https://services.leadconnectorhq.com"
APP_ID = DEMO_CLIENT_ID[:24]
PAIR = {"client_id": DEMO_CLIENT_ID, "client_secret": DEMO_CLIENT_SECRET}


class Client:
    def __init__(self, world: World) -> None:
        self.world = world
        self.session = requests.Session()
        self.session.mount("https://", SandboxAdapter(world))

    def call(self, method: str, path: str, **details: Any) -> requests.Response:
        return self.session.request(method, BASE + path, allow_redirects=False, **details)

    def token(self, **params: str) -> requests.Response:
        return self.call("POST", "/oauth/token", data=PAIR | params)

    def exchange(self, code: str, **params: str) -> requests.Response:
        return self.token(grant_type="authorization_code", code=code, **params)

    def refresh(self, refresh_token: str, **params: str) -> requests.Response:
        return self.token(grant_type="refresh_token", refresh_token=refresh_token, **params)

    def api(
        self, method: str, path: str, token: str, *, version: str = "2021-07-28", **details: Any
    ) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}", "Version": version}
        return self.call(method, path, headers=headers, **details)

    def mint(self, token: str, company_id: str, location_id: str, **how: Any) -> requests.Response:
        ids = {"companyId": company_id, "locationId": location_id}
        return self.api("POST", "/oauth/locationToken", token, data=ids, **how)

    def installed(self, token: str, company_id: str, **query: Any) -> requests.Response:
        ids = {"companyId": company_id, "appId": APP_ID}
        return self.api("GET", "/oauth/installedLocations", token, params=ids | query)


def said(response: requests.Response) -> tuple[int, dict[str, Any]]:
    """Status and body without its traceId, which every answer must have."""
    body = response.json()
    assert len(body.pop("traceId")) == 36
    return response.status_code, body


def location_pair(client: Client, **install: Any) -> dict[str, Any]:
    """The token answer for a new sub-account, installed by its own user."""
    agency = client.world.create_agency(locations=1)
    location = client.world.locations(agency.id)[0]
    code = client.world.install(agency.id, [location.id], bulk=False, **install)
    answer: dict[str, Any] = client.exchange(code).json()
    return answer


def company_pair(client: Client, locations: int = 2, **install: Any) -> dict[str, Any]:
    """The token answer for a new agency, installed in bulk on all its sub-accounts."""
    agency = client.world.create_agency(locations=locations)
    answer: dict[str, Any] = client.exchange(client.world.install(agency.id, **install)).json()
    return answer
