from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.utils.module_loading import import_string
from django_q.models import OrmQ

from sandbox.outbox import Send
from sandbox.world import World
from webhooks import bell, breaker, counting, processing

WEBHOOK = "/app/webhook/"


@pytest.fixture(autouse=True)
def bell_for_each_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every event rings, and the sweep does not go on looking: nothing waits for the clock."""
    monkeypatch.setattr(bell, "EVERY_S", 0)
    # A busy machine is slower than it waits for its statement.
    monkeypatch.setattr(bell, "MOST_WAIT_MS", 60_000)
    monkeypatch.setattr(processing, "LOOK_AT_MOST_S", 0)


@pytest.fixture(autouse=True)
def nothing_counted_before() -> None:
    counting._waiting.clear()


@pytest.fixture(autouse=True)
def tried_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that was unable a moment ago, or in the test before, puts nobody off."""
    monkeypatch.setattr(breaker, "PAUSE_S", 0)
    breaker._note(unable=False)


@pytest.fixture
def usual_bell(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bell as it is in use, at rest for longer than its pause; that is long enough for all that
    a test does within one."""
    monkeypatch.setattr(bell, "EVERY_S", 60)
    monkeypatch.setattr(bell, "_last_ring", -3600.0)


@pytest.fixture
def send(client: Client) -> Send:
    """Carries HighLevel's deliveries to the receiver: `world.deliver(send)`."""

    def post(_url: str, body: bytes, headers: dict[str, str]) -> int:
        return client.post(WEBHOOK, body, **as_request(headers)).status_code

    return post


@pytest.fixture
def post(world: World, client: Client) -> Callable[..., Any]:
    """Post a body of your own, well signed by the world unless `mode` says otherwise."""

    def post(body: bytes, mode: str = "ed25519", path: str = WEBHOOK, **headers: str) -> Any:
        body, signature = world.signer.signed(body, mode)
        return client.post(path, body, **as_request(signature | headers))

    return post


@pytest.fixture
def run_worker() -> Callable[[], int]:
    """Do what is in the queue, and what that puts in it; return how many tasks that were."""

    def run() -> int:
        done = 0
        while entry := OrmQ.objects.order_by("pk").first():
            task = entry.task
            entry.delete()
            import_string(task["func"])(*task["args"], **task["kwargs"])
            done += 1
        return done

    return run


def as_request(headers: dict[str, str]) -> dict[str, Any]:
    content_type = headers.get("Content-Type", "application/json")
    rest = {name: value for name, value in headers.items() if name != "Content-Type"}
    return {"content_type": content_type, "headers": rest}
