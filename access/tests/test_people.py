"""Who belongs here: invitations, roles, agencies, and people who leave."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.core import mail
from django.test import Client
from django.utils import timezone

from access.models import AuditEvent, Invitation, User
from access.roles import Role

Person = Callable[..., User]
SignIn = Callable[..., Client]
OWN = "correct horse battery"


def invite(client: Client, **fields: Any) -> str:
    """Invite somebody; return the path of the link that the owner sees."""
    asked = {"username": "nora", "email": "nora@agency.test", "role": "Operator"} | fields
    page = client.post("/people/invite/", asked, follow=True)
    found = re.search(r"http://testserver(/invitation/[^<\"]+/)", page.content.decode())
    assert found, page.content.decode()
    return found[1]


def join(path: str, password: str = OWN) -> tuple[Client, Any]:
    client = Client()
    assert client.get(path).status_code == 200
    return client, client.post(path, {"password1": password, "password2": password})


def test_an_invited_person_chooses_a_password_and_is_in(staff_client: Client) -> None:
    path = invite(staff_client, agencies=[], more_agencies="agency-1 agency-2")
    client, answer = join(path)
    assert answer["Location"] == "/"
    nora = User.objects.get(username="nora")
    assert (nora.role, nora.agencies) == ("Operator", ["agency-1", "agency-2"])
    assert nora.email == "nora@agency.test"
    assert client.get("/").status_code == 200
    assert Client().login(username="nora", password=OWN)
    actions = list(AuditEvent.objects.order_by("pk").values_list("action", "target_name"))
    assert ("person.invite", "nora") in actions and ("person.join", "nora") in actions


def test_a_link_works_once(staff_client: Client) -> None:
    path = invite(staff_client)
    join(path)
    again = Client().get(path)
    assert again.status_code == 404
    assert b"This link opens nothing" in again.content
    assert User.objects.filter(username="nora").count() == 1


def test_a_link_ends(staff_client: Client) -> None:
    path = invite(staff_client)
    with time_machine.travel(timezone.now() + timedelta(days=7, minutes=1)):
        assert Client().get(path).status_code == 404


def test_a_link_that_is_taken_back_opens_nothing(staff_client: Client) -> None:
    path = invite(staff_client)
    staff_client.post(f"/people/invitations/{Invitation.objects.get().pk}/revoke/")
    answer = Client().post(path, {"password1": OWN, "password2": OWN})
    assert answer.status_code == 404
    assert not User.objects.filter(username="nora").exists()


def test_a_link_cannot_be_made_up(staff_client: Client) -> None:
    invite(staff_client)
    pk = Invitation.objects.get().pk
    for token in (str(pk), f"{pk}:", f"{pk}:{'A' * 43}", "x"):
        assert Client().get(f"/invitation/{token}/").status_code == 404


def test_the_rules_for_passwords_hold_there_too(staff_client: Client) -> None:
    path = invite(staff_client)
    for password in ("short", "password123", "nora@agency.test"):
        _client, answer = join(path, password)
        assert answer.status_code == 422
    assert not User.objects.filter(username="nora").exists()


def test_an_invitation_is_mailed_where_there_is_a_mail_server(staff_client: Client) -> None:
    path = invite(staff_client)
    assert len(mail.outbox) == 1
    assert path in mail.outbox[0].body and mail.outbox[0].to == ["nora@agency.test"]


def test_without_one_the_link_is_shown_all_the_same_and_not_logged(
    staff_client: Client, settings: Any, capsys: Any
) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
    path = invite(staff_client)
    assert path not in "".join(capsys.readouterr())


@pytest.mark.parametrize("fields", [{"username": "sam"}, {"email": "SAM@agency.test"}])
def test_nobody_is_invited_under_a_name_or_address_that_is_taken(
    staff_client: Client, fields: dict[str, str]
) -> None:
    asked = {"username": "nora", "email": "nora@agency.test", "role": "Viewer"} | fields
    answer = staff_client.post("/people/invite/", asked)
    assert answer.status_code == 422
    assert not Invitation.objects.exists()


def test_of_two_invited_with_one_address_the_first_to_accept_has_it(staff_client: Client) -> None:
    nora, nils = (
        invite(staff_client),
        invite(staff_client, username="nils", email="NORA@agency.test"),
    )
    join(nora)
    _client, answer = join(nils)
    assert answer.status_code == 404
    assert User.objects.get(email__iexact="nora@agency.test").username == "nora"


def test_a_role_and_agencies_change_at_once(
    staff_client: Client, make_person: Person, sign_in: SignIn, make_install: Any
) -> None:
    kim = make_person("kim", Role.OPERATOR)
    other = make_install(company_id="agency-2")
    theirs = sign_in(kim)
    assert theirs.get(f"/installs/{other.pk}/").status_code == 200
    staff_client.post(
        f"/people/{kim.pk}/", {"role": "Viewer", "agencies": [], "more_agencies": "agency-1"}
    )
    assert theirs.get(f"/installs/{other.pk}/").status_code == 404
    assert theirs.post("/jobs/new/").status_code == 403
    event = AuditEvent.objects.get(action="person.change_role")
    assert event.details["before"] == {"role": "Operator", "agencies": []}
    assert event.details["after"] == {"role": "Viewer", "agencies": ["agency-1"]}


@pytest.mark.parametrize("path", ["/people/", "/people/invite/"])
def test_an_owner_limited_to_agencies_manages_no_people(
    make_person: Person, sign_in: SignIn, path: str
) -> None:
    client = sign_in(make_person("kim", Role.OWNER, agencies=["agency-1"]))
    assert client.get(path).status_code == 403
    assert client.post(path).status_code == 403


def test_a_limited_person_cannot_widen_themselves_not_even_as_a_superuser(
    make_person: Person, sign_in: SignIn
) -> None:
    kim = make_person("kim", Role.OWNER, agencies=["agency-1"])
    User.objects.filter(pk=kim.pk).update(is_superuser=True)
    client = sign_in(kim)
    for path in (f"/people/{kim.pk}/", f"/admin/access/user/{kim.pk}/change/", "/admin/"):
        assert client.post(path, {"role": "Owner"}).status_code in (302, 403)
        assert client.get(path).status_code in (302, 403), path
    kim.refresh_from_db()
    assert kim.agencies == ["agency-1"]


def test_a_superuser_has_the_way_into_the_admin_unless_it_is_closed_to_them(
    make_person: Person, sign_in: SignIn
) -> None:
    kim = make_person("kim", Role.OWNER)
    User.objects.filter(pk=kim.pk).update(is_superuser=True)
    assert b'href="/admin/"' in sign_in(kim).get("/").content
    User.objects.filter(pk=kim.pk).update(agencies=["agency-1"])
    assert b'href="/admin/"' not in sign_in(kim).get("/").content


def test_nobody_changes_themselves(staff_client: Client, staff: User) -> None:
    answer = staff_client.post(f"/people/{staff.pk}/", {"role": "Viewer"})
    assert answer.status_code == 422
    staff_client.post(f"/people/{staff.pk}/deactivate/")
    staff.refresh_from_db()
    assert staff.is_active and staff.role == "Owner"


def test_the_last_owner_stays(
    staff: User, make_person: Person, sign_in: SignIn, settings: Any
) -> None:
    """A superuser is an owner too; one that is limited to agencies is none."""
    root = User.objects.create_superuser("root", password="pw", agencies=["agency-1"])
    kim = make_person("kim", Role.OWNER)
    kims = sign_in(kim)
    sams = sign_in(staff)
    kims.post(f"/people/{staff.pk}/deactivate/")
    assert User.objects.get(pk=staff.pk).is_active is False
    # Sam's browser is out; Kim, the last one, can be removed by nobody.
    assert sams.post(f"/people/{kim.pk}/deactivate/").status_code == 302
    assert sign_in(root).post(f"/people/{kim.pk}/deactivate/").status_code == 403
    assert User.objects.get(pk=kim.pk).is_active is True


def test_whoever_is_switched_off_is_out_at_once_and_can_come_back(
    staff_client: Client, make_person: Person, sign_in: SignIn
) -> None:
    kim = make_person("kim", Role.VIEWER)
    theirs = sign_in(kim)
    staff_client.post(f"/people/{kim.pk}/deactivate/")
    assert theirs.get("/").status_code == 302
    assert not Client().login(username="kim", password="pw")
    staff_client.post(f"/people/{kim.pk}/reactivate/")
    assert Client().login(username="kim", password="pw")


def test_switching_off_is_taken_back_by_one_click_while_one_is_confirmed(
    staff_client: Client, make_person: Person, settings: Any
) -> None:
    kim = make_person("kim", Role.VIEWER)
    page = staff_client.post(f"/people/{kim.pk}/deactivate/", follow=True).content.decode()
    assert "kim is switched off and signed out everywhere." in page
    assert 'name="next" value="/people/"' in page
    answer = staff_client.post("/undo/", {"next": "/people/"})
    assert answer["Location"] == "/people/"
    assert Client().login(username="kim", password="pw")

    staff_client.post(f"/people/{kim.pk}/deactivate/")
    settings.ACCOUNT_REAUTHENTICATION_TIMEOUT = 0
    answer = staff_client.post("/undo/", follow=True)
    assert "Switch them on again in the list of people." in answer.content.decode()
    assert User.objects.get(pk=kim.pk).is_active is False


def test_undo_for_a_person_who_was_deleted_meanwhile_says_so(
    staff_client: Client, make_person: Person
) -> None:
    kim = make_person("kim", Role.VIEWER)
    staff_client.post(f"/people/{kim.pk}/deactivate/")
    kim.delete()
    answer = staff_client.post("/undo/", follow=True)
    assert "Somebody has deleted that person meanwhile." in answer.content.decode()


def test_the_page_makes_as_many_queries_for_thirty_people_as_for_one(
    staff_client: Client, make_person: Person, django_assert_num_queries: Any
) -> None:
    # session, user, two of permissions; count, people, their groups; invitations; the demo ribbon;
    # for title and favicon: kept numbers, counts
    with django_assert_num_queries(11):
        staff_client.get("/people/")
    for n in range(30):
        make_person(f"person-{n}", Role.VIEWER)
    with django_assert_num_queries(11):
        staff_client.get("/people/")


def test_times_are_shown_in_the_own_zone(staff_client: Client, make_install: Any) -> None:
    make_install()
    assert " UTC" in staff_client.get("/").content.decode()
    staff_client.post("/me/", {"time_zone": "Asia/Kolkata"})
    html = staff_client.get("/").content.decode()
    assert re.search(r'data-absolute="[^"]+ IST"', html)
    assert not re.search(r'data-absolute="[^"]+ UTC"', html)
    assert 'data-zone="Asia/Kolkata" data-zone-name="IST"' in html


def test_a_zone_that_does_not_exist_is_refused(staff_client: Client, staff: User) -> None:
    assert staff_client.post("/me/", {"time_zone": "Mars/Olympus"}).status_code == 422


def test_one_persons_zone_is_not_the_next_ones(
    staff_client: Client, make_person: Person, sign_in: SignIn, make_install: Any
) -> None:
    make_install()
    staff_client.post("/me/", {"time_zone": "Asia/Kolkata"})
    staff_client.get("/")
    html = sign_in(make_person("kim", Role.VIEWER)).get("/").content.decode()
    assert re.search(r'data-absolute="[^"]+ UTC"', html)
