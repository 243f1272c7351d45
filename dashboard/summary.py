"""All installs in a few numbers and one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Q

from dashboard.sentences import Tone
from integrations import snapshots
from integrations.health import State, Status
from integrations.models import UNFINISHED, GoHighLevelIntegration, IntegrationQuerySet
from integrations.states import FEW, Expected, ended, refreshing, unwell

# What the count tiles and the list's filter call a group of states. Three bear the name of the
# state that they consist of.
NEEDS_YOU, RECOVERING = "needs_you", "recovering"
PAUSED, WORKING, OFF = State.PAUSED.value, State.HEALTHY.value, State.UNINSTALLED.value

_STATES: dict[str, list[str]] = {
    NEEDS_YOU: [State.NEEDS_RECONNECT, State.DAMAGED, State.EXPIRED],
    RECOVERING: [State.EXPIRING, State.RETRYING, State.WAITING],
    PAUSED: [State.PAUSED],
    WORKING: [State.HEALTHY],
    OFF: [State.UNINSTALLED],
}
GROUP_OF_STATE = {state: group for group, states in _STATES.items() for state in states}
# As snapshots count: a renewal in flight does not change what an account is.
_COUNTED: dict[str, list[str]] = {
    **_STATES,
    NEEDS_YOU: [*_STATES[NEEDS_YOU], snapshots.UNFINISHED],
    RECOVERING: [*_STATES[RECOVERING], snapshots.RECOVERING],
    WORKING: [*_STATES[WORKING], State.REFRESHING],
}


@dataclass(frozen=True)
class Tile:
    """One count that is also a link to the accounts it counts."""

    group: str
    label: str
    hint: str
    icon: str
    tone: Tone


TILES = [
    Tile(NEEDS_YOU, "Needs you", "Somebody has to act", "alert-octagon", Tone.RED),
    Tile(RECOVERING, "Recovering", "Being worked on by itself", "history", Tone.AMBER),
    Tile(PAUSED, "Paused", "Not active in HighLevel", "player-pause", Tone.GREY),
    Tile(WORKING, "Healthy", "Working, renewed by itself", "circle-check", Tone.GREEN),
    Tile(OFF, "Off", "Removed or switched off", "circle-minus", Tone.GREY),
]


def in_group(group: str) -> Q:
    """Return the condition of a group, for rows that carry `state_now`.

    A renewal in flight does not change what an account is: a healthy one stays healthy, one that
    was in trouble is recovering. An install that nobody finished waits for somebody.
    """
    condition = Q(state_now__in=_STATES[group])
    unfinished = Q(state_now=State.WAITING, cause=UNFINISHED)
    if group == NEEDS_YOU:
        condition |= unfinished
    if group == WORKING:
        condition |= Q(state_now=State.REFRESHING, failures=0)
    if group == RECOVERING:
        condition |= Q(state_now=State.REFRESHING, failures__gt=0)
        condition &= ~unfinished
    return condition


def narrowed(state: str, now: datetime) -> Q:
    """Return a wider condition than that of a state or group, in terms that indexes answer: the
    state itself is worked out row by row, which is too much for a million rows when a few are
    wanted."""
    return {
        NEEDS_YOU: unwell(now),
        RECOVERING: unwell(now),
        PAUSED: Q(Expected(FEW, status=Status.PAUSED)),
        OFF: ended(),
    }.get(GROUP_OF_STATE.get(state, state), Q())


@dataclass(frozen=True)
class Summary:
    """How many installs are in each group. `connecting`: how many of the recovering ones only
    wait for their first token, which is how an install begins, and no trouble."""

    counts: Mapping[str, int]
    connecting: int = 0

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def live(self) -> int:
        """How many there are to keep alive: all but those that ended."""
        return self.total - self.counts[OFF]

    @property
    def needs_you(self) -> int:
        return self.counts[NEEDS_YOU]

    @property
    def recovering(self) -> int:
        """How many were in order before, and are to be again."""
        return self.counts[RECOVERING] - self.connecting

    @property
    def percentage(self) -> int | None:
        """The healthy ones of those that are to work, rounded down; None when there are none."""
        due = self.live - self.counts[PAUSED] - self.connecting
        return self.counts[WORKING] * 100 // due if due else None

    @property
    def tone(self) -> Tone:
        if self.needs_you:
            return Tone.RED
        return Tone.AMBER if self.recovering else Tone.GREEN

    @property
    def bar(self) -> list[dict[str, object]]:
        """The groups side by side on a bar 1000 wide, the good first: {"tone", "x", "width"}. Its
        end stays empty for those that are being connected."""
        parts, x = [], 0
        for tile in reversed(TILES):
            n = self.recovering if tile.group == RECOVERING else self.counts[tile.group]
            if tile.group != OFF and n:
                # Even one of many must be seen.
                width = max(n * 1000 // self.live, 6)
                parts.append({"tone": tile.tone, "x": x, "width": width})
                x += width
        return parts

    @property
    def sentence(self) -> str:
        """The first thing that staff read."""
        if not self.live:
            return "No account is connected."
        rest = [_are(self.connecting, "being connected"), _are(self.counts[WORKING], "fine")]
        if self.needs_you:
            rest = [_are(self.recovering, "recovering"), *rest]
            return f"{_accounts(self.needs_you, 'needs', 'need')} you.{_joined(rest)}"
        if self.recovering:
            return f"{_accounts(self.recovering, 'is', 'are')} recovering.{_joined(rest)}"
        if paused := self.counts[PAUSED]:
            return f"{_accounts(paused, 'is', 'are')} paused by HighLevel.{_joined(rest)}"
        if self.connecting:
            return f"{_accounts(self.connecting, 'is', 'are')} being connected.{_joined(rest[1:])}"
        if self.live == 1:
            return "Your one account is connected."
        return f"All {self.live:,} accounts are connected."


def summarise(counts: Mapping[str, int]) -> Summary:
    """Add up the counts by state (integrations/snapshots.py) to those of the groups."""
    return Summary(
        {
            group: sum(counts.get(state, 0) for state in states)
            for group, states in _COUNTED.items()
        },
        connecting=counts.get(State.WAITING, 0),
    )


def worst_first(
    rows: IntegrationQuerySet, now: datetime, limit: int
) -> list[GoHighLevelIntegration]:
    """Return those that somebody should look at, the worst and oldest trouble first."""
    # Waiting alone is no trouble: it is how an install begins. A renewal in flight is looked at
    # when others have failed. In columns rather than by state, which is worked out once, to sort.
    busy = refreshing(now)
    idle_trouble = ~Q(status__in=(Status.PAUSED, Status.WAITING))
    idle_trouble |= Q(status=Status.WAITING, cause=UNFINISHED)
    watched = (busy & Q(failures__gt=0)) | (~busy & idle_trouble)
    # The annotation is made in a function of its own, where the types do not follow it.
    stated: Any = rows.filter(unwell(now)).with_state(now)
    return list(stated.filter(watched).order_by("severity", "cause_since", "pk")[:limit])


def _accounts(n: int, verb_one: str, verb_many: str) -> str:
    return f"1 account {verb_one}" if n == 1 else f"{n:,} accounts {verb_many}"


def _are(n: int, what: str) -> str:
    if not n:
        return ""
    return f"1 is {what}" if n == 1 else f"{n:,} are {what}"


def _joined(parts: list[str]) -> str:
    said = ", ".join(part for part in parts if part)
    return f" {said}." if said else ""
