"""One row that cannot be read, or breaks what is done with it, holds up no other one."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest
from django.db import OperationalError
from django.utils import timezone

from conftest import REDIRECT_URI
from integrations import bulk, install, reconcile, scopes, tasks, verify
from integrations.health import Status
from integrations.models import LOCATION, Comparison, GoHighLevelIntegration

pytestmark = pytest.mark.django_db
ROWS = GoHighLevelIntegration.objects


@pytest.fixture(autouse=True)
def no_log(caplog):
    """Faults are logged with their traceback, which is not what these tests show."""
    caplog.set_level(logging.CRITICAL)


def lose_key_of(row):
    """Have the tokens sealed with a key that nobody has any more."""
    lost = b"\x04lost" + bytes(40)
    ROWS.filter(pk=row.pk).update(access_token_encrypted=lost, refresh_token_encrypted=lost)


def due(*rows, minutes=1, column="renew_at"):
    for row in rows:
        ROWS.filter(pk=row.pk).update(**{column: timezone.now() - timedelta(minutes=minutes)})


def generation(row):
    row.refresh_from_db()
    return row.generation


@pytest.fixture
def bad_and_good(install_location):
    """Two installs that have all they need; the first comes before the other everywhere."""
    rows = sorted((install_location() for _ in range(2)), key=lambda row: row.pk)
    tasks.tick()
    return rows


@pytest.fixture
def break_on(monkeypatch):
    """Have a function raise what nobody foresaw when it meets this install."""

    def break_it(module, name, bad):
        works = getattr(module, name)

        def broken(first, *args, **kwargs):
            if getattr(first, "pk", first) == bad.pk:
                raise LookupError("nobody foresaw this")
            return works(first, *args, **kwargs)

        monkeypatch.setattr(module, name, broken)

    return break_it


def test_an_install_whose_key_is_lost_is_left_unfinished_and_others_are_renewed(
    install_agency, install_location
):
    agency, fine = install_agency(), install_location()
    lose_key_of(agency)
    due(fine)
    assert tasks.tick()["renewed"] == 1
    assert generation(fine) == 2
    agency.refresh_from_db()
    assert agency.finish_at > timezone.now()


def test_an_install_is_finished_when_its_key_is_back(install_agency):
    agency = install_agency(locations=2)
    sealed = agency.access_token_encrypted
    lose_key_of(agency)
    tasks.tick()
    assert ROWS.filter(user_type=LOCATION).count() == 0
    ROWS.filter(pk=agency.pk).update(access_token_encrypted=sealed)
    due(agency, column="finish_at")
    tasks.tick()
    agency.refresh_from_db()
    assert (ROWS.filter(user_type=LOCATION).count(), agency.finish_at) == (2, None)


@pytest.mark.parametrize(
    ("column", "module", "name"),
    [
        ("finish_at", install, "finish_install"),
        ("renew_at", tasks, "refresh_integration"),
        ("verify_at", verify, "verify"),
    ],
)
def test_a_tick_goes_on_after_a_fault_that_nobody_foresaw(
    bad_and_good, break_on, column, module, name
):
    bad, good = bad_and_good
    due(bad, minutes=9, column=column)
    due(good, column=column)
    before = ROWS.values_list(column, flat=True).get(pk=good.pk)
    break_on(module, name, bad)
    tasks.tick()
    assert ROWS.values_list(column, flat=True).get(pk=good.pk) != before


def test_when_the_database_is_away_a_tick_ends_at_once(bad_and_good, monkeypatch):
    due(*bad_and_good)
    tried = []

    def away(pk, **_):
        tried.append(pk)
        raise OperationalError

    monkeypatch.setattr(tasks, "refresh_integration", away)
    with pytest.raises(OperationalError):
        tasks.tick()
    assert len(tried) == 1


def test_a_sub_account_of_an_unreadable_agency_holds_up_no_other_ones_first_token(install_agency):
    lost, fine = install_agency(locations=1), install_agency(locations=1)
    for agency in (lost, fine):
        install.finish_install(agency.pk)
    lose_key_of(lost)
    tasks.tick()
    subs = ROWS.filter(user_type=LOCATION)
    assert subs.get(company_id=lost.resource_id).status == Status.WAITING
    assert subs.get(company_id=fine.resource_id).status == Status.ACTIVE


def test_one_item_of_a_job_that_breaks_has_failed_and_the_others_are_renewed(
    bad_and_good, break_on
):
    bad, good = bad_and_good
    job = bulk.create_job([bad.pk, good.pk], caller="test")
    break_on(bulk, "refresh_integration", bad)
    assert bulk.run_batch(job, [bad.pk, good.pk])
    assert dict(job.items.values_list("integration", "outcome")) == {
        bad.pk: "failed",
        good.pk: "renewed",
    }


def test_one_sub_account_that_breaks_keeps_no_other_from_its_agencys_new_scopes(
    world, settings, install_agency, break_on
):
    agency = install_agency()
    tasks.tick()
    settings.GHL_SCOPES = "a"
    ROWS.filter(pk=agency.pk).update(scope="a")
    bad, good = ROWS.filter(user_type=LOCATION).order_by("pk")
    break_on(scopes, "refresh_integration", bad)
    assert scopes.catch_up(str(agency.pk), timezone.now().isoformat()) == 2
    assert generation(good) == 2


def test_an_unreadable_agency_ends_its_own_comparison_and_no_other(install_agency):
    lost, fine = install_agency(), install_agency()
    tasks.tick()
    lose_key_of(lost)
    reconcile.nightly()
    for comparison in Comparison.objects.all():
        reconcile.go_on(str(comparison.pk))
    assert dict(Comparison.objects.values_list("agency", "cause")) == {
        lost.pk: "token_damaged",
        fine.pk: "",
    }


def test_names_that_no_column_holds_are_cut_and_the_accounts_connected(world):
    endless = "Harbour Dental \0" * 30
    agency = world.create_agency(endless, locations=[endless])
    install.install_from_code(world.install(agency.id, redirect_uri=REDIRECT_URI))
    tasks.tick()
    tasks.tick()
    assert set(ROWS.values_list("status", flat=True)) == {Status.ACTIVE}
    assert set(ROWS.values_list("name", flat=True)) == {endless.replace("\0", "")[:200]}
