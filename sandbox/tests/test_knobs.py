from __future__ import annotations

import pytest

from sandbox.knobs import BadKnob, Knobs, changed
from sandbox.tests.client import Client, location_pair
from sandbox.world import World

pytestmark = pytest.mark.one_database


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("refresh_grace_seconds", "0.5", 0.5),
        ("access_token_life_seconds", 300, 300),
        ("location_token_status", "200", 200),
        ("return_state", "off", False),
        ("return_state", True, True),
        ("retry_after_seconds", "", None),
        ("retry_after_seconds", "7", 7),
        ("webhook_url", " http://x/ ", "http://x/"),
        ("signatures", "n/a", "n/a"),
    ],
)
def test_values_are_read_as_json_or_as_a_form_sends_them(
    name: str, value: object, read: object
) -> None:
    assert getattr(changed(Knobs(), {name: value}), name) == read


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("nope", 1),
        ("refresh_grace_seconds", "x"),
        ("refresh_grace_seconds", -1),
        ("refresh_grace_seconds", "nan"),
        ("refresh_grace_seconds", "inf"),
        ("burst_limit", True),
        ("burst_limit", "1.5"),
        ("return_state", "maybe"),
        ("token_casing", "kebab"),
        ("location_token_status", 204),
        ("webhook_url", 7),
    ],
)
def test_unknown_names_and_bad_values_are_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(BadKnob) as refused:
        changed(Knobs(), {name: value})
    assert refused.value.name == name


def test_a_bad_value_changes_nothing(world: World) -> None:
    with pytest.raises(BadKnob):
        world.set_knobs(refresh_grace_seconds=5, nope=1)
    assert world.knobs == Knobs()


def test_a_global_knob_cannot_be_set_for_one_resource(client: Client) -> None:
    location_id = location_pair(client)["locationId"]
    with pytest.raises(BadKnob):
        client.world.set_resource_knobs(location_id, signatures="none")
