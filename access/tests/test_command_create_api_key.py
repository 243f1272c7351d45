from __future__ import annotations

from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from access.models import ApiKey

pytestmark = pytest.mark.django_db


def test_it_prints_the_key_and_nothing_else(capsys):
    call_command("create_api_key", "billing", "--scope", "integrations:read")
    printed = capsys.readouterr()
    [text] = printed.out.splitlines()
    assert printed.err == ""
    answer = Client().get("/app/list/", headers={"Authorization": f"Bearer {text}"})
    assert answer.status_code == 200


def test_it_stores_name_scopes_and_installs(capsys):
    first, second = str(uuid4()), str(uuid4())
    call_command(
        *("create_api_key", "billing", "--scope", "proxy", "--scope", "tokens:read"),
        *("--scope", "proxy", "--install", first, "--install", second),
    )
    key = ApiKey.objects.get()
    assert (key.name, key.scopes) == ("billing", ["proxy", "tokens:read"])
    assert key.installs == sorted([first, second])
    assert key.expires_at is key.disabled_at is None
    assert capsys.readouterr().out.startswith(f"wr_{key.prefix}_")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["billing"],
        ["--scope", "proxy"],
        ["billing", "--scope", "everything"],
        ["billing", "--scope", "proxy", "--install", "17"],
    ],
)
def test_it_makes_no_key_when_it_is_asked_wrongly(arguments):
    with pytest.raises((CommandError, SystemExit)):
        call_command("create_api_key", *arguments)
    assert not ApiKey.objects.exists()
