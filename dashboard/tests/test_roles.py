"""What each role may do, tried at the doors."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import Client

from access.models import AuditEvent, User
from access.roles import Role, ensure_roles
from integrations.models import GoHighLevelIntegration

Person = Callable[..., User]


def signed_in(person: User) -> Client:
    client = Client()
    client.force_login(person)
    return client


@pytest.mark.parametrize(
    ("role", "status"), [(Role.VIEWER, 403), (Role.OPERATOR, 302), (Role.OWNER, 302)]
)
def test_a_viewer_looks_and_an_operator_renews(
    make_person: Person, make_install: Any, role: Role, status: int
) -> None:
    client = signed_in(make_person("kim", role))
    row = make_install()
    assert client.get(f"/installs/{row.pk}/").status_code == 200
    assert client.post(f"/installs/{row.pk}/refresh/").status_code == status
    row.refresh_from_db()
    assert (row.requested_at is not None) == (status == 302)
    assert AuditEvent.objects.count() == (1 if status == 302 else 0)


def test_staff_without_a_role_see_nothing(db: None) -> None:
    person = User.objects.create_user("new", password="pw", is_staff=True)
    assert signed_in(person).get("/").status_code == 403


def test_whoever_is_limited_to_an_agency_sees_no_other(
    make_person: Person, make_install: Any
) -> None:
    mine = make_install(name="Mine", company_id="agency-1")
    other = make_install(name="Other", company_id="agency-2")
    client = signed_in(make_person("kim", Role.OPERATOR, agencies=["agency-1"]))
    for page in ("/", "/installs/", "/installs/?q=Other", "/live/overview/"):
        html = client.get(page).content.decode()
        assert "Other</" not in html and str(other.pk) not in html, page
    assert "Your one account is connected." in client.get("/").content.decode()
    assert client.get(f"/installs/{mine.pk}/").status_code == 200
    assert client.get(f"/installs/{other.pk}/").status_code == 404
    assert client.post(f"/installs/{other.pk}/refresh/").status_code == 404
    client.post("/installs/refresh/", {"ids": [str(mine.pk), str(other.pk)]})
    asked = GoHighLevelIntegration.objects.exclude(requested_at=None)
    assert [row.pk for row in asked] == [mine.pk]


def test_a_bulk_renewal_of_somebody_limited_leaves_the_rest_alone(
    make_person: Person, make_install: Any
) -> None:
    mine = make_install(company_id="agency-1", expires_in=timedelta(minutes=5))
    make_install(company_id="agency-2", expires_in=timedelta(minutes=5))
    client = signed_in(make_person("kim", Role.OPERATOR, agencies=["agency-1"]))
    answer = client.post("/jobs/new/")
    page = client.get(answer["Location"])
    job = page.context["job"]
    assert [item.integration_id for item in job.items.all()] == [mine.pk]
    stranger = signed_in(make_person("lee", Role.OPERATOR, agencies=["agency-2"]))
    assert stranger.get(answer["Location"]).status_code == 404


def test_what_an_owner_changed_in_a_role_stays(db: None) -> None:
    viewer = Group.objects.get(name=Role.VIEWER)
    operator = Group.objects.get(name=Role.OPERATOR)
    viewer.permissions.set(operator.permissions.all())
    ensure_roles()
    assert viewer.permissions.count() == operator.permissions.count() == 2
