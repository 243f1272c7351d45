from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from sandbox.knobs import BadKnob
from sandbox.tests.client import Client, location_pair
from sandbox.tests.conftest import FakeClock
from sandbox.world import World

pytestmark = pytest.mark.one_database


def test_tokens_knobs_faults_clock_keys_and_events_survive_a_restart(
    tmp_path: Path, clock: FakeClock
) -> None:
    path = str(tmp_path / "deep" / "state.sqlite3")
    world = World(path, clock)
    pair = location_pair(Client(world))
    world.set_knobs(access_token_life_seconds=300)
    world.set_resource_knobs(pair["locationId"], latency_seconds=3)
    world.fault("500", times=2)
    world.advance(60)
    before = (world.now(), world.signer.ed25519_public_key(), world.outbox)
    world.close()

    world = World(path, clock)
    assert (world.now(), world.signer.ed25519_public_key(), world.outbox) == before
    client = Client(world)
    assert [client.refresh(pair["refresh_token"]).status_code for _ in range(2)] == [500, 500]
    answer = client.refresh(pair["refresh_token"])
    assert answer.json()["expires_in"] == 299
    assert world.knobs_for(pair["locationId"]).latency_seconds == 3
    assert world.uses_of(pair["refresh_token"]) == 1
    world.close()


def test_an_event_that_was_being_sent_is_sent_again(tmp_path: Path) -> None:
    path = str(tmp_path / "state.sqlite3")
    world = World(path)
    world.install(world.create_agency(locations=1).id)

    def dies(url: str, body: bytes, headers: dict[str, str]) -> int:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        world.deliver(dies)
    assert world.outbox == []
    world.close()
    world = World(path)
    assert len(world.outbox) == 1
    world.close()


def test_one_process_owns_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox.store.LOCK_TIMEOUT_S", 0)
    path = str(tmp_path / "state.sqlite3")
    world = World(path)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        World(path)
    world.close()


def test_a_refused_consent_leaves_nothing_behind(world: World) -> None:
    agency = world.create_agency(locations=2)
    with pytest.raises(BadKnob):
        world.install(agency.id, [one.id for one in world.locations(agency.id)], bulk=False)
    assert world.people.installs() == []
    assert world.outbox == []


def test_names_repeat_with_a_number_once_they_are_used_up(world: World) -> None:
    names = [world.create_agency().name for _ in range(4)]
    assert names[3] == f"{names[0]} 2"
