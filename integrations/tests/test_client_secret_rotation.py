"""The app's client secret is changed at HighLevel while two are known here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from integrations.health import Status
from integrations.highlevel import HighLevel
from integrations.models import GoHighLevelIntegration, RefreshAttempt
from integrations.refresh import Outcome, refresh_integration
from sandbox.world import World

Install = Callable[..., GoHighLevelIntegration]
FORMER, LATTER = "5eed5eed-0000-4000-8000-000000005eed", "5eed5eed-0000-4000-8000-0000000000ff"


@pytest.fixture
def both(settings: Any) -> None:
    settings.GHL_CLIENT_SECRET, settings.GHL_CLIENT_SECRET_NEXT = FORMER, LATTER


def test_before_and_after_the_change_renewals_work(
    world: World, install_location: Install, settings: Any, both: None
) -> None:
    row = install_location()
    assert refresh_integration(row.pk, trigger="test").success
    world.put_client(settings.GHL_CLIENT_ID, LATTER)
    assert refresh_integration(row.pk, trigger="test").success
    row.refresh_from_db()
    assert (row.status, row.failures) == (Status.ACTIVE, 0)


def test_no_refresh_token_is_spent_twice_for_it(
    world: World, install_location: Install, settings: Any, both: None
) -> None:
    world.set_knobs(refresh_grace_seconds=0)
    row = install_location()
    world.put_client(settings.GHL_CLIENT_ID, LATTER)
    for _ in range(3):
        assert refresh_integration(row.pk, trigger="test").success
    assert max(use.accepted for use in world.token_uses()) == 1
    assert RefreshAttempt.objects.filter(outcome=RefreshAttempt.RENEWED).count() == 3


def test_an_install_is_finished_with_the_next_secret_too(
    world: World, install_location: Install, settings: Any, both: None
) -> None:
    world.put_client(settings.GHL_CLIENT_ID, LATTER)
    assert install_location().status == Status.ACTIVE


def test_when_neither_is_good_it_is_the_operators_fault_and_nobody_is_marked_dead(
    world: World, install_location: Install, settings: Any, both: None
) -> None:
    row = install_location()
    world.put_client(settings.GHL_CLIENT_ID, "another-one-altogether")
    result = refresh_integration(row.pk, trigger="test")
    assert (result.outcome, result.cause) == (Outcome.FAILED, "our_credentials")
    row.refresh_from_db()
    assert row.status == Status.ACTIVE


@pytest.mark.parametrize(
    ("at_highlevel", "verdicts"), [(FORMER, (True, False)), (LATTER, (False, True))]
)
def test_it_can_be_asked_which_one_answers(
    world: World, settings: Any, both: None, at_highlevel: str, verdicts: tuple[bool, bool]
) -> None:
    world.put_client(settings.GHL_CLIENT_ID, at_highlevel)
    assert HighLevel.from_settings().accepted_secrets() == {
        "GHL_CLIENT_SECRET": verdicts[0],
        "GHL_CLIENT_SECRET_NEXT": verdicts[1],
    }


def test_with_one_secret_one_call_is_made(
    world: World, install_location: Install, settings: Any
) -> None:
    row = install_location()
    world.put_client(settings.GHL_CLIENT_ID, LATTER)
    assert refresh_integration(row.pk, trigger="test").cause == "our_credentials"
    assert "GHL_CLIENT_SECRET_NEXT" not in HighLevel.from_settings().accepted_secrets()


def test_neither_shows_in_what_the_client_prints(both: None) -> None:
    shown = repr(HighLevel.from_settings())
    assert FORMER not in shown and LATTER not in shown
