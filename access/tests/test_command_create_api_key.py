from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from access.models import ApiKey, AuditEvent

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


def test_it_limits_to_agencies_and_sets_an_end(capsys):
    arguments = ("create_api_key", "billing", "--scope", "proxy", "--agency", "a")
    call_command(*arguments, "--agency", "b", "--expires", "90d")
    call_command(*arguments, "--expires", "2999-01-31")
    in_days, on_a_day = ApiKey.objects.order_by("expires_at")
    assert in_days.agencies == ["a", "b"]
    assert timedelta(days=89) < in_days.expires_at - timezone.now() < timedelta(days=91)
    assert on_a_day.expires_at == datetime(2999, 1, 31, tzinfo=UTC)


def test_it_leaves_a_record(capsys):
    call_command("create_api_key", "billing", "--scope", "proxy")
    event = AuditEvent.objects.get()
    assert (event.action, event.target_id) == ("key.create", str(ApiKey.objects.get().pk))
    assert event.details == {"scopes": ["proxy"], "limits": {"agencies": [], "installs": []}}
    assert capsys.readouterr().out.strip().split("_", 2)[2] not in str(event.details)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["billing"],
        ["--scope", "proxy"],
        ["billing", "--scope", "everything"],
        ["billing", "--scope", "proxy", "--install", "17"],
        ["billing", "--scope", "proxy", "--expires", "soon"],
        ["billing", "--scope", "proxy", "--expires", "2020-01-31"],
        ["billing", "--scope", "proxy", "--expires", "0d"],
    ],
)
def test_it_makes_no_key_when_it_is_asked_wrongly(arguments):
    with pytest.raises((CommandError, SystemExit)):
        call_command("create_api_key", *arguments)
    assert not ApiKey.objects.exists()


@pytest.mark.parametrize("name", ["", "  ", "x" * 101])
def test_a_name_that_cannot_be_kept_is_bad_usage(db, name):
    with pytest.raises(CommandError, match="a name has 1 to 100 characters"):
        call_command("create_api_key", name, "--scope", "proxy")
    assert not ApiKey.objects.exists()
