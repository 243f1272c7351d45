from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from sandbox.faults import KINDS, Fault
from sandbox.knobs import PER_RESOURCE, Knobs, describe
from sandbox.urls import urlpatterns

pytestmark = pytest.mark.one_database

DOCS = (Path(__file__).resolve().parents[2] / "docs" / "sandbox.md").read_text()


@pytest.mark.parametrize("knob", describe(Knobs()), ids=lambda knob: str(knob["name"]))
def test_every_knob_is_documented_with_its_default(knob: dict[str, object]) -> None:
    name, default = str(knob["name"]), knob["default"]
    star = " *" if name in PER_RESOURCE else ""
    (row,) = [line for line in DOCS.splitlines() if line.startswith(f"| `{name}`{star} |")]
    shown = "the usual ones" if name == "scopes" else _shown(default)
    assert row.split(" | ")[1].strip("`") == shown


def _shown(default: object) -> str:
    if default is None or default == "":
        return "empty" if default == "" else "none"
    return str(default).lower() if isinstance(default, bool) else str(default)


def test_every_field_and_kind_of_a_fault_is_documented() -> None:
    for name in [field.name for field in fields(Fault)] + sorted(KINDS):
        assert f"`{name}`" in DOCS


def test_every_control_call_and_route_is_documented() -> None:
    for pattern in urlpatterns:
        route = str(pattern.pattern)
        if route.startswith("_sandbox/") and route != "_sandbox/":
            assert f"`{route.removeprefix('_sandbox/')}`" in DOCS
        elif route and "<" not in route and route != "_sandbox/":
            assert f"`/{route}`" in DOCS
