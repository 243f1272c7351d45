from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from access.models import User
from access.roles import Role
from integrations import snapshots, tasks
from integrations.health import Status
from integrations.models import GoHighLevelIntegration, HealthDay

NOON = datetime(2026, 5, 3, 12, 0, tzinfo=UTC)


def test_each_tick_keeps_the_numbers_of_its_moment(make_install: Any) -> None:
    make_install()
    make_install(status=Status.PAUSED)
    tasks.scheduled_tick()
    assert HealthDay.objects.get().counts == {"healthy": 1, "paused": 1}


def test_a_day_adds_up_its_looks(make_install: Any) -> None:
    make_install(expires_at=NOON + timedelta(days=3))
    snapshots.record(NOON)
    make_install(expires_at=NOON + timedelta(days=3))
    snapshots.record(NOON + timedelta(minutes=1))
    snapshots.record(NOON + timedelta(days=1))
    first, second = HealthDay.objects.order_by("day")
    assert (first.looks, first.sums) == (2, {"healthy": 3})
    assert (second.looks, second.sums) == (1, {"healthy": 2})


def test_a_look_that_took_long_is_followed_by_a_rest(make_install: Any) -> None:
    snapshots.record(NOON)
    HealthDay.objects.update(took_ms=10_000)
    snapshots.record(NOON + timedelta(minutes=1))
    assert HealthDay.objects.get().looks == 1
    snapshots.record(NOON + timedelta(minutes=6))
    assert HealthDay.objects.get().looks == 2


def test_few_accounts_are_counted_for_each_page(make_install: Any, staff: User) -> None:
    snapshots.record(NOON)
    make_install(expires_at=NOON + timedelta(days=3))
    assert snapshots.current(staff, NOON).total == 1


def test_of_many_accounts_the_last_ticks_numbers_are_shown(
    make_install: Any, staff: User, make_person: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(snapshots, "LIVE_UP_TO", 0)
    make_install(expires_at=NOON + timedelta(hours=5), renew_at=NOON + timedelta(hours=3))
    snapshots.record(NOON)
    make_install(company_id="agency-2", expires_at=NOON + timedelta(days=3))
    seen = snapshots.current(staff, NOON + timedelta(seconds=40))
    assert (seen.total, seen.taken_at) == (1, NOON)
    assert seen.due == {NOON + timedelta(hours=3): 1}
    assert seen.ends == {NOON + timedelta(hours=5): 1}
    assert seen.first_end == seen.last_end == NOON + timedelta(hours=5)
    limited = make_person("kim", Role.VIEWER, agencies=["agency-2"])
    assert snapshots.current(limited, NOON).total == 1


def test_of_many_the_unwell_are_of_this_moment(
    make_install: Any, staff: User, make_person: Any, monkeypatch: Any
) -> None:
    """The clock alone ends a token, and with a dead worker no tick would see it."""
    monkeypatch.setattr(snapshots, "LIVE_UP_TO", 2)
    make_install(expires_at=NOON + timedelta(hours=5))
    make_install(expires_at=NOON + timedelta(days=3))
    make_install(status=Status.UNINSTALLED)
    limited = make_person("kim", Role.VIEWER, agencies=["agency-1"])
    snapshots.record(NOON)
    snapshots.current(limited, NOON)
    make_install(status=Status.REFUSED)
    for person in (staff, limited):
        seen = snapshots.current(person, NOON + timedelta(hours=6))
        assert seen.counts == {"expired": 1, "needs_reconnect": 1, "healthy": 0, "uninstalled": 1}
        assert snapshots.counts(person, NOON + timedelta(hours=6)) == seen.counts
    counts = snapshots.counts_of_agency("agency-1", NOON + timedelta(hours=6))
    assert counts["expired"] == 1


def test_of_very_many_unwell_the_last_look_has_to_do(
    make_install: Any, staff: User, monkeypatch: Any
) -> None:
    monkeypatch.setattr(snapshots, "LIVE_UP_TO", 2)
    for _ in range(3):
        make_install(failures=1, expires_at=NOON + timedelta(days=3))
    snapshots.record(NOON)
    GoHighLevelIntegration.objects.update(failures=0)
    assert snapshots.current(staff, NOON).counts == {"retrying": 3}


def test_a_look_sorts_renewals_and_ends_by_hour(make_install: Any) -> None:
    for hours in (-30, 0.5, 1.2, 1.9, 24.5, 26):
        make_install(
            renew_at=NOON + timedelta(hours=hours), expires_at=NOON + timedelta(hours=hours)
        )
    seen = snapshots.take(GoHighLevelIntegration.objects.all(), NOON)
    in_hours = {0: 2, 1: 2, 24: 1}
    assert seen.due == {NOON + timedelta(hours=hour): n for hour, n in in_hours.items()}
    assert seen.ends == seen.due | {NOON: 1}
    assert seen.first_end == NOON + timedelta(minutes=30)
    assert seen.last_end == NOON + timedelta(hours=26)


def test_a_failing_renewal_in_flight_counts_as_recovering(make_install: Any) -> None:
    make_install(requested_at=NOON, failures=2)
    make_install(requested_at=NOON)
    rows = GoHighLevelIntegration.objects.all()
    assert snapshots.count(rows, NOON) == {"recovering": 1, "refreshing": 1}
