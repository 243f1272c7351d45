"""The product's accounts before and after: who asks for them, and whether each token is there."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import requests

from bench.programs import until
from bench.soak.visitors import Visitors
from bench.stage import Sandbox


@dataclass(frozen=True)
class Found:
    """What is there in the end. Shapes: `states` accounts by state; `renewals` by way and outcome;
    `spent_twice` uses of refresh tokens that no lost answer explains."""

    installs: int
    states: dict[str, int]
    renewals: dict[str, int]
    repeats: int
    cut_off: int
    spent_twice: int


def visitors(url: str, highlevel_url: str) -> Visitors:
    """Back ends with a key for everything, and browsers of an owner."""
    from django.conf import settings
    from django.test import Client

    from access.keys import create_api_key
    from access.models import Scope, User
    from integrations.models import LOCATION, GoHighLevelIntegration

    _key, text = create_api_key("soak", scopes=Scope.values)
    client: Any = Client()
    client.force_login(User.objects.create_superuser("soak", password=None))
    name = settings.SESSION_COOKIE_NAME
    places = GoHighLevelIntegration.objects.filter(user_type=LOCATION)
    return Visitors(
        url=url,
        key=text,
        session={name: client.cookies[name].value},
        installs={str(pk): resource for pk, resource in places.values_list("pk", "resource_id")},
        highlevel_url=highlevel_url,
    )


def settle(url: str, key: str, at_most_s: float) -> float:
    """Renew every account once more and wait for it; return how many seconds that took.

    An account whose refresh token is lost cannot do that, and is never quiet. Errors: TimeoutError
    when the renewal does not come to its end.
    """
    from django.db import connection

    connection.close()  # ours did not live through the crashes
    start = time.monotonic()
    headers = {"Authorization": f"Bearer {key}"}
    with suppress(TimeoutError):
        until("no account is in trouble", _is_quiet, at_most_s)
    answer = requests.post(
        f"{url}/app/bulk-refresh/", json={"force": True}, headers=headers, timeout=60
    )
    answer.raise_for_status()
    job = f"{url}/app/jobs/{answer.json()['job']}/"
    until(
        "all are renewed once more",
        lambda: bool(requests.get(job, headers=headers, timeout=60).json()["finished"]),
        at_most_s,
    )
    return time.monotonic() - start


def look(sandbox: Sandbox) -> Found:
    from django.utils import timezone

    from integrations.highlevel import ServerError, Unknown
    from integrations.models import GoHighLevelIntegration, RefreshAttempt

    attempts = list(
        RefreshAttempt.objects.values_list(
            "integration__resource_id", "way", "outcome", "cause", "repeats"
        ).iterator()
    )
    unsettled = (Unknown.cause, ServerError.cause)
    explained: Counter[str] = Counter()
    for resource_id, _way, outcome, cause, repeats in attempts:
        is_unsettled = outcome == RefreshAttempt.CUT_OFF or cause in unsettled
        explained[resource_id] += repeats + is_unsettled
    states = GoHighLevelIntegration.objects.count_by_state(timezone.now())
    return Found(
        installs=GoHighLevelIntegration.objects.count(),
        states={state.value: number for state, number in states.items() if number},
        renewals=dict(Counter(f"{way} {outcome}" for _id, way, outcome, *_rest in attempts)),
        repeats=sum(repeats for *_rest, repeats in attempts),
        cut_off=sum(outcome == RefreshAttempt.CUT_OFF for _id, _way, outcome, *_rest in attempts),
        spent_twice=(_further_uses(sandbox) - explained).total(),
    )


def _further_uses(sandbox: Sandbox) -> Counter[str]:
    """How often the refresh tokens of each place were used beyond the first time. The sandbox
    tells of the thousand most used."""
    answer = requests.get(f"{sandbox.url}/_sandbox/tokens", timeout=60).json()
    uses: Counter[str] = Counter()
    for token in answer["tokens"]:
        uses[token["resource_id"]] += max(0, token["uses"] - 1)
    return uses


def _is_quiet() -> bool:
    """Whether no renewal is under way, failing or cut off."""
    from integrations.models import GoHighLevelIntegration

    installs = GoHighLevelIntegration.objects.all()
    return not (
        installs.filter(failures__gt=0).exists() or installs.filter(sent_at__isnull=False).exists()
    )
