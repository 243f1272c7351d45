"""Fills an app by its real doors: consent page, callback, signed events, then a little trouble."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import requests

from sandbox.names import AGENCIES

TOKEN_LIFE_S = 300
_SLOW_S = 4
_TIMEOUT_S = (3.0, 60.0)
_SCOPE = "locations.readonly oauth.readonly oauth.write marketplace-installer-details.readonly"
# Installed by its sub-accounts' own users; the agencies before it install in bulk.
_BY_USERS = AGENCIES[-1][0]


class DemoFailed(Exception):
    """The app or the sandbox does not answer as it should; the text says which."""


@dataclass(frozen=True)
class DemoResult:
    """What the demo holds now; `was_filled`: nothing was left to do."""

    agencies: int
    locations: int
    was_filled: bool


class Demo:
    """Talks to the sandbox and the app over HTTP alone."""

    def __init__(self, sandbox_url: str, app_url: str) -> None:
        self._sandbox_url = sandbox_url.rstrip("/")
        self._app_url = app_url.rstrip("/")
        self._session = requests.Session()
        self._session.trust_env = False

    def fill(self) -> DemoResult:
        """Create and install whatever is missing, so that a second run changes nothing.

        Errors: DemoFailed.
        """
        self._check_app()
        client_id = self._control("GET", "env")["GHL_CLIENT_ID"]
        self._prepare()
        known = {agency["name"]: agency for agency in self._agencies()}
        did_something = False
        for name, location_names in AGENCIES:
            agency = known.get(name) or self._create(name, location_names)
            did_something |= self._install(client_id, agency)
        if did_something:
            self._make_trouble()
        filled = [agency for agency in self._agencies() if agency["name"] in dict(AGENCIES)]
        locations = sum(len(agency["locations"]) for agency in filled)
        return DemoResult(len(filled), locations, was_filled=not did_something)

    def _check_app(self) -> None:
        try:
            self._session.get(self._app_url + "/", timeout=_TIMEOUT_S, allow_redirects=False)
        except requests.RequestException:
            raise DemoFailed(f"The app does not answer at {self._app_url}.") from None

    def _prepare(self) -> None:
        self._control(
            "POST",
            "knobs",
            {
                "access_token_life_seconds": TOKEN_LIFE_S,
                "redirect_uris": self._redirect_uri,
                "app_url": self._app_url,
                "webhook_url": f"{self._app_url}/app/webhook/",
            },
        )

    def _create(self, name: str, location_names: Sequence[str]) -> dict[str, Any]:
        return self._control("POST", "agencies", {"name": name, "locations": location_names})

    def _install(self, client_id: str, agency: dict[str, Any]) -> bool:
        """Install what is not installed yet; returns whether there was anything."""
        if agency["name"] != _BY_USERS:
            if _is_done(agency):
                return False
            self._consent(client_id, agency["id"], {"kind": "bulk", "all": "on", "future": "on"})
            return True
        missing = [location for location in agency["locations"] if not _is_done(location)]
        for location in missing:
            form = {"kind": "user", "location_id": location["id"]}
            self._consent(client_id, agency["id"], form)
        return bool(missing)

    def _consent(self, client_id: str, company_id: str, form: dict[str, str]) -> None:
        """Allow on the consent page and follow the browser's way to the app's callback."""
        query = urlencode(
            {
                "response_type": "code",
                "client_id": client_id,
                "version_id": client_id.split("-", 1)[0],
                "redirect_uri": self._redirect_uri,
                "scope": _SCOPE,
                "company": company_id,
            }
        )
        allowed = self._call(
            "POST",
            f"{self._sandbox_url}/v2/oauth/chooselocation?{query}",
            data=form | {"decision": "allow"},
            allow_redirects=False,
        )
        if allowed.status_code != 303:
            raise DemoFailed(f"The consent page answered {allowed.status_code}.")
        landed = self._call("GET", allowed.headers["Location"])
        if not landed.ok:
            raise DemoFailed(
                f"The app's callback answered {landed.status_code}; does the app use this sandbox?"
            )

    def _make_trouble(self) -> None:
        """One refused token, two paused sub-accounts, one slow: all of the agency without a bulk
        install, so that nothing but the trouble itself decides what becomes of them."""
        agency = next(a for a in self._agencies() if a["name"] == _BY_USERS)
        refused, paused, also_paused, slow, *_ = [one["id"] for one in agency["locations"]]
        self._control("POST", "refuse", {"location_id": refused})
        for location_id in (paused, also_paused):
            self._control("POST", "pause", {"location_id": location_id})
        self._control("POST", "knobs", {"resource_id": slow, "latency_seconds": _SLOW_S})

    def _agencies(self) -> list[dict[str, Any]]:
        agencies: list[dict[str, Any]] = self._control("GET", "agencies")["agencies"]
        return agencies

    @property
    def _redirect_uri(self) -> str:
        return f"{self._app_url}/app/callback/"

    def _control(
        self, method: str, name: str, body: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        response = self._call(method, f"{self._sandbox_url}/_sandbox/{name}", json=body)
        if not response.ok:
            raise DemoFailed(f"The sandbox refused {name}: {response.text[:200]}")
        answer: dict[str, Any] = response.json()
        return answer

    def _call(self, method: str, url: str, **details: Any) -> requests.Response:
        try:
            return self._session.request(method, url, timeout=_TIMEOUT_S, **details)
        except requests.RequestException:
            who = "sandbox" if url.startswith(self._sandbox_url) else "app"
            base = self._sandbox_url if who == "sandbox" else self._app_url
            raise DemoFailed(f"The {who} does not answer at {base}.") from None


def _is_done(place: dict[str, Any]) -> bool:
    """Installed, and the app fetched its tokens: a callback that failed is tried again."""
    return bool(place["installed"] and place["exchanged"])
