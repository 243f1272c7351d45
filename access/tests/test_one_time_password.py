from __future__ import annotations

import pytest
from django.urls import reverse

from access.models import User

pytestmark = pytest.mark.django_db

ONE_TIME, OWN = "one-time-pw", "correct horse battery"
CHANGE = "/accounts/password/change/"


@pytest.fixture
def newcomer(client) -> User:
    user = User.objects.create_superuser("nora", password=ONE_TIME, must_change_password=True)
    assert client.login(username="nora", password=ONE_TIME)
    return user


def change(client, **fields):
    passwords = {"oldpassword": ONE_TIME, "password1": OWN, "password2": OWN}
    return client.post(CHANGE, passwords | fields)


@pytest.mark.parametrize(
    "path", ["/", "/installs/", "/admin/", "/admin/access/user/", "/app/list/"]
)
def test_every_page_leads_to_the_choice_of_an_own_password(client, newcomer, path):
    answer = client.get(path)
    assert (answer.status_code, answer["Location"]) == (302, CHANGE)


def test_a_post_is_not_carried_out_either(client, newcomer):
    answer = client.post("/admin/access/user/add/", {"username": "eve"})
    assert (answer.status_code, answer["Location"]) == (302, CHANGE)
    assert User.objects.count() == 1


def test_htmx_is_told_to_leave_the_page_as_a_whole(client, newcomer):
    answer = client.get("/installs/", headers={"HX-Request": "true"})
    assert answer.status_code == 200
    assert answer["HX-Redirect"] == CHANGE
    assert answer.content == b""


def test_signing_in_by_the_form_leads_there_too(client):
    User.objects.create_user("nora", password=ONE_TIME, must_change_password=True)
    client.post(reverse("account_login"), {"login": "nora", "password": ONE_TIME})
    assert client.get("/")["Location"] == CHANGE


@pytest.mark.parametrize("path", [CHANGE, "/accounts/logout/"])
def test_what_is_needed_for_it_stays_open(client, newcomer, path):
    assert client.get(path).status_code == 200


def test_with_an_own_password_everything_is_open(client, newcomer):
    assert change(client)["Location"] == "/"
    newcomer.refresh_from_db()
    assert newcomer.must_change_password is False
    assert client.get("/admin/").status_code == 200
    client.logout()
    assert not client.login(username="nora", password=ONE_TIME)
    assert client.login(username="nora", password=OWN)


@pytest.mark.parametrize(
    "fields",
    [
        {"oldpassword": "guessed"},
        {"password2": "something else entirely"},
        {"password1": "short", "password2": "short"},
        {"password1": "password123", "password2": "password123"},
    ],
)
def test_a_refused_choice_leaves_it_closed(client, newcomer, fields):
    assert change(client, **fields).status_code == 200
    newcomer.refresh_from_db()
    assert newcomer.must_change_password is True
    assert client.get("/")["Location"] == CHANGE


def test_somebody_with_an_own_password_is_not_asked(staff_client):
    assert staff_client.get("/installs/").status_code == 200


def test_machine_calls_and_monitoring_are_not_concerned(client, newcomer, api):
    assert api().get("/app/list/").status_code == 200
    client.cookies.clear()
    assert client.get("/healthz").status_code == 200


def test_a_call_without_a_session_costs_no_query_for_it(client, django_assert_num_queries):
    with django_assert_num_queries(0):
        client.get("/healthz")
