from __future__ import annotations

import re

import pytest

from access.models import AuditEvent, User

pytestmark = pytest.mark.django_db

SIGN_UP = "/accounts/signup/"


@pytest.fixture
def asked() -> dict[str, str]:
    password = "correct horse battery"
    return {
        "username": "eve",
        "email": "eve@elsewhere.test",
        "password1": password,
        "password2": password,
    }


def test_nobody_lets_themselves_in(client, asked):
    answer = client.post(SIGN_UP, asked)
    assert answer.status_code == 200
    assert not User.objects.exists()
    assert "_auth_user_id" not in client.session


def test_the_sign_up_page_offers_no_form(client):
    answer = client.get(SIGN_UP)
    assert answer.status_code == 200
    assert b"password1" not in answer.content


def test_an_account_that_is_switched_off_does_not_sign_in(client):
    User.objects.create_user("nora", password="correct horse", is_active=False)
    client.post("/accounts/login/", {"login": "nora", "password": "correct horse"})
    assert "_auth_user_id" not in client.session


@pytest.mark.parametrize("login", ["nora", "nora@agency.test"])
def test_staff_sign_in_by_name_or_by_address(client, login):
    user = User.objects.create_user("nora", "nora@agency.test", "correct horse", is_staff=True)
    client.post("/accounts/login/", {"login": login, "password": "correct horse"})
    assert client.session["_auth_user_id"] == str(user.pk)


def test_a_wrong_password_signs_nobody_in(client, staff):
    client.post("/accounts/login/", {"login": staff.username, "password": "guessed"})
    assert "_auth_user_id" not in client.session


@pytest.mark.parametrize(
    ("login", "target"),
    [
        ("sam", "sam"),
        ("sam@agency.test", "sam"),
        ("SAM@Agency.test", "sam"),
        ("nobody", ""),
        ("nobody@agency.test", ""),
        ("harbour-lantern-42", ""),  # a password typed into the wrong field
    ],
)
def test_a_failed_sign_in_is_recorded_whoever_was_named(client, staff, login, target):
    client.post(
        "/accounts/login/", {"login": login, "password": "guessed-it"}, REMOTE_ADDR="192.0.2.7"
    )
    event = AuditEvent.objects.get()
    assert (event.action, event.outcome, event.address) == (
        *("person.sign_in", "refused", "192.0.2.7"),
    )
    assert event.target_name == target
    assert event.details == ({} if target else {"name": "unknown"})
    assert "guessed-it" not in str(vars(event))
    assert target or login not in str(vars(event))


def test_the_visitor_is_not_told_whether_a_name_exists(client, staff):
    def told(login):
        answer = client.post("/accounts/login/", {"login": login, "password": "guessed"})
        page = answer.content.decode().replace(login, "LOGIN")
        return answer.status_code, re.sub(r"\w{32,}", "a token", page)

    assert told("sam") == told("nobody")
    assert told("sam@agency.test") == told("nobody@agency.test")
