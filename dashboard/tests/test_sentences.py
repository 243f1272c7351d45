from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dashboard.sentences import LOOKS, Action, Tone, tell
from integrations.health import State, Status
from integrations.models import GoHighLevelIntegration

pytestmark = pytest.mark.one_database

NOW = datetime(2026, 5, 3, 14, 2, tzinfo=UTC)


def in_(**delta: float) -> datetime:
    return NOW + timedelta(**delta)


def make(**fields: Any) -> GoHighLevelIntegration:
    values: dict[str, Any] = {
        "name": "Harbour Dental",
        "status": Status.ACTIVE,
        "expires_at": in_(hours=22),
        "renew_at": in_(hours=21),
        "installed_at": in_(days=-30),
        "created_at": in_(days=-30),
    }
    return GoHighLevelIntegration(**(values | fields))


FAILED = {"failures": 3, "cause": "no_answer", "cause_since": in_(minutes=-9), "tried_at": NOW}

EXAMPLES: list[tuple[State, dict[str, Any], str]] = [
    (State.HEALTHY, {}, "Works. Renews itself in 21 h."),
    (State.HEALTHY, {"renew_at": in_(minutes=-1)}, "Works. Its renewal is due now."),
    (State.REFRESHING, {"requested_at": NOW}, "Getting a new token…"),
    (
        State.RETRYING,
        {**FAILED, "renew_at": in_(minutes=4)},
        "HighLevel did not answer at 14:02 UTC. Next try in 4 min.",
    ),
    (
        State.EXPIRING,
        {**FAILED, "expires_at": in_(minutes=25)},
        "The token ends in 25 min and renewal has not worked yet. "
        "HighLevel did not answer at 14:02 UTC.",
    ),
    (
        State.EXPIRING,
        {"expires_at": in_(minutes=25)},
        "The token ends in 25 min; its renewal is due.",
    ),
    (
        State.EXPIRED,
        {**FAILED, "expires_at": in_(minutes=-12)},
        "The token ended 12 min ago; still trying. HighLevel did not answer at 14:02 UTC.",
    ),
    (
        State.NEEDS_RECONNECT,
        {"status": Status.REFUSED, "cause": "refused"},
        "HighLevel no longer accepts our access to this account. "
        "Send the client the reconnect link.",
    ),
    (
        State.PAUSED,
        {"status": Status.PAUSED, "cause": "location_inactive"},
        "This sub-account is not active in HighLevel. We resume by ourselves.",
    ),
    (
        State.WAITING,
        {"status": Status.WAITING, "installed_at": in_(minutes=-2)},
        "Sign-in finished; waiting for HighLevel (2 min).",
    ),
    (
        State.UNINSTALLED,
        {"status": Status.UNINSTALLED, "cause": "uninstalled", "cause_since": NOW},
        "Removed on 3 May 2026 by the client.",
    ),
    (
        State.UNINSTALLED,
        {"status": Status.DEACTIVATED, "cause": "deactivated", "cause_since": NOW},
        "Switched off here on 3 May 2026 by your team.",
    ),
    (
        State.DAMAGED,
        {"status": Status.DAMAGED, "cause": "token_damaged"},
        "The stored token cannot be read with the present key.",
    ),
]


@pytest.mark.parametrize(("state", "fields", "sentence"), EXAMPLES)
def test_each_state_has_its_sentence(state: State, fields: dict[str, Any], sentence: str) -> None:
    story = tell(make(**fields), NOW)
    assert (story.state, story.sentence) == (state, sentence)


def test_the_examples_cover_all_states() -> None:
    assert {state for state, _fields, _sentence in EXAMPLES} == set(State) == set(LOOKS)


def test_no_two_states_look_alike_without_colour() -> None:
    shapes = [(look.icon, look.label) for look in LOOKS.values()]
    assert len({icon for icon, _ in shapes}) == len({label for _, label in shapes}) == len(State)


def test_red_is_only_what_someone_must_act_on() -> None:
    red = {state for state, look in LOOKS.items() if look.tone is Tone.RED}
    assert red == {State.NEEDS_RECONNECT, State.DAMAGED, State.EXPIRED}


def test_what_only_a_person_can_mend_offers_the_reconnect_link() -> None:
    assert tell(make(status=Status.REFUSED, cause="refused"), NOW).action is Action.RECONNECT
    assert tell(make(), NOW).action is Action.REFRESH


def test_what_staff_switched_off_looks_so_and_offers_to_switch_it_on() -> None:
    story = tell(make(status=Status.DEACTIVATED), NOW)
    assert story.look.label == "Switched off" and story.action is Action.SWITCH_ON


@pytest.mark.parametrize(("state", "fields", "sentence"), EXAMPLES)
def test_no_sentence_uses_protocol_terms(
    state: State, fields: dict[str, Any], sentence: str
) -> None:
    story = tell(make(**fields), NOW)
    said = f"{story.sentence} {story.effect} {story.who}".lower()
    assert not any(term in said for term in ("oauth", "grant", "401", "lease"))
