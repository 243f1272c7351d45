from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from django.db.models import F

from integrations import snapshots
from integrations.causes import CAUSES
from integrations.health import WORST_FIRST, Facts, State, Status, state_of
from integrations.models import LOCATION, GoHighLevelIntegration
from integrations.states import ended, unwell, well

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
MARGIN = timedelta(hours=1)
EXPIRES = [None, -timedelta(minutes=1), timedelta(0), timedelta(minutes=30), timedelta(hours=20)]
LEASES = [None, -timedelta(seconds=1), timedelta(seconds=30)]
REQUESTS = [None, -timedelta(minutes=10), -timedelta(seconds=5)]


def every_input():
    for status, expires, failures, lease, request in itertools.product(
        Status, EXPIRES, (0, 3), LEASES, REQUESTS
    ):
        yield Facts(
            status=status,
            expires_at=None if expires is None else NOW + expires,
            failures=failures,
            lease_until=None if lease is None else NOW + lease,
            requested_at=None if request is None else NOW + request,
        )


def active(**fields):
    return Facts(**{"status": Status.ACTIVE, "expires_at": NOW + timedelta(hours=20)} | fields)


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        (active(), State.HEALTHY),
        (active(failures=1), State.RETRYING),
        (active(expires_at=NOW + timedelta(minutes=25)), State.EXPIRING),
        (active(expires_at=NOW + timedelta(minutes=25), failures=2), State.EXPIRING),
        (active(expires_at=NOW), State.EXPIRED),
        (active(expires_at=None), State.EXPIRED),
        (active(lease_until=NOW + timedelta(seconds=1)), State.REFRESHING),
        (active(requested_at=NOW - timedelta(seconds=1)), State.REFRESHING),
        (active(requested_at=NOW - timedelta(seconds=91)), State.HEALTHY),
        (active(status=Status.PAUSED), State.PAUSED),
        (active(status=Status.REFUSED), State.NEEDS_RECONNECT),
        (active(status=Status.DAMAGED), State.DAMAGED),
        (Facts(status=Status.WAITING), State.WAITING),
        (active(status=Status.UNINSTALLED), State.UNINSTALLED),
        (active(status=Status.DEACTIVATED), State.UNINSTALLED),
        (
            active(status=Status.UNINSTALLED, lease_until=NOW + timedelta(seconds=9)),
            State.UNINSTALLED,
        ),
    ],
)
def test_each_state_comes_from_its_facts(facts, state):
    assert state_of(facts, NOW, MARGIN) is state


def test_every_input_has_a_state_and_every_state_an_input():
    assert {state_of(facts, NOW, MARGIN) for facts in every_input()} == set(State)
    assert set(WORST_FIRST) == set(State)


@pytest.fixture
def rows_of_every_input(db, settings):
    settings.REFRESH_MARGIN = MARGIN
    return GoHighLevelIntegration.objects.bulk_create(
        GoHighLevelIntegration(
            user_type=LOCATION,
            resource_id=str(n),
            status=facts.status,
            expires_at=facts.expires_at,
            failures=facts.failures,
            lease_until=facts.lease_until,
            requested_at=facts.requested_at,
        )
        for n, facts in enumerate(every_input())
    )


def test_the_database_says_the_same_as_the_function_for_every_input(rows_of_every_input):
    stated = GoHighLevelIntegration.objects.with_state(NOW)
    for row in stated.annotate(state_now=F("state_now"), severity=F("severity")):
        assert row.state_now == row.state(NOW), row.facts
        assert row.severity == WORST_FIRST.index(row.state(NOW))


def test_each_install_is_either_unwell_or_well_or_ended(rows_of_every_input):
    """So pages need not work out the state of each of many to find the few, nor to count them."""
    parts = [unwell(NOW), well(NOW), ended()]
    found = [list(GoHighLevelIntegration.objects.filter(part)) for part in parts]
    assert sorted(row.pk for part in found for row in part) == sorted(
        row.pk for row in rows_of_every_input
    )
    of_unwell, of_well, of_ended = ({row.state(NOW) for row in part} for part in found)
    assert of_well == {State.HEALTHY, State.REFRESHING}
    assert of_ended == {State.UNINSTALLED}
    assert of_unwell == set(State) - {State.HEALTHY, State.UNINSTALLED}


def test_a_look_counts_as_one_that_works_out_each_state(rows_of_every_input):
    rows = GoHighLevelIntegration.objects.all()
    exact, taken = snapshots.count(rows, NOW), snapshots.take(rows, NOW).counts
    # Those that are being renewed without need are among the healthy.
    busy = rows.with_state(NOW).filter(well(NOW), state_now=State.REFRESHING).count()
    assert busy
    exact["healthy"] += busy
    exact["refreshing"] -= busy
    assert taken == exact


def test_every_cause_is_complete():
    for cause in CAUSES.values():
        assert cause.title and cause.sentence.endswith((".", "…")) and cause.effect.endswith(".")
