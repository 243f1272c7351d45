"""Who uses the product meanwhile: back ends that want tokens, browsers that show the dashboard."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

CALL_EVERY_S, POLL_EVERY_S = 1.0, 4.0
PATIENCE_S = 40
PAGE = "a page"
PANELS = ("/live/overview/", "/live/installs/", "/live/installs/?state=needs_you", "/live/alerts/")


@dataclass(frozen=True)
class Failure:
    """An answer 5xx, or none at all (status 0). Units: `began`, `ended` are `time.time()`."""

    began: float
    ended: float
    path: str
    status: int
    what: str
    is_told_when: bool  # it has Retry-After


@dataclass
class Visitors:
    """So many callers and browsers, each in a thread of its own."""

    url: str
    key: str
    session: dict[str, str]
    installs: dict[str, str]  # a sub-account's id at HighLevel by ours
    highlevel_url: str
    callers: int = 20
    browsers: int = 20
    answers: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    failures: list[Failure] = field(default_factory=list)
    dead_tokens: int = 0
    _stop: Event = field(default_factory=Event)
    _threads: list[Thread] = field(default_factory=list)

    def begin(self) -> None:
        for _ in range(self.callers):
            self._repeat(CALL_EVERY_S, self._call, {"Authorization": f"Bearer {self.key}"}, {})
        for _ in range(self.browsers):
            self._repeat(POLL_EVERY_S, self._poll, {"HX-Request": "true"}, self.session)

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _repeat(
        self,
        pause_s: float,
        visit: Callable[[requests.Session], None],
        headers: dict[str, str],
        cookies: dict[str, str],
    ) -> None:
        def go_on() -> None:
            with requests.Session() as session:
                session.headers.update(headers)
                session.cookies.update(cookies)
                session.mount("http://", _once_more_over_a_fresh_connection())
                while not self._stop.wait(pause_s * random.uniform(0.5, 1.5)):
                    visit(session)

        thread = Thread(target=go_on)
        thread.start()
        self._threads.append(thread)

    def _call(self, session: requests.Session) -> None:
        pk = random.choice(list(self.installs))
        what = random.choices(("token", "status", "refresh", "health"), (16, 2, 1, 1))[0]
        match what:
            case "token":
                answer = self._ask(session, "GET", f"/app/get-token/{pk}/?min_valid_for=20")
                if answer is not None and answer.ok and random.random() < 0.2:
                    self._try(pk, answer.json()["access_token"])
            case "status":
                self._ask(session, "GET", f"/app/status/{pk}/")
            case "refresh":
                self._ask(session, "POST", f"/app/refresh/{pk}/")
            case _:
                self._ask(session, "GET", "/app/token-health/")

    def _poll(self, session: requests.Session) -> None:
        self._ask(session, "GET", random.choice(PANELS))

    def _ask(self, session: requests.Session, method: str, path: str) -> requests.Response | None:
        began_at, start = time.time(), time.perf_counter()
        try:
            answer = session.request(
                method, self.url + path, timeout=PATIENCE_S, allow_redirects=False
            )
        except requests.RequestException as error:
            self.answers["none"] += 1
            self.failures.append(
                Failure(began_at, time.time(), path, 0, type(error).__name__, False)
            )
            return None
        self.slowest_s = max(self.slowest_s, time.perf_counter() - start)
        self.answers[str(answer.status_code)] += 1
        if answer.status_code >= 500:
            told = "Retry-After" in answer.headers
            self.failures.append(
                Failure(began_at, time.time(), path, answer.status_code, _error_of(answer), told)
            )
        return answer

    def _try(self, pk: str, token: str) -> None:
        """Whether HighLevel takes a token that was handed out just now."""
        try:
            answer = requests.get(
                f"{self.highlevel_url}/locations/{self.installs[pk]}",
                headers={"Authorization": f"Bearer {token}", "Version": "2021-07-28"},
                timeout=PATIENCE_S,
            )
        except requests.RequestException:
            return  # a fault of ours struck it
        self.dead_tokens += answer.status_code == 401


def _once_more_over_a_fresh_connection() -> HTTPAdapter:
    """As browsers and clients do with a GET when the server has closed an idle connection."""
    retry = Retry(read=1, connect=0, status=0, other=0, respect_retry_after_header=False)
    return HTTPAdapter(max_retries=retry)


def _error_of(answer: requests.Response) -> str:
    try:
        body: Any = answer.json()
    except ValueError:
        return PAGE
    return str(body.get("error", ""))
