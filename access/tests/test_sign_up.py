from __future__ import annotations

import pytest

from access.models import User

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
