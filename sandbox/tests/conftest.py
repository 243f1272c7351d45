from __future__ import annotations

from collections.abc import Iterator

import pytest

from sandbox.tests.client import Client
from sandbox.world import World


class FakeClock:
    """Starts at 2026-11-24T12:00:00Z and stands still."""

    def __init__(self) -> None:
        self.now = 1795521600.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def world(clock: FakeClock) -> Iterator[World]:
    world = World(":memory:", clock=clock)
    yield world
    world.close()


@pytest.fixture
def client(world: World) -> Client:
    return Client(world)
