from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from access.keys import create_api_key
from access.models import ApiKey, AuditEvent, Scope

pytestmark = pytest.mark.django_db


@pytest.fixture
def key():
    return create_api_key("billing", scopes=[Scope.INTEGRATIONS_READ])


def opens(text):
    answer = Client().get("/app/list/", headers={"Authorization": f"Bearer {text}"})
    return answer.status_code == 200


def test_list_tells_of_all_keys_and_never_a_secret(key, capsys):
    _row, text = key
    create_api_key("crm", scopes=[Scope.PROXY], expires_at=timezone.now() - timedelta(days=1))
    call_command("api_keys", "list", "--json")
    printed = capsys.readouterr().out
    told = json.loads(printed)["keys"]
    assert [(row["name"], row["state"]) for row in told] == [
        ("billing", "works"),
        ("crm", "expired"),
    ]
    assert text.startswith(told[0]["key"])
    assert text.split("_", 2)[2] not in printed and key[0].digest not in printed


def test_list_for_people_has_a_line_each_and_what_is_doubtful(key, capsys):
    with time_machine.travel(timezone.now() + timedelta(days=61)):
        call_command("api_keys", "list")
    line, doubt = capsys.readouterr().out.splitlines()
    assert "billing" in line and "integrations:read" in line
    assert "Not used for 60 days" in doubt


def test_rotate_prints_a_new_secret_and_the_old_one_works_for_a_day(key, capsys):
    row, old = key
    call_command("api_keys", "rotate", f"wr_{row.prefix}")
    new = capsys.readouterr().out.strip()
    assert new != old and new.startswith(f"wr_{row.prefix}_")
    assert opens(new) and opens(old)
    with time_machine.travel(timezone.now() + timedelta(hours=25)):
        assert opens(new) and not opens(old)


def test_rotate_without_an_overlap_ends_the_old_secret_at_once(key, capsys):
    row, old = key
    call_command("api_keys", "rotate", row.prefix, "--overlap", "0")
    assert opens(capsys.readouterr().out.strip()) and not opens(old)


def test_change_changes_what_is_named_and_leaves_the_rest(key):
    row, text = key
    one = str(uuid4())
    command = ("api_keys", "change", f"wr_{row.prefix}")
    call_command(*command, "--name", "crm", "--install", one, "--expires", "2999-01-31")
    row.refresh_from_db()
    assert (row.name, row.scopes, row.installs) == ("crm", ["integrations:read"], [one])
    assert row.expires_at == datetime(2999, 1, 31, tzinfo=UTC)
    call_command(*command, "--unlimited", "--agency", "a", "--scope", "proxy", "--expires", "never")
    row.refresh_from_db()
    assert (row.name, row.scopes, row.installs) == ("crm", ["proxy"], [])
    assert (row.agencies, row.expires_at) == (["a"], None)
    event = AuditEvent.objects.latest("pk")
    assert (event.action, event.target_id) == ("key.change", str(row.pk))
    assert event.details == {
        "scopes": [["integrations:read"], ["proxy"]],
        "installs": [[one], []],
        "agencies": [[], ["a"]],
        "expires_at": ["2999-01-31T00:00:00+00:00", None],
    }


def test_disable_can_be_undone(key):
    row, text = key
    call_command("api_keys", "disable", text)
    assert not opens(text)
    call_command("api_keys", "enable", row.prefix)
    assert opens(text)
    assert list(AuditEvent.objects.order_by("id").values_list("action", "target_id")) == [
        ("key.disable", str(row.pk)),
        ("key.enable", str(row.pk)),
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ["change", "KEY"],
        ["disable", "wr_00000000"],
        ["rotate", "x"],
        ["rotate", "KEY", "--overlap", "-1"],
    ],
)
def test_bad_usage_changes_nothing(key, arguments):
    row, text = key
    with pytest.raises(CommandError) as refused:
        call_command("api_keys", *[row.prefix if a == "KEY" else a for a in arguments])
    assert refused.value.returncode == 2
    assert opens(text)
    assert ApiKey.objects.get().rotated_at is None
