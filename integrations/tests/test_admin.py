from __future__ import annotations

import re
from datetime import timedelta

import pytest
import time_machine
from django.contrib.auth import get_user_model
from django.urls import reverse
from django.utils import timezone
from django_q.models import OrmQ

from access.models import AuditEvent
from integrations.health import Status
from integrations.models import GoHighLevelIntegration, Outage, RenewalJob, StateChange
from integrations.tasks import renew_batch

pytestmark = pytest.mark.django_db
LIST = "admin:integrations_gohighlevelintegration_changelist"
DETAIL = "admin:integrations_gohighlevelintegration_change"


@pytest.fixture
def owner(sign_in):
    return sign_in(get_user_model().objects.create_superuser("olga", password="pw"))


def act(client, action, *rows):
    data = {"action": action, "_selected_action": [str(row.pk) for row in rows]}
    return client.post(reverse(LIST), data, follow=True)


def test_it_lists_and_filters_by_state(owner, make_install):
    make_install(name="Lake Spa", status=Status.PAUSED)
    make_install(name="Hill Gym")
    page = owner.get(reverse(LIST), {"state": "paused"}).content.decode()
    assert "Lake Spa" in page
    assert "Hill Gym" not in page


def test_it_never_shows_a_token(owner, make_install):
    row = make_install()
    page = owner.get(reverse(DETAIL, args=[row.pk])).content.decode()
    assert "(encrypted)" in page
    assert row.open_access_token() not in page
    assert row.open_refresh_token() not in page
    assert bytes(row.access_token_encrypted).hex() not in page


def test_it_shows_the_facts_of_a_token(owner, make_install):
    row = make_install(scope="locations.readonly", is_bulk_installation=True)
    page = owner.get(reverse(DETAIL, args=[row.pk])).content.decode()
    token = page[page.index("Token</h2>") : page.index("Install</h2>")]
    assert "Sub-account" in token and "locations.readonly" in token
    assert 'alt="True"' in token[token.index("bulk") :]


def test_the_list_counts_the_tokens_by_state(owner, make_install):
    make_install(), make_install(), make_install(status=Status.PAUSED)
    page = owner.get(reverse(LIST)).content.decode()
    assert '<a href="?state=healthy">2 healthy</a>' in page
    assert '<a href="?state=paused">1 paused</a>' in page


def test_what_was_switched_off_is_counted_and_found_apart_from_what_was_uninstalled(
    owner, make_install
):
    make_install(name="Lake Spa", status=Status.DEACTIVATED)
    make_install(name="Hill Gym", status=Status.UNINSTALLED)
    make_install(name="Pier Cafe", status=Status.UNINSTALLED)
    page = owner.get(reverse(LIST)).content.decode()
    assert '<a href="?state=deactivated">1 switched off</a>' in page
    assert '<a href="?state=uninstalled">2 uninstalled</a>' in page
    off = owner.get(reverse(LIST), {"state": "deactivated"}).content.decode()
    gone = owner.get(reverse(LIST), {"state": "uninstalled"}).content.decode()
    assert "Lake Spa" in off and "Hill Gym" not in off
    assert "Lake Spa" not in gone and "Hill Gym" in gone


def test_a_token_is_revealed_only_on_record_and_to_a_person_just_confirmed(owner, make_install):
    row = make_install()
    page = owner.get(reverse(DETAIL, args=[row.pk])).content.decode()
    action = re.search(r'action="(/installs/[^"]+/reveal/)"', page)
    assert row.open_access_token() in owner.post(action[1]).content.decode()
    assert AuditEvent.objects.filter(action="token.reveal", target_id=str(row.pk)).count() == 1
    with time_machine.travel(timezone.now() + timedelta(hours=1)):
        later = owner.post(action[1])
    assert later.status_code == 302 and "reauthenticate" in later["Location"]


def test_changes_and_outages_are_filtered(owner, make_install):
    row, now = make_install(name="Lake Spa"), timezone.now()
    for status, cause in (("refused", "refused"), ("paused", "location_inactive")):
        StateChange.objects.create(
            integration=row, at=now, status=status, cause=cause, trigger="schedule"
        )
    Outage.objects.create(began_at=now, try_at=now, cause="no_answer")
    changes = reverse("admin:integrations_statechange_changelist")
    page = owner.get(changes, {"status": "paused", "q": "Lake"}).content.decode()
    assert "1 change of an install" in page
    assert "0 change" in owner.get(changes, {"cause": "no_answer"}).content.decode()
    outages = reverse("admin:integrations_outage_changelist")
    assert "1 outage" in owner.get(outages, {"is_open__exact": 1}).content.decode()


def test_no_field_can_be_changed_by_its_form(owner, make_install):
    row = make_install(name="Before")
    owner.post(reverse(DETAIL, args=[row.pk]), {"name": "After"})
    row.refresh_from_db()
    assert row.name == "Before"


def test_selected_installs_are_handed_to_the_worker(owner, world, install_location):
    row = install_location()
    page = act(owner, "renew", row).content.decode()
    assert "1 renewal handed to the worker" in page
    renew_batch(str(RenewalJob.objects.get().pk), [str(row.pk)])
    row.refresh_from_db()
    assert row.generation == 2
    assert "refresh" not in str([task.payload for task in OrmQ.objects.all()])


def test_selected_installs_are_switched_off(owner, make_install):
    row, other = make_install(), make_install()
    page = act(owner, "deactivate", row).content.decode()
    assert "1 install switched off." in page
    assert sorted(re.findall(r'field-state">([^<]+)<', page)) == ["Healthy", "Switched off"]
    event = AuditEvent.objects.get(action="admin.change")
    assert event.details["did"] == "deactivate"
    assert event.details["to"] == [str(row.pk)]
    row.refresh_from_db()
    other.refresh_from_db()
    assert (row.status, row.renew_at) == (Status.DEACTIVATED, None)
    assert other.status == Status.ACTIVE


@pytest.mark.parametrize(
    "model",
    [
        "integrations_refreshattempt",
        "integrations_renewaljob",
        "integrations_outage",
        "integrations_statechange",
        "webhooks_gohighlevelwebhook",
    ],
)
def test_what_the_product_writes_can_be_looked_at_but_not_added(owner, model):
    assert owner.get(reverse(f"admin:{model}_changelist")).status_code == 200
    assert owner.get(reverse(f"admin:{model}_add")).status_code == 403


def test_the_journal_is_shown(owner, world, install_location):
    from integrations.refresh import refresh_integration

    refresh_integration(install_location().pk, trigger="test")
    page = owner.get(reverse("admin:integrations_refreshattempt_changelist")).content.decode()
    assert "Renewed" in page
    assert GoHighLevelIntegration.objects.get().resource_id in page


def test_staff_without_permissions_see_nothing(staff_client):
    assert staff_client.get(reverse(LIST)).status_code == 403
