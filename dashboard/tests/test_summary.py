from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from dashboard.summary import OFF, PAUSED, RECOVERING, WORKING, Summary, summarise, worst_first
from integrations import snapshots
from integrations.health import Status
from integrations.models import UNFINISHED, GoHighLevelIntegration


def summary(
    *,
    needs_you: int = 0,
    recovering: int = 0,
    connecting: int = 0,
    paused: int = 0,
    ok: int = 0,
    off: int = 0,
) -> Summary:
    counts = {"needs_you": needs_you, RECOVERING: recovering + connecting, PAUSED: paused}
    return Summary({**counts, WORKING: ok, OFF: off}, connecting)


@pytest.mark.parametrize(
    ("counted", "sentence"),
    [
        (summary(ok=42), "All 42 accounts are connected."),
        (summary(ok=1), "Your one account is connected."),
        (summary(needs_you=2, ok=40), "2 accounts need you. 40 are fine."),
        (summary(needs_you=1, recovering=3), "1 account needs you. 3 are recovering."),
        (summary(recovering=1, ok=1), "1 account is recovering. 1 is fine."),
        (summary(paused=2, ok=1200), "2 accounts are paused by HighLevel. 1,200 are fine."),
        (summary(connecting=1), "1 account is being connected."),
        (summary(connecting=2, ok=5), "2 accounts are being connected. 5 are fine."),
        (summary(recovering=1, connecting=2), "1 account is recovering. 2 are being connected."),
        (summary(off=3), "No account is connected."),
    ],
)
def test_one_sentence_says_how_all_is(counted: Summary, sentence: str) -> None:
    assert counted.sentence == sentence


def test_the_percentage_is_of_those_that_should_work() -> None:
    assert summary(needs_you=1, ok=199, paused=10, off=50).percentage == 99
    assert summary(off=2).percentage is None


def test_an_install_that_begins_is_no_trouble() -> None:
    begun = summary(connecting=1)
    assert (begun.tone, begun.percentage, begun.bar) == ("green", None, [])
    assert summary(connecting=1, recovering=1).tone == "amber"


def test_all_states_are_counted_in_one_query(
    make_install: Callable[..., GoHighLevelIntegration], django_assert_num_queries: Any
) -> None:
    now = timezone.now()
    make_install()
    make_install(requested_at=now)
    make_install(requested_at=now, failures=2)
    make_install(failures=1)
    make_install(expires_in=timedelta(minutes=-1))
    make_install(status=Status.REFUSED, cause="refused")
    make_install(status=Status.WAITING)
    make_install(status=Status.WAITING, cause=UNFINISHED)
    make_install(status=Status.WAITING, cause=UNFINISHED, requested_at=now)
    make_install(status=Status.PAUSED)
    make_install(status=Status.DEACTIVATED)
    with django_assert_num_queries(1):
        counts = snapshots.count(GoHighLevelIntegration.objects.all(), now)
    # The healthy one that is being renewed stays healthy; the failing one is recovering. An
    # install that nobody finished needs somebody.
    wanted = summary(needs_you=3, recovering=2, connecting=1, paused=1, ok=3, off=1)
    assert summarise(counts) == wanted
    assert sum(snapshots.by_state(counts).values()) == 11


def test_the_worst_and_oldest_trouble_comes_first(
    make_install: Callable[..., GoHighLevelIntegration],
) -> None:
    now = timezone.now()
    make_install(name="Fine")
    make_install(name="Retrying", failures=1)
    make_install(name="Waiting", status=Status.WAITING)
    make_install(name="Not finished", status=Status.WAITING, cause=UNFINISHED)
    make_install(name="Paused", status=Status.PAUSED)
    make_install(name="Refreshing", status=Status.REFUSED, requested_at=now)
    make_install(name="Trying again", failures=1, requested_at=now)
    make_install(name="New", status=Status.REFUSED, cause_since=now)
    make_install(name="Old", status=Status.REFUSED, cause_since=now - timedelta(days=1))
    rows = worst_first(GoHighLevelIntegration.objects.all(), now, limit=8)
    assert [row.name for row in rows] == [
        *("Old", "New", "Retrying", "Trying again", "Not finished")
    ]
