"""Switching off and on, disconnecting and forgetting, as staff do it."""

from __future__ import annotations

import json

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from access.models import AuditEvent
from access.roles import Role
from alerts.models import Channel, Delivery, Incident, Notice
from integrations.health import Status
from integrations.install import finish_install
from integrations.models import LOCATION, GoHighLevelIntegration
from integrations.refresh import refresh_integration
from integrations.tasks import tick
from webhooks.models import GoHighLevelWebhook

pytestmark = pytest.mark.django_db
ROWS = GoHighLevelIntegration.objects


def url(name, row):
    return reverse(f"dashboard:install-{name}", args=[row.pk])


def add_event(**fields):
    now = timezone.now()
    body = json.dumps({"type": "ContactCreate", "email": "ann@patient.test"})
    GoHighLevelWebhook.objects.create(
        webhook_id=str(GoHighLevelWebhook.objects.count()),
        type="ContactCreate",
        body=body,
        occurred_at=now,
        received_at=now,
        **fields,
    )


@pytest.fixture
def row(install_location):
    row = install_location()
    finish_install(row.pk)
    row.refresh_from_db()
    return row


def test_switching_off_is_done_at_once_and_can_be_undone(staff_client, row):
    html = staff_client.post(url("switch-off", row), follow=True).content.decode()
    row.refresh_from_db()
    assert row.status == Status.DEACTIVATED
    assert "Switched off here" in html
    assert reverse("dashboard:undo") in html
    html = staff_client.post(url("switch-on", row), follow=True).content.decode()
    assert "switched on again" in html
    row.refresh_from_db()
    assert row.status == Status.ACTIVE
    actions = list(AuditEvent.objects.order_by("id").values_list("action", flat=True))
    assert actions == ["install.deactivate", "install.reactivate"]


def test_disconnecting_asks_first_and_names_the_account(world, staff_client, row):
    html = staff_client.get(url("disconnect", row)).content.decode()
    assert "Disconnect Harbour Dental?" in html
    assert "HighLevel makes the tokens void" in html
    assert world.people.install(row.company_id, row.resource_id) is not None
    html = staff_client.post(url("disconnect", row), follow=True).content.decode()
    assert "Harbour Dental disconnected." in html
    assert "HighLevel has made its tokens void." in html
    assert "Copy reconnect link" in html
    assert world.people.install(row.company_id, row.resource_id) is None
    assert AuditEvent.objects.get().action == "install.disconnect"


def test_an_agency_names_how_many_go_with_it(staff_client, install_agency):
    agency = install_agency(locations=2)
    finish_install(agency.pk)
    tick()
    html = staff_client.get(url("disconnect", agency)).content.decode()
    assert "<strong>2 sub-accounts</strong> end too" in html
    staff_client.post(url("disconnect", agency))
    assert set(ROWS.values_list("status", flat=True)) == {Status.UNINSTALLED}


def test_when_highlevel_does_not_answer_it_says_so_and_can_be_tried_again(world, staff_client, row):
    world.fault("500", route="/marketplace/app/", after_commit=False)
    answer = staff_client.post(url("disconnect", row))
    html = answer.content.decode()
    assert answer.status_code == 502
    assert "Not disconnected: HighLevel has a fault." in html
    assert "Try again" in html
    row.refresh_from_db()
    assert row.status == Status.ACTIVE
    assert AuditEvent.objects.get().outcome == AuditEvent.FAILED
    staff_client.post(url("disconnect", row))
    row.refresh_from_db()
    assert row.status == Status.UNINSTALLED


def test_one_that_highlevel_cannot_be_told_about_can_be_ended_here_only(world, staff_client, row):
    world.uninstall(row.resource_id)  # HighLevel's side is gone, and its tokens with it
    html = staff_client.post(url("disconnect", row)).content.decode()
    assert "HighLevel cannot be told" in html
    html = staff_client.post(url("disconnect", row), {"here_only": "1"}, follow=True)
    assert "HighLevel was not told" in html.content.decode()
    row.refresh_from_db()
    assert row.cause == "ended_here"


def test_disconnecting_twice_changes_nothing(world, staff_client, row):
    staff_client.post(url("disconnect", row))
    calls = len(world.calls())
    answer = staff_client.post(url("disconnect", row), follow=True)
    assert "disconnected already" in answer.content.decode()
    assert len(world.calls()) == calls


def test_forgetting_asks_first_and_erases_everything_of_the_client(staff_client, row, make_install):
    refresh_integration(row.pk, trigger="test")
    other = make_install()
    add_event(location_id=row.resource_id)
    add_event(location_id=other.resource_id)
    staff_client.post(url("disconnect", row))
    html = staff_client.get(url("forget", row)).content.decode()
    assert "Forget Harbour Dental for good?" in html
    assert "<strong>1 event</strong>" in html
    staff_client.post(url("forget", row))
    assert list(ROWS.all()) == [other]
    assert GoHighLevelWebhook.objects.get().location_id == other.resource_id
    trail = AuditEvent.objects.get(action="install.forget")
    assert trail.details == {"install": str(row.pk), "erased": 1}
    told = f"{trail.target_name}{trail.company_id}{trail.details}"
    assert "Harbour" not in told
    assert row.resource_id not in told


def test_forgetting_an_agency_spares_the_sub_accounts_that_are_connected(
    staff_client, make_install
):
    ended = {"status": Status.UNINSTALLED, "cause": "uninstalled"}
    agency = make_install(agency=True, **ended)
    make_install(**ended)
    live = make_install()
    add_event(company_id="agency-1")
    add_event(company_id="agency-1", location_id=live.resource_id)
    html = staff_client.get(url("forget", agency)).content.decode()
    assert "<strong>2 accounts</strong>" in html
    assert "1 of its sub-accounts is still connected and stays." in html
    staff_client.post(url("forget", agency))
    assert list(ROWS.all()) == [live]
    assert GoHighLevelWebhook.objects.get().location_id == live.resource_id


def test_a_connected_one_is_not_forgotten(staff_client, row):
    add_event(location_id=row.resource_id)
    for answer in (staff_client.get(url("forget", row)), staff_client.post(url("forget", row))):
        assert answer.status_code == 302
    assert ROWS.filter(pk=row.pk).exists()
    assert GoHighLevelWebhook.objects.exists()


def test_an_operator_may_switch_off_and_neither_disconnect_nor_forget(make_person, row):
    client = Client()
    client.force_login(make_person("otto", Role.OPERATOR))
    html = client.get(f"/installs/{row.pk}/").content.decode()
    assert "Switch off" in html
    assert "Disconnect…" not in html
    for name in ("disconnect", "forget"):
        assert client.post(url(name, row)).status_code == 403
    assert client.post(url("switch-off", row)).status_code == 302


@pytest.mark.parametrize("name", ["switch-off", "switch-on", "disconnect", "forget"])
def test_an_account_of_another_agency_does_not_exist(make_person, sign_in, row, name):
    client = sign_in(make_person("olga", Role.OWNER, agencies=["another"]))
    assert client.post(url(name, row)).status_code == 404
    assert ROWS.filter(user_type=LOCATION, status=Status.ACTIVE).exists()


@pytest.mark.parametrize("name", ["switch-off", "switch-on"])
def test_a_link_switches_nothing(staff_client, row, name):
    assert staff_client.get(url(name, row)).status_code == 405


def test_forgetting_takes_alerts_about_the_account_along(staff_client, make_install):
    row = make_install(status=Status.UNINSTALLED, cause="uninstalled", name="Harbour Dental")
    now = timezone.now()
    incident = Incident.objects.create(
        key="install:1", integration=row, subject="Harbour Dental", opened_at=now
    )
    channel = Channel.objects.create(name="Mail", created_at=now, digest_at=now)
    sent = Delivery.objects.create(
        channel=channel, about="incidents", created_at=now, subject="Harbour Dental: removed"
    )
    Notice.objects.create(delivery=sent, incident=incident, what=Notice.BEGAN)
    staff_client.post(url("forget", row))
    assert not Incident.objects.exists()
    assert Delivery.objects.get().subject == ""


@pytest.mark.parametrize("name", ["disconnect", "forget"])
def test_what_cannot_be_undone_asks_again_who_one_is(staff, sign_in, row, name):
    answer = sign_in(staff, minutes_ago=20).post(url(name, row))
    assert answer["Location"].startswith("/accounts/reauthenticate/")
    assert ROWS.filter(user_type=LOCATION, status=Status.ACTIVE).exists()
