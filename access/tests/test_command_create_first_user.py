from __future__ import annotations

import re

import pytest
from django.core.management import call_command

from access.models import User

pytestmark = pytest.mark.django_db


def create_first_user(capsys) -> str:
    call_command("create_first_user")
    return capsys.readouterr().out


def test_it_makes_one_user_whose_printed_password_works_once_signed_in(client, capsys):
    said = create_first_user(capsys)
    [(name, password)] = re.findall(r"First user: (\S+)   One-time password: (\S+)", said)
    assert client.login(username=name, password=password)
    user = User.objects.get()
    assert user.is_staff
    assert user.is_superuser
    assert user.must_change_password


def test_it_does_nothing_when_there_is_a_user(staff, capsys):
    assert create_first_user(capsys) == ""
    assert User.objects.get() == staff


def test_a_second_run_shows_and_changes_nothing(capsys):
    create_first_user(capsys)
    password = User.objects.get().password
    assert create_first_user(capsys) == ""
    assert User.objects.get().password == password


def test_the_password_is_another_one_each_time(capsys):
    said = set()
    for _ in range(3):
        said.add(create_first_user(capsys))
        User.objects.all().delete()
    assert len(said) == 3
