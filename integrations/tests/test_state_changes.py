from __future__ import annotations

import uuid

import pytest
from django.utils import timezone

from integrations.ending import deactivate, note_uninstalled
from integrations.health import Status
from integrations.highlevel import HighLevel
from integrations.install import finish_install, install_from_code
from integrations.models import GoHighLevelIntegration, StateChange
from integrations.refresh import Outcome, refresh_integration
from integrations.tasks import tick

pytestmark = pytest.mark.django_db
REDIRECT_URI = "http://localhost/app/callback/"


def renew(row):
    return refresh_integration(row.pk, trigger="dashboard", caller="sam")


def changes(*rows):
    """What was noted of these installs, oldest first: from status, cause to status, cause."""
    noted = StateChange.objects.filter(integration__in=rows).order_by("pk")
    return list(noted.values_list("status_before", "cause_before", "status", "cause"))


def test_the_first_change_of_an_install_is_that_it_came(install_location):
    row = install_location()
    assert changes(row) == [("", "", "active", "")]
    assert StateChange.objects.get().trigger == "install"


def test_a_healthy_renewal_changes_nothing(install_location):
    row = install_location()
    before = changes(row)
    assert renew(row).outcome is Outcome.RENEWED
    assert changes(row) == before


def test_a_fault_and_its_end_are_a_change_each_however_often_it_was_tried(world, install_location):
    row = install_location()
    world.fault("500", route="/oauth/token", times=None)
    for _ in range(3):
        renew(row)
    world.clear_faults()
    renew(row)
    assert changes(row)[1:] == [
        ("active", "", "active", "server_error"),
        ("active", "server_error", "active", ""),
    ]
    last = StateChange.objects.latest("pk")
    assert (last.trigger, last.caller) == ("dashboard", "sam")


def test_a_refusal_and_the_reinstall_after_it_are_noted(world, install_location):
    row = install_location()
    world.refuse(row.resource_id)
    renew(row)
    code = world.install(row.company_id, [row.resource_id], bulk=False, redirect_uri=REDIRECT_URI)
    install_from_code(code)
    assert changes(row)[1:] == [
        ("active", "", "refused", "refused"),
        ("refused", "refused", "active", ""),
    ]


def test_a_sub_account_waits_and_then_is_connected(world, install_agency):
    finish_install(install_agency(locations=1).pk)
    tick()
    row = GoHighLevelIntegration.objects.get(user_type="Location")
    assert changes(row) == [
        ("", "", "waiting", "waiting_for_agency"),
        ("waiting", "waiting_for_agency", "active", ""),
    ]


def test_the_end_of_an_agency_is_a_change_of_each_of_its_accounts(install_agency):
    agency = install_agency(locations=3)
    finish_install(agency.pk)
    tick()
    seen = StateChange.objects.count()
    note_uninstalled(company_id=agency.resource_id, location_id="", occurred_at=timezone.now())
    ended = list(StateChange.objects.order_by("pk")[seen:])
    assert {change.integration_id for change in ended} == set(
        GoHighLevelIntegration.objects.values_list("pk", flat=True)
    )
    assert {(change.status, change.cause) for change in ended} == {
        ("uninstalled", "agency_uninstalled")
    }
    note_uninstalled(company_id=agency.resource_id, location_id="", occurred_at=timezone.now())
    assert StateChange.objects.count() == seen + 4


def test_switching_off_names_who_did_it(make_install):
    row = make_install()
    deactivate(GoHighLevelIntegration.objects.filter(pk=row.pk), caller="sam")
    change = StateChange.objects.get()
    assert (change.status, change.trigger, change.caller) == ("deactivated", "staff", "sam")


def test_an_answer_that_comes_after_its_lease_ends_what_another_one_noted_meanwhile(
    install_location, monkeypatch
):
    row = install_location()
    refresh = HighLevel.refresh

    def fail_elsewhere_meanwhile(client, token, *, user_type):
        tokens = refresh(client, token, user_type=user_type)
        GoHighLevelIntegration.objects.update(
            lease_id=uuid.uuid4(), status=Status.REFUSED, cause="refused"
        )
        return tokens

    monkeypatch.setattr(HighLevel, "refresh", fail_elsewhere_meanwhile)
    assert renew(row).outcome is Outcome.RENEWED
    assert changes(row)[1:] == [("refused", "refused", "active", "")]
