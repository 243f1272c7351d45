"""What is compared. Each case is one function that runs on one side, on a fresh sandbox."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from bench.sdk.processes import Program, Stage, js_sdk, python_sdk, until
from bench.sdk.sides import Place, Side, WhatReach

# 50 callers in 4 processes.
CALLERS = (13, 13, 12, 12)
RENEWALS = 3
# Three renewals are done with tokens that end at once: each call needs a new one.
BRIEF_S = 3


@dataclass(frozen=True)
class Race:
    """`most_uses` of one refresh token, `presented` in all; callers and processes served."""

    most_uses: int
    presented: int
    served: int
    a_day_later: int
    errors: Counter[str]


def race(side: Side, *, grace_s: int) -> Race:
    """50 callers in 4 processes need a token at the same moment, when theirs has ended. A day
    later each process needs one again, a minute after the one before."""
    side.sandbox.post("knobs", refresh_grace_seconds=grace_s)
    place = side.install_with_short_token(processes=len(CALLERS))
    outcomes = side.call(place, callers=CALLERS)
    uses = side.sandbox.uses(place.location_id)
    side.renew_a_day_later(place)
    later = [_a_minute_later(side, program, place) for program in side.programs]
    return Race(
        most_uses=max(uses),
        presented=sum(uses),
        served=outcomes.count("ok"),
        a_day_later=later.count("ok"),
        errors=Counter(outcome for outcome in outcomes + later if outcome != "ok"),
    )


def _a_minute_later(side: Side, program: Program, place: Place) -> str:
    side.sandbox.post("advance", seconds=60)
    return side.call_from(program, place)


def renewals(side: Side, *, casing: str) -> list[str]:
    """Three renewals in a row; no grace, as those of real life are a day apart."""
    side.sandbox.post("knobs", refresh_grace_seconds=0, token_casing=casing)
    place = side.install_with_short_token()
    side.life(place, BRIEF_S)
    outcomes = []
    for _ in range(RENEWALS):
        outcomes += side.call(place)
        time.sleep(BRIEF_S)
    return outcomes


def lost_answer(side: Side, *, grace_s: int, by_agency: bool) -> list[str]:
    """HighLevel renews, and its answer is lost. The call that met this, and the next one."""
    side.sandbox.post("knobs", refresh_grace_seconds=grace_s)
    place = side.install_with_short_token(by_agency=by_agency)
    side.sandbox.post(
        "faults",
        fault="drop_after_commit",
        route="/oauth/token",
        resource_id=place.location_id,
        times=1,
    )
    return side.call(place) + side.call(place)


@dataclass(frozen=True)
class Paused:
    """Two calls while paused and how often they presented the refresh token; then calls after the
    resume: at once, and after somebody asked for a renewal (None: there is no such request)."""

    while_paused: list[str]
    presented: int
    resumed: str
    asked_for: str | None
    tried_again: str


def paused(side: Side) -> Paused:
    place = side.install_with_short_token()
    side.sandbox.post("pause", location_id=place.location_id)
    while_paused = side.call(place) + side.call(place)
    presented = sum(side.sandbox.uses(place.location_id))
    side.sandbox.post("resume", location_id=place.location_id)
    (resumed,) = side.call(place)
    if not isinstance(side, WhatReach):
        return Paused(while_paused, presented, resumed, None, "with the next call")
    next_try = datetime.fromisoformat(side.status(place)["next_renewal_at"])
    minutes = round((next_try.timestamp() - time.time()) / 60)
    side.refresh(place)
    (asked_for,) = side.call(place)
    return Paused(while_paused, presented, resumed, asked_for, f"by itself {minutes} min later")


def agency_uninstalls(side: Side) -> tuple[str, list[str], int]:
    """The agency removes the app, for itself and its sub-accounts, and the event arrives. What is
    left, what two calls get then, and how often they presented a refresh token."""
    place = side.install_with_short_token(by_agency=True)
    before = side.call(place)
    if before != ["ok"]:
        raise RuntimeError(f"{side.name} could not read the sub-account before: {before}")
    side.sandbox.post("knobs", webhook_url=side.webhook_url())
    # The INSTALL events have waited for an address.
    until("INSTALL is delivered", side.sandbox.has_sent_all)
    presented = sum(side.sandbox.uses(place.location_id))
    side.sandbox.post("uninstall", company_id=place.company_id)
    left = side.after_the_event(place)
    calls = side.call(place) + side.call(place)
    return left, calls, sum(side.sandbox.uses(place.location_id)) - presented


def fed_by_whatreach(stage: Stage) -> dict[str, str]:
    """Both SDKs read a sub-account with an access token that WhatReach gave them."""
    side = WhatReach(stage)
    place = side.install_with_short_token()
    outcomes = {}
    for name, make in (("SDK for Python", python_sdk), ("SDK for JavaScript", js_sdk)):
        command, environ = make(stage.sdks)
        program = stage.program(command, SDK_STORE="", **environ)
        token = side.token(place)
        answer = program.order("call_with", token=token, location_id=place.location_id)
        outcomes[name] = answer["outcomes"][0]
    return outcomes
