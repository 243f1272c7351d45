"""How installs end and what stays of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_q.models import OrmQ

from integrations import ending, install
from integrations.health import State, Status
from integrations.highlevel import HighLevelError, OurFault
from integrations.models import COMPANY, LOCATION, GoHighLevelIntegration, StateChange
from integrations.refresh import refresh_integration
from integrations.tasks import clean_up, tick, watch_life

pytestmark = pytest.mark.django_db
ROWS = GoHighLevelIntegration.objects


def reload(row):
    row.refresh_from_db()
    return row


def connect_all(agency):
    install.finish_install(agency.pk)
    tick()
    return list(ROWS.filter(user_type=LOCATION))


# --- Disconnect ---


def test_disconnecting_a_sub_account_removes_the_app_at_highlevel_and_ends_it_here(
    world, install_location
):
    row = install_location()
    assert ending.disconnect(row, caller="sam") == 1
    assert world.people.install(row.company_id, row.resource_id) is None
    row = reload(row)
    assert (row.status, row.cause, row.renew_at) == (Status.UNINSTALLED, "disconnected", None)
    change = StateChange.objects.latest("id")
    assert (change.trigger, change.caller) == ("staff", "sam")


def test_disconnecting_one_sub_account_of_an_agency_spares_the_others(world, install_agency):
    agency = install_agency(locations=2)
    first, second = connect_all(agency)
    ending.disconnect(first, caller="sam")
    assert world.people.install(agency.resource_id, first.resource_id) is None
    assert world.people.install(agency.resource_id, second.resource_id) is not None
    assert reload(second).status == reload(agency).status == Status.ACTIVE


def test_disconnecting_an_agency_ends_all_below_it(world, install_agency):
    agency = install_agency(locations=2)
    connect_all(agency)
    assert ending.disconnect(agency, caller="sam") == 3
    assert set(ROWS.values_list("status", flat=True)) == {Status.UNINSTALLED}
    assert world.people.installs(agency.resource_id) == []


def test_a_dead_access_token_is_renewed_to_disconnect(world, install_location):
    row = install_location()
    world.advance(90_000)  # over its day, by HighLevel's clock
    ending.disconnect(row, caller="sam")
    assert reload(row).cause == "disconnected"


@pytest.mark.parametrize("fault", ["connect_timeout", "500", "429"])
def test_while_highlevel_does_not_answer_nothing_ends_and_it_may_be_tried_again(
    world, install_location, fault
):
    row = install_location()
    world.fault(fault, route="/marketplace/app/", after_commit=False)
    with pytest.raises(HighLevelError):
        ending.disconnect(row, caller="sam")
    assert reload(row).status == Status.ACTIVE
    ending.disconnect(row, caller="sam")
    assert reload(row).status == Status.UNINSTALLED


def test_an_answer_that_got_lost_leaves_the_way_open(world, install_location):
    """HighLevel has removed the app, and we do not know: the second try is told no."""
    row = install_location()
    world.fault("drop_after_commit", route="/marketplace/app/")
    with pytest.raises(HighLevelError):
        ending.disconnect(row, caller="sam")
    assert reload(row).status == Status.ACTIVE
    with pytest.raises(HighLevelError):
        ending.disconnect(row, caller="sam")
    ending.end_here(row, caller="sam")
    assert reload(row).cause == "ended_here"


def test_without_the_scope_highlevel_refuses_and_nothing_ends(world, install_location):
    agency = world.create_agency()
    location = world.create_location(agency.id)
    code = world.install(
        agency.id,
        [location.id],
        bulk=False,
        redirect_uri="http://localhost/app/callback/",
        scope="locations.readonly",
    )
    row = install.install_from_code(code)
    with pytest.raises(OurFault):
        ending.disconnect(row, caller="sam")
    assert reload(row).status == Status.ACTIVE


def test_one_that_waits_for_its_token_cannot_prove_who_asks(make_install):
    row = make_install(status=Status.WAITING)
    ROWS.filter(pk=row.pk).update(access_token_encrypted=b"")
    with pytest.raises(ending.NothingToShow):
        ending.disconnect(reload(row), caller="sam")


# --- Switched off and on ---


def test_switched_off_and_on_again_it_works_with_the_tokens_it_had(world, install_location):
    row = install_location()
    ending.deactivate(ROWS.filter(pk=row.pk), caller="sam")
    assert not refresh_integration(row.pk, trigger="test").success
    assert ending.reactivate(ROWS.filter(pk=row.pk), caller="sam") == 1
    assert reload(row).state(timezone.now()) is State.REFRESHING
    assert refresh_integration(row.pk, trigger="test").success
    assert reload(row).state(timezone.now()) is State.HEALTHY
    assert world.max_uses() == 1


def test_one_that_waited_waits_again(make_install):
    row = make_install(status=Status.WAITING, expires_at=None)
    ending.deactivate(ROWS.filter(pk=row.pk))
    ending.reactivate(ROWS.filter(pk=row.pk))
    assert (reload(row).status, row.cause) == (Status.WAITING, "waiting_for_agency")


def test_many_are_switched_on_in_few_statements_and_one_tick(make_install):
    kinds = [{}, {"expires_at": None}, {"expires_at": None, "agency": True, "company_id": "a-2"}]
    rows = [make_install(failures=3, **kind) for kind in kinds]
    rows += [make_install() for _ in range(20)]
    ending.deactivate(ROWS.all())
    OrmQ.objects.all().delete()
    with CaptureQueriesContext(connection) as statements:
        assert ending.reactivate(ROWS.all(), caller="sam") == 23
    assert len(statements) <= 15
    assert [task.task["func"] for task in OrmQ.objects.all()] == ["integrations.tasks.tick"]
    conditions = [(reload(row).status, row.cause, row.failures) for row in rows[:3]]
    assert conditions == [
        (Status.ACTIVE, "", 0),
        (Status.WAITING, "waiting_for_agency", 0),
        (Status.WAITING, "waiting_for_sign_in", 0),
    ]
    now = timezone.now()
    assert {reload(row).state(now) for row in rows} == {State.REFRESHING}
    assert all(row.renew_at <= now for row in rows)
    begun = StateChange.objects.exclude(status=Status.DEACTIVATED)
    assert begun.filter(trigger="staff", caller="sam").count() == 23


def test_what_is_not_switched_off_is_not_switched_on(make_install):
    row = make_install(status=Status.UNINSTALLED, cause="uninstalled")
    assert ending.reactivate(ROWS.filter(pk=row.pk)) == 0
    assert reload(row).status == Status.UNINSTALLED


def test_an_uninstall_ends_a_switched_off_one_too(make_install):
    row = make_install()
    ending.deactivate(ROWS.filter(pk=row.pk))
    ending.note_uninstalled(company_id="", location_id=row.resource_id, occurred_at=timezone.now())
    assert reload(row).status == Status.UNINSTALLED


# --- An UNINSTALL that comes late ---


def test_tokens_from_before_a_late_uninstall_are_replaced(world, install_agency):
    agency = install_agency(locations=1)
    [row] = connect_all(agency)
    with time_machine.travel(timezone.now() + timedelta(hours=1)):
        uninstalled_at = timezone.now()
        world.uninstall(row.resource_id)
    with time_machine.travel(timezone.now() + timedelta(hours=2)):
        world.install(agency.resource_id, [row.resource_id])
        install.adopt_locations(agency)  # it is on HighLevel's list again
        said = ending.note_uninstalled(
            company_id="", location_id=row.resource_id, occurred_at=uninstalled_at
        )
        assert said.startswith("ignored: older than the install of ")
        assert reload(row).status == Status.WAITING
        tick()
        assert reload(row).state(timezone.now()) is State.HEALTHY


@pytest.mark.parametrize(
    ("day", "words"), [(24, "14:02 UTC"), (23, "24 November, 14:02 UTC")], ids=["same", "other"]
)
def test_the_time_of_the_newer_install_says_its_zone(make_install, day, words):
    row = make_install(installed_at=datetime(2026, 11, 24, 14, 2, tzinfo=UTC))
    said = ending.note_uninstalled(
        company_id="",
        location_id=row.resource_id,
        occurred_at=datetime(2026, 11, day, 12, tzinfo=UTC),
    )
    assert said == f"ignored: older than the install of {words}"


def test_tokens_that_look_older_by_a_clocks_fault_are_tried_first(make_install):
    now = timezone.now()
    row = make_install(installed_at=now, renewed_at=now - timedelta(minutes=2))
    ending.note_uninstalled(
        company_id="", location_id=row.resource_id, occurred_at=now - timedelta(minutes=1)
    )
    row = reload(row)
    assert row.status == Status.ACTIVE
    assert row.refresh_token_encrypted
    assert row.renew_at <= timezone.now()


# --- Installs that nobody finishes ---


def test_an_agency_whose_sign_in_does_not_come_is_given_up_and_finished_by_it_all_the_same(
    world, client
):
    agency = world.create_agency()
    code = world.install(agency.id, [], redirect_uri="http://localhost/app/callback/")
    install.note_installed(company_id=agency.id, location_id="", occurred_at=timezone.now())
    row = ROWS.get(user_type=COMPANY)
    assert (row.status, row.cause) == (Status.WAITING, "waiting_for_sign_in")
    with time_machine.travel(timezone.now() + timedelta(minutes=29)):
        assert watch_life()["given_up"] == 0
    with time_machine.travel(timezone.now() + timedelta(minutes=31)):
        assert watch_life()["given_up"] == 1
        assert watch_life()["given_up"] == 0
    assert reload(row).cause == "install_unfinished"
    assert client.get("/app/callback/", {"code": code}).status_code == 302
    assert reload(row).status == Status.ACTIVE


def test_a_sub_account_that_was_given_up_is_healed_by_its_agency(world):
    world.set_knobs(code_life_seconds=10**5)
    agency = world.create_agency(locations=1)
    [location] = world.locations(agency.id)
    code = world.install(agency.id, redirect_uri="http://localhost/app/callback/")
    install.note_installed(
        company_id=agency.id, location_id=location.id, occurred_at=timezone.now()
    )
    with time_machine.travel(timezone.now() + timedelta(minutes=31)):
        watch_life()
        assert ROWS.get().cause == "install_unfinished"
        install.finish_install(install.install_from_code(code).pk)
        tick()
        assert ROWS.get(user_type=LOCATION).status == Status.ACTIVE


# --- What stays, and for how long ---


def test_the_tokens_of_an_ended_one_stay_for_thirty_days_and_are_then_erased(make_install):
    row = make_install()
    ending.note_uninstalled(company_id="", location_id=row.resource_id, occurred_at=timezone.now())
    off = make_install()
    ending.deactivate(ROWS.filter(pk=off.pk))
    with time_machine.travel(timezone.now() + timedelta(days=29)):
        assert clean_up()["tokens"] == 0
        assert reload(row).open_refresh_token()
    with time_machine.travel(timezone.now() + timedelta(days=31)):
        assert clean_up()["tokens"] == 1
        assert clean_up()["tokens"] == 0
    row = reload(row)
    assert not row.access_token_encrypted
    assert not row.refresh_token_encrypted
    assert reload(off).open_refresh_token()  # switched off is not ended


def test_forgetting_deletes_only_what_has_ended(make_install):
    ended = make_install(status=Status.UNINSTALLED, cause="uninstalled")
    live = make_install()
    assert ending.forget([ended.pk, live.pk]) == 1
    assert list(ROWS.all()) == [live]


def test_two_accounts_whose_ids_differ_only_in_case_are_two(world):
    for name in ("abcDEF", "ABCdef"):
        install.note_installed(company_id="com", location_id=name, occurred_at=timezone.now())
    assert ROWS.count() == 2
    ending.note_uninstalled(company_id="", location_id="abcDEF", occurred_at=timezone.now())
    assert ROWS.get(status=Status.UNINSTALLED).resource_id == "abcDEF"
