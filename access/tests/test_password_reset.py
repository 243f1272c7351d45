"""A forgotten password: by mail where there is a mail server, else by the operator's command."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.core import mail
from django.test import Client

from access.models import AuditEvent, User

pytestmark = pytest.mark.django_db
RESET = "/accounts/password/reset/"
NEW = "harbour-lantern-42"


@pytest.fixture
def nora() -> User:
    return User.objects.create_user("nora", "nora@agency.test", "forgotten", is_staff=True)


def ask(client: Client, email: str = "nora@agency.test") -> str:
    answer = client.post(RESET, {"email": email}, follow=True)
    assert answer.status_code == 200
    return answer.content.decode()


def test_a_mailed_link_sets_a_new_password_once(client: Client, nora: User) -> None:
    assert "Look into your mail" in ask(client)
    [letter] = mail.outbox
    assert letter.subject == "Choose a new password for WhatReach" and letter.to == [nora.email]
    link = re.search(r"http://\S+", str(letter.body))
    assert link and "your name there is nora" in letter.body
    form = client.get(link[0], follow=True)
    assert "Choose a new password" in form.content.decode()
    chosen = {"password1": NEW, "password2": NEW}
    client.post(form.request["PATH_INFO"], chosen)
    nora.refresh_from_db()
    assert nora.check_password(NEW)
    assert AuditEvent.objects.filter(action="person.password").count() == 1
    again = Client().get(link[0], follow=True).content.decode()
    assert "This link opens nothing" in again


def test_an_address_that_nobody_has_gets_the_same_answer_and_no_mail(
    client: Client, nora: User
) -> None:
    assert "Look into your mail" in ask(client, "stranger@elsewhere.test")
    assert mail.outbox == []


def test_without_a_mail_server_no_link_is_made_and_the_command_is_named(
    client: Client, nora: User, settings: Any, capsys: Any
) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
    for page in (client.get(RESET).content.decode(), ask(client)):
        assert "manage.py changepassword NAME" in page and 'name="email"' not in page
    assert capsys.readouterr().out == ""


def test_a_mail_server_that_is_down_breaks_nothing(
    client: Client, nora: User, settings: Any
) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    assert "Look into your mail" in ask(client)


def test_addresses_to_confirm_a_mail_address_lead_to_the_own_account(client: Client) -> None:
    for path in ("/accounts/email/", "/accounts/confirm-email/", "/accounts/confirm-email/a:b/"):
        assert client.get(path)["Location"] == "/me/"
