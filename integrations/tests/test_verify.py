from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from integrations import pacing, tasks
from integrations.health import Status
from integrations.install import install_from_code
from integrations.models import GoHighLevelIntegration, RefreshAttempt

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


@pytest.fixture
def row(world, install_location):
    row = install_location()
    tasks.tick()
    return row


def check(row, **columns):
    """Have the time for a check come, and let the tick do it."""
    now = timezone.now()
    GoHighLevelIntegration.objects.filter(pk=row.pk).update(
        **{"verify_at": now, "verified_at": now - 9 * HOUR} | columns
    )
    tasks.tick()
    row.refresh_from_db()
    return row


def is_verified(row):
    return timezone.now() - row.verified_at < HOUR


def test_a_tick_asks_whether_a_token_works_and_then_not_again_for_hours(row, world):
    assert is_verified(check(row))
    assert row.verify_at - timezone.now() > 4 * HOUR
    asked = len(world.calls())
    tasks.tick()
    assert len(world.calls()) == asked


def test_an_agency_is_asked_about_with_its_own_token(world, install_agency):
    agency = install_agency(locations=0)
    tasks.tick()
    assert is_verified(check(agency))


@pytest.mark.parametrize("text", ["invalid_token", "invalid_jwt"])
def test_a_token_that_highlevel_calls_dead_is_renewed(row, world, text):
    world.set_knobs(expired_access_error=text)
    world.advance(25 * 3600)
    assert is_verified(check(row))
    assert row.generation == 2
    assert RefreshAttempt.objects.get().trigger == "rejected"


def test_a_missing_scope_is_named_and_spends_no_token(world, db):
    agency = world.create_agency(locations=1)
    location = world.locations(agency.id)[0]
    code = world.install(
        agency.id,
        [location.id],
        bulk=False,
        redirect_uri="http://localhost/app/callback/",
        scope="oauth.readonly",
    )
    row = check(install_from_code(code))
    assert (row.verify_cause, row.generation) == ("scope_missing", 1)
    assert not is_verified(row)


def test_a_fault_of_highlevels_leaves_what_is_known(row, world):
    world.fault("503", route="/locations/", times=None)
    assert not is_verified(check(row))
    assert (row.verify_cause, row.status) == ("server_error", Status.ACTIVE)
    world.clear_faults()
    check(row)
    assert row.verify_cause == ""


def test_an_ended_install_is_not_asked_about(row, world):
    asked = len(world.calls())
    assert check(row, status=Status.UNINSTALLED, renew_at=None).verify_at is None
    assert len(world.calls()) == asked


def test_a_setting_switches_it_off(row, world, settings):
    settings.VERIFY_EVERY = timedelta()
    asked = len(world.calls())
    assert check(row).verify_at is None
    assert len(world.calls()) == asked


def test_checks_are_spread_and_take_a_small_part_of_what_highlevel_allows(settings):
    now = timezone.now()
    waits = [pacing.next_check(now, settings.VERIFY_EVERY) - now for _ in range(200)]
    assert max(waits) - min(waits) > HOUR
    assert timedelta(days=1) / min(waits) <= 200_000 / 100
