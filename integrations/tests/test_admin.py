from __future__ import annotations

import pytest
from django.contrib.auth import get_user_model
from django.urls import reverse
from django_q.models import OrmQ

from integrations.health import Status
from integrations.models import GoHighLevelIntegration, RenewalJob
from integrations.tasks import renew_batch

pytestmark = pytest.mark.django_db
LIST = "admin:integrations_gohighlevelintegration_changelist"
DETAIL = "admin:integrations_gohighlevelintegration_change"


@pytest.fixture
def owner(client):
    client.force_login(get_user_model().objects.create_superuser("olga", password="pw"))
    return client


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


def test_no_field_can_be_changed_by_its_form(owner, make_install):
    row = make_install(name="Before")
    owner.post(reverse(DETAIL, args=[row.pk]), {"name": "After"})
    row.refresh_from_db()
    assert row.name == "Before"


def test_selected_installs_are_handed_to_the_worker(owner, world, install_location):
    row = install_location()
    page = act(owner, "renew", row).content.decode()
    assert "1 renewals handed to the worker" in page
    renew_batch(str(RenewalJob.objects.get().pk), [str(row.pk)])
    row.refresh_from_db()
    assert row.generation == 2
    assert "refresh" not in str([task.payload for task in OrmQ.objects.all()])


def test_selected_installs_are_switched_off(owner, make_install):
    row, other = make_install(), make_install()
    act(owner, "deactivate", row)
    row.refresh_from_db()
    other.refresh_from_db()
    assert (row.status, row.renew_at) == (Status.DEACTIVATED, None)
    assert other.status == Status.ACTIVE


@pytest.mark.parametrize(
    "model",
    ["integrations_refreshattempt", "integrations_renewaljob", "webhooks_gohighlevelwebhook"],
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
