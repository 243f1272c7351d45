from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
from django.core.management import CommandError, call_command
from requests import PreparedRequest, Response
from requests.adapters import BaseAdapter

from sandbox.demo import Demo, DemoFailed
from sandbox.names import AGENCIES
from sandbox.tests.client import Client
from sandbox.transport import SandboxAdapter
from sandbox.world import World

pytestmark = pytest.mark.one_database

SANDBOX, APP = "http://sandbox.test", "http://app.test"


class App(BaseAdapter):
    """An app whose callback exchanges the code, as a real one does."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._client = Client(world)
        self.status = 200
        self.tokens: list[dict[str, str]] = []

    def send(self, request: PreparedRequest, *args: object, **kwargs: object) -> Response:
        parts = urlsplit(request.url or "")
        if parts.path == "/app/callback/" and self.status == 200:
            code = parse_qs(parts.query)["code"][0]
            self.tokens.append(self._client.exchange(code).json())
        response = Response()
        response.status_code = self.status
        response.url = request.url or ""
        response.raw = None
        response._content = b""
        return response

    def close(self) -> None:
        pass


@pytest.fixture
def app(world: World) -> App:
    return App(world)


@pytest.fixture
def demo(world: World, app: App) -> Iterator[Demo]:
    demo = Demo(SANDBOX, APP)
    demo._session.mount(SANDBOX, SandboxAdapter(world))
    demo._session.mount(APP, app)
    yield demo
    demo._session.close()


def test_it_installs_three_agencies_by_consent_and_callback(
    demo: Demo, world: World, app: App
) -> None:
    result = demo.fill()
    assert (result.agencies, result.locations, result.was_filled) == (3, 40, False)
    kinds = [token["userType"] for token in app.tokens]
    assert kinds == ["Company"] * 2 + ["Location"] * len(AGENCIES[2][1])
    assert {token["expires_in"] for token in app.tokens} == {299}
    assert len(world.outbox) == 40
    assert world.knobs.webhook_url == f"{APP}/app/webhook/"


def test_a_few_installs_are_in_trouble(demo: Demo, world: World, app: App) -> None:
    demo.fill()
    client = Client(world)
    answers = [client.refresh(token["refresh_token"]).status_code for token in app.tokens[2:]]
    assert answers[:4] == [401, 400, 400, 200]
    assert set(answers[4:]) == {200}
    slow = app.tokens[5]["locationId"]
    assert world.resource_knobs() == {slow: {"latency_seconds": 4.0}}


def test_the_second_time_it_is_already_filled(demo: Demo, world: World, app: App) -> None:
    demo.fill()
    paused = world.locations(world.companies()[2].id)[1].id
    world.resume(paused)
    result = demo.fill()
    assert (result.was_filled, result.locations) == (True, 40)
    assert len(app.tokens) == 10
    assert world.people.location(paused).active


def test_a_half_filled_demo_is_completed(demo: Demo, world: World, app: App) -> None:
    world.create_agency(AGENCIES[0][0], locations=AGENCIES[0][1])
    assert demo.fill().agencies == 3


def test_a_callback_that_fails_is_told_and_tried_again_next_time(demo: Demo, app: App) -> None:
    app.status = 500
    with pytest.raises(DemoFailed, match="callback answered 500"):
        demo.fill()
    app.status = 200
    assert demo.fill().was_filled is False
    assert len(app.tokens) == 10


def test_an_app_that_does_not_answer_is_exit_code_1() -> None:
    with pytest.raises(CommandError, match="The app does not answer at http://127.0.0.1:1") as end:
        call_command("sandbox_demo", app_url="http://127.0.0.1:1")
    assert end.value.returncode == 1


def test_a_sandbox_that_does_not_answer_is_told(app: App) -> None:
    demo = Demo("http://127.0.0.1:1", APP)
    demo._session.mount(APP, app)
    with pytest.raises(DemoFailed, match="The sandbox does not answer"):
        demo.fill()
    demo._session.close()
