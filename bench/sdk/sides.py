"""Those who are compared, behind one face: install, call, and what each adds to it."""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from bench.sdk.processes import (
    REDIRECT_URI,
    TIMEOUT_S,
    Program,
    Stage,
    js_sdk,
    python_sdk,
    until,
)
from bench.sdk.setup import HERE

# A token of the first kind ends while we prepare; the other one outlasts every scenario.
SHORT_S, LONG_S = 2, 86_400


@dataclass(frozen=True)
class Place:
    company_id: str
    location_id: str


class Side(ABC):
    """One of those compared, at work in one case."""

    name: str

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.sandbox = stage.sandbox
        self.programs: list[Program] = []

    def install_with_short_token(self, *, processes: int = 1, by_agency: bool = False) -> Place:
        """Install on a new sub-account whose token has ended when this returns; those that come
        after it live long.

        `by_agency`: the agency is installed too, and the sub-account's pair is minted from it.
        """
        agency = self.sandbox.post("agencies", name="Northwind", locations=1)
        place = Place(agency["id"], agency["locations"][0]["id"])
        self.life(place, SHORT_S)
        code = self.sandbox.post(
            "install",
            company_id=place.company_id,
            location_ids=[place.location_id],
            bulk=by_agency,
            redirect_uri=REDIRECT_URI,
        )["code"]
        self.install(place, code, processes=processes, by_agency=by_agency)
        installed = time.time()
        self.life(place, LONG_S)
        time.sleep(max(0, installed + SHORT_S + 0.5 - time.time()))
        return place

    def life(self, place: Place, seconds: int) -> None:
        """How long the access tokens live that the sub-account gets from now on."""
        self.sandbox.post("knobs", resource_id=place.location_id, access_token_life_seconds=seconds)

    def call(self, place: Place, *, callers: Sequence[int] = (1,)) -> list[str]:
        """Let so many callers in each process read the sub-account at the same moment; return
        "ok" or an error of each."""
        at = time.time() + 0.5
        working = self.programs[: len(callers)]
        for program, number in zip(working, callers, strict=True):
            program.begin("call", at=at, callers=number, **self.address(place))
        return [outcome for program in working for outcome in program.answer()["outcomes"]]

    def call_from(self, program: Program, place: Place) -> str:
        order = {"at": 0, "callers": 1, **self.address(place)}
        outcome: str = program.order("call", **order)["outcomes"][0]
        return outcome

    @abstractmethod
    def install(self, place: Place, code: str, *, processes: int, by_agency: bool) -> None:
        """Exchange the code; start so many client programs that know the sub-account."""

    @abstractmethod
    def address(self, place: Place) -> dict[str, str]:
        """What a client program has to know to read this sub-account."""

    @abstractmethod
    def renew_a_day_later(self, place: Place) -> None:
        """Move the sandbox on by more than a token's life; see that a renewal is due."""

    @abstractmethod
    def webhook_url(self) -> str:
        """Where it takes events."""

    @abstractmethod
    def after_the_event(self, place: Place) -> str:
        """Say what became of the sub-account once its agency's UNINSTALL has arrived."""


class Sdk(Side):
    command = staticmethod(python_sdk)
    shared = False

    def install(self, place: Place, code: str, *, processes: int, by_agency: bool) -> None:
        store = str(self.stage.folder / "sessions") if self.shared else ""
        command, environ = self.command(self.stage.sdks)
        self.programs = [
            self.stage.program(command, SDK_STORE=store, **environ) for _ in range(processes)
        ]
        first, *others = self.programs
        session = first.order("install", code=code)["session"]
        if by_agency:
            first.order("mint", company_id=place.company_id, location_id=place.location_id)
        for other in others if not self.shared else []:
            other.order("store", resource_id=place.location_id, session=session)

    def address(self, place: Place) -> dict[str, str]:
        return {"location_id": place.location_id}

    def renew_a_day_later(self, place: Place) -> None:
        self.sandbox.post("advance", seconds=LONG_S + 60)

    def webhook_url(self) -> str:
        der = self.sandbox.get("env")["GHL_WEBHOOK_PUBLIC_KEYS"]
        # As HighLevel publishes its own.
        pem = f"-----BEGIN PUBLIC KEY-----\n{der}\n-----END PUBLIC KEY-----\n"
        url: str = self.programs[0].order("listen", public_key=pem)["url"]
        return url

    def after_the_event(self, place: Place) -> str:
        until("UNINSTALL is delivered", self.sandbox.has_sent_all)
        agency, sub_account = self._kept(place.company_id), self._kept(place.location_id)
        return f"agency's session {agency}, sub-account's session {sub_account}"

    def _kept(self, resource_id: str) -> str:
        stored = self.programs[0].order("has_session", resource_id=resource_id)["stored"]
        return "kept" if stored else "deleted"


class PythonMemory(Sdk):
    name = "SDK for Python"


class PythonShared(PythonMemory):
    name = "SDK for Python, shared storage"
    shared = True


class JavaScriptMemory(Sdk):
    name = "SDK for JavaScript"
    command = staticmethod(js_sdk)


class JavaScriptShared(JavaScriptMemory):
    name = "SDK for JavaScript, shared storage"
    shared = True


class WhatReach(Side):
    name = "WhatReach"
    # Set once, when the template is made.
    database: Path
    key: str

    def install(self, place: Place, code: str, *, processes: int, by_agency: bool) -> None:
        self.url = self.stage.web(self.database)
        requests.get(f"{self.url}/app/callback/", {"code": code}, timeout=TIMEOUT_S)
        if by_agency:
            with self.stage.worker():
                until("the sub-account is minted", lambda: self._has_token(place))
        self.programs = [
            self.stage.program(
                [sys.executable, str(HERE / "whatreach_client.py")],
                WHATREACH_URL=self.url,
                WHATREACH_KEY=self.key,
            )
            for _ in range(processes)
        ]

    def address(self, place: Place) -> dict[str, str]:
        return {"install_id": self.status(place)["id"], "location_id": place.location_id}

    def renew_a_day_later(self, place: Place) -> None:
        # Its own clock cannot be moved with the sandbox's, so it is told.
        self.sandbox.post("advance", seconds=LONG_S + 60)
        self.refresh(place)

    def webhook_url(self) -> str:
        return f"{self.url}/app/webhook/"

    def after_the_event(self, place: Place) -> str:
        with self.stage.worker():
            until("the event is processed", lambda: self._is_uninstalled(place))
        rows = self._get("list/", {"agency": place.company_id})["integrations"]
        states = {row["user_type"]: row["state"] for row in rows}
        return f"agency {states['Company']}, sub-account {states['Location']}"

    def refresh(self, place: Place) -> str:
        """Ask for a renewal now; return "ok" or the error's code."""
        address = f"{self.url}/app/refresh/{self.status(place)['id']}/"
        answer = requests.post(address, headers=self._headers, timeout=TIMEOUT_S)
        return "ok" if answer.ok else f"{answer.status_code} {answer.json()['error']}"

    def token(self, place: Place) -> str:
        address = f"{self.url}/app/get-token/{self.status(place)['id']}/"
        answer = requests.get(address, headers=self._headers, timeout=TIMEOUT_S)
        answer.raise_for_status()
        token: str = answer.json()["access_token"]
        return token

    def status(self, place: Place) -> dict[str, Any]:
        query = {"q": place.location_id}
        found = self._get("list/", query)["integrations"]
        return self._get(f"status/{found[0]['id']}/", {}) if found else {"state": "unknown"}

    def _is_uninstalled(self, place: Place) -> bool:
        return self.status(place)["state"] == "uninstalled"

    def _has_token(self, place: Place) -> bool:
        return self.status(place).get("verified_at") is not None

    def _get(self, path: str, query: dict[str, str]) -> dict[str, Any]:
        answer = requests.get(
            f"{self.url}/app/{path}", query, headers=self._headers, timeout=TIMEOUT_S
        )
        answer.raise_for_status()
        body: dict[str, Any] = answer.json()
        return body

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}
