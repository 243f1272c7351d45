"""What staff read about an install: its state's look, and what happened in one or two sentences.

Pure: the install is only read, no query is made, `now` is passed in. Words of causes come from
integrations.causes; here they are put beside the times that only the row knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from dashboard.times import clock, day, relative, span
from integrations.causes import WhoActs
from integrations.health import State, Status
from integrations.models import UNFINISHED, GoHighLevelIntegration


def accounts(n: int) -> str:
    return "1 account" if n == 1 else f"{n:,} accounts"


class Tone(StrEnum):
    """Red: someone must act now. Amber: watching. Grey: off or unknown. Green is quiet."""

    RED = "red"
    AMBER = "amber"
    GREEN = "green"
    BLUE = "blue"
    GREY = "grey"


class Action(StrEnum):
    """The one button of an install."""

    REFRESH = "refresh"
    RECONNECT = "reconnect"
    SWITCH_ON = "switch_on"


@dataclass(frozen=True)
class Look:
    """How a state shows: never by its colour alone. `icon` is a symbol of the icon sprite."""

    label: str
    icon: str
    tone: Tone


LOOKS: Mapping[State, Look] = {
    State.HEALTHY: Look("Healthy", "circle-check", Tone.GREEN),
    State.REFRESHING: Look("Refreshing", "refresh", Tone.BLUE),
    State.RETRYING: Look("Retrying", "history", Tone.AMBER),
    State.EXPIRING: Look("Expiring", "hourglass-high", Tone.AMBER),
    State.EXPIRED: Look("Expired", "hourglass-empty", Tone.RED),
    State.NEEDS_RECONNECT: Look("Needs reconnect", "alert-octagon", Tone.RED),
    State.PAUSED: Look("Paused by HighLevel", "player-pause", Tone.GREY),
    State.WAITING: Look("Waiting for install", "circle-dotted", Tone.GREY),
    State.UNINSTALLED: Look("Uninstalled", "circle-minus", Tone.GREY),
    State.DAMAGED: Look("Token damaged", "shield-x", Tone.RED),
}

# It is one of the uninstalled to those who ask for states, but nobody removed it.
SWITCHED_OFF = Look("Switched off", "power", Tone.GREY)

_WHO = {
    WhoActs.NOBODY: "nobody for now",
    WhoActs.YOU: "you",
    WhoActs.CLIENT: "the client, or you for them",
    WhoActs.HIGHLEVEL: "HighLevel",
    WhoActs.OPERATOR: "whoever runs WhatReach",
}
_WHO_BY_STATE = {
    State.EXPIRED: "whoever runs WhatReach",
    State.EXPIRING: "nobody yet; keep an eye on it",
    State.PAUSED: "the agency's owner, in HighLevel",
}
_ACTIONS = {
    State.NEEDS_RECONNECT: Action.RECONNECT,
    State.DAMAGED: Action.RECONNECT,
    State.UNINSTALLED: Action.RECONNECT,
}


@dataclass(frozen=True)
class Story:
    """One install in words. `since` is when its present trouble began, None without trouble."""

    state: State
    look: Look
    sentence: str
    effect: str
    who: str
    action: Action
    since: datetime | None


def tell(install: GoHighLevelIntegration, now: datetime) -> Story:
    """Return what to say about an install at `now`."""
    state = install.state(now)
    cause = install.cause_info
    return Story(
        state=state,
        look=SWITCHED_OFF if install.status == Status.DEACTIVATED else LOOKS[state],
        sentence=_SENTENCES[state](install, now),
        effect=_effect(install, state, now),
        who=_WHO_BY_STATE.get(state) or _WHO[cause.who_acts if cause else WhoActs.NOBODY],
        action=_action(install, state),
        since=_since(install, state),
    )


def _action(install: GoHighLevelIntegration, state: State) -> Action:
    if install.status == Status.DEACTIVATED:
        return Action.SWITCH_ON
    if state is State.WAITING and install.cause == UNFINISHED:
        return Action.RECONNECT
    return _ACTIONS.get(state, Action.REFRESH)


def _since(install: GoHighLevelIntegration, state: State) -> datetime | None:
    if state is State.HEALTHY:
        return None
    if state is State.EXPIRED and install.expires_at is not None:
        return install.expires_at
    return install.cause_since


def _effect(install: GoHighLevelIntegration, state: State, now: datetime) -> str:
    if state is State.EXPIRED:
        return "Automations that use it stand still until a renewal works."
    if state in (State.EXPIRING, State.RETRYING):
        return f"The current token works{_until_its_end(install, now)}; we keep trying."
    cause = install.cause_info
    return cause.effect if cause else ""


# --- One sentence for each state ---


def _healthy(install: GoHighLevelIntegration, now: datetime) -> str:
    if install.renew_at is None:
        return "Works."
    if install.renew_at <= now:
        return "Works. Its renewal is due now."
    return f"Works. Renews itself {relative(install.renew_at, now)}."


def _refreshing(install: GoHighLevelIntegration, now: datetime) -> str:
    return "Getting a new token…"


def _retrying(install: GoHighLevelIntegration, now: datetime) -> str:
    return f"{_what_failed(install, now)} {_next_try(install, now)}"


def _expiring(install: GoHighLevelIntegration, now: datetime) -> str:
    ends = f"The token ends {_ends_in(install, now)}"
    if not install.failures:
        return f"{ends}; its renewal is due."
    return f"{ends} and renewal has not worked yet. {_what_failed(install, now)}"


def _expired(install: GoHighLevelIntegration, now: datetime) -> str:
    ended = "There is no token yet"
    if install.expires_at is not None:
        ended = f"The token ended {relative(install.expires_at, now)}"
    if not install.failures:
        return f"{ended}; its renewal is due."
    return f"{ended}; still trying. {_what_failed(install, now)}"


def _needs_reconnect(install: GoHighLevelIntegration, now: datetime) -> str:
    cause = install.cause_info
    what = cause.sentence if cause else "HighLevel no longer accepts our access."
    return f"{what} Send the client the reconnect link."


def _paused(install: GoHighLevelIntegration, now: datetime) -> str:
    return "This sub-account is not active in HighLevel. We resume by ourselves."


def _waiting(install: GoHighLevelIntegration, now: datetime) -> str:
    begun = install.installed_at or install.created_at
    what = "Sign-in finished; waiting for HighLevel"
    if install.cause_info is not None:
        what = install.cause_info.sentence.rstrip(".")
    return f"{what} ({span(now - begun)})."


def _uninstalled(install: GoHighLevelIntegration, now: datetime) -> str:
    when = f" on {day(install.cause_since)}" if install.cause_since else ""
    if install.status == Status.DEACTIVATED:
        return f"Switched off here{when} by your team."
    said = _HOW_IT_ENDED.get(install.cause, "Removed{when} by the client.")
    return said.format(when=when)


_HOW_IT_ENDED = {
    "agency_uninstalled": "Removed{when} by the agency.",
    "disconnected": "Disconnected{when} by your team, here and in HighLevel.",
    "ended_here": "Ended{when} by your team, here only.",
    "not_listed": "Marked as removed{when}: HighLevel no longer listed it.",
}


def _damaged(install: GoHighLevelIntegration, now: datetime) -> str:
    return "The stored token cannot be read with the present key."


_SENTENCES = {
    State.HEALTHY: _healthy,
    State.REFRESHING: _refreshing,
    State.RETRYING: _retrying,
    State.EXPIRING: _expiring,
    State.EXPIRED: _expired,
    State.NEEDS_RECONNECT: _needs_reconnect,
    State.PAUSED: _paused,
    State.WAITING: _waiting,
    State.UNINSTALLED: _uninstalled,
    State.DAMAGED: _damaged,
}


def _what_failed(install: GoHighLevelIntegration, now: datetime) -> str:
    cause = install.cause_info
    what = cause.title if cause else "The last renewal did not work"
    at = f" at {clock(install.tried_at, now)}" if install.tried_at else ""
    return f"{what}{at}."


def _next_try(install: GoHighLevelIntegration, now: datetime) -> str:
    if install.renew_at is None:
        return "No next try is planned."
    if install.renew_at <= now:
        return "The next try is due now."
    return f"Next try {relative(install.renew_at, now)}."


def _ends_in(install: GoHighLevelIntegration, now: datetime) -> str:
    return relative(install.expires_at, now) if install.expires_at else "soon"


def _until_its_end(install: GoHighLevelIntegration, now: datetime) -> str:
    return f" until {clock(install.expires_at, now)}" if install.expires_at else ""
