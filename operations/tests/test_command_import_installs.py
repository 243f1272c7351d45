"""import_installs: what another program held is taken over, and nothing newer is lost."""

from __future__ import annotations

import csv
import json
import sqlite3
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from conftest import REDIRECT_URI
from integrations.health import Status
from integrations.highlevel import HighLevel, TokenSet
from integrations.models import GoHighLevelIntegration, StateChange
from integrations.refresh import Outcome, refresh_integration
from integrations.tests.test_race import database_url
from webhooks.models import GoHighLevelWebhook

pytestmark = pytest.mark.django_db

OLD_ID = "6a1f0c52-6f0e-4d0b-9a53-0d7c1f6f2f11"
TABLES = """
CREATE TABLE ghl_integration (
    id VARCHAR(36) PRIMARY KEY, location_id VARCHAR(64), location_name VARCHAR(200),
    company_id VARCHAR(64), user_type VARCHAR(20), user_email VARCHAR(254),
    access_token TEXT, refresh_token TEXT, expires_at VARCHAR(40), scope TEXT,
    is_active INTEGER, installed_at VARCHAR(40), last_used_at VARCHAR(40));
CREATE TABLE ghl_webhook (
    id INTEGER PRIMARY KEY, webhook_id VARCHAR(100), event_type VARCHAR(80), payload TEXT,
    processed INTEGER, received_at VARCHAR(40));
"""


@pytest.fixture
def held(world: Any) -> Callable[..., dict[str, Any]]:
    """A row as another program holds it: its tokens came from HighLevel and not through us."""

    def make(**changes: Any) -> dict[str, Any]:
        company = world.create_agency()
        location = world.create_location(company.id, "Harbour Dental")
        code = world.install(company.id, [location.id], bulk=False, redirect_uri=REDIRECT_URI)
        tokens: TokenSet = HighLevel.from_settings().exchange_code(code, redirect_uri=REDIRECT_URI)
        row = {
            "id": str(uuid.uuid4()),
            "location_id": tokens.location_id,
            "location_name": "Harbour Dental",
            "company_id": tokens.company_id,
            "user_type": "Location",
            "user_email": "owner@harbour.test",
            "access_token": tokens.access_token,
            "refresh_token": tokens.refresh_token,
            "expires_at": (timezone.now() + timedelta(hours=20)).isoformat(),
            "scope": tokens.scope,
            "is_active": 1,
            "installed_at": "2026-05-03T10:00:00+00:00",
            "last_used_at": None,
        }
        return row | changes

    return make


def insert(row: dict[str, Any], marks: str) -> str:
    return f"INSERT INTO ghl_integration ({', '.join(row)}) VALUES ({marks})"  # noqa: S608


def old_database(folder: Path, *rows: dict[str, Any], events: Any = ()) -> str:
    file = folder / "old.sqlite3"
    database = sqlite3.connect(file)
    database.executescript(TABLES)
    for row in rows:
        columns = ", ".join(f":{name}" for name in row)
        database.execute(insert(row, columns), row)
    for event in events:
        database.execute("INSERT INTO ghl_webhook VALUES (?, ?, ?, ?, ?, ?)", event)
    database.commit()
    database.close()
    return str(file)


def write(folder: Path, name: str, content: Any) -> str:
    file = folder / name
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(file)


def run(*arguments: str) -> tuple[int, dict[str, Any]]:
    out, status = StringIO(), 0
    try:
        call_command("import_installs", *arguments, "--json", stdout=out)
    except SystemExit as end:
        status = int(end.code or 0)
    return status, json.loads(out.getvalue())


def results(answer: dict[str, Any]) -> list[str]:
    return [row["result"] for row in answer["rows"]]


def renews(row: GoHighLevelIntegration) -> bool:
    return refresh_integration(row.pk, trigger="test").outcome is Outcome.RENEWED


# --- From the earlier database ---


def test_an_install_of_the_earlier_database_goes_on_here(held, tmp_path):
    old = held(id=OLD_ID)
    status, answer = run(old_database(tmp_path, old))
    row = GoHighLevelIntegration.objects.get()
    assert (status, answer["created"]) == (0, 1)
    assert (str(row.pk), row.resource_id, row.name) == (
        OLD_ID,
        old["location_id"],
        "Harbour Dental",
    )
    assert (row.open_access_token(), row.open_refresh_token()) == (
        old["access_token"],
        old["refresh_token"],
    )
    assert row.expires_at == datetime.fromisoformat(old["expires_at"])
    assert row.installed_at == datetime(2026, 5, 3, 10, tzinfo=UTC)
    assert (row.status, row.verified_at) == (Status.ACTIVE, None)
    assert StateChange.objects.get().trigger == "import"
    assert renews(row)


def test_a_row_without_our_form_of_id_gets_a_new_one_and_the_report_names_both(held, tmp_path):
    _status, answer = run(old_database(tmp_path, held(id="17")))
    row = GoHighLevelIntegration.objects.get()
    report = answer["rows"][0]
    assert (report["old_id"], report["id"]) == ("17", str(row.pk))


def test_its_events_are_kept_and_not_processed_again(held, tmp_path):
    body = json.dumps({"type": "UNINSTALL", "webhookId": "w-1", "locationId": "loc-1"})
    events = [
        (1, "w-1", "UNINSTALL", body, 1, "2026-06-01T00:00:00Z"),
        (2, "w-2", "X", "{}", 0, ""),
    ]
    _status, answer = run(old_database(tmp_path, held(), events=events))
    assert answer["events"] == 2
    event = GoHighLevelWebhook.objects.get(webhook_id="w-1")
    assert (event.status, event.process_at, event.location_id) == ("processed", None, "loc-1")
    assert GoHighLevelWebhook.objects.get(webhook_id="w-2").status == "ignored"


@pytest.mark.django_db(transaction=True)
def test_the_earlier_database_may_be_reached_by_its_url(held):
    """On whichever database the tests run."""
    old = held()
    with connection.cursor() as cursor:
        for statement in TABLES.split(";")[:-1]:
            cursor.execute(statement)
        marks = ", ".join(["%s"] * len(old))
        try:
            cursor.execute(insert(old, marks), list(old.values()))
            status, answer = run(database_url())
        finally:
            cursor.execute("DROP TABLE ghl_integration")
            cursor.execute("DROP TABLE ghl_webhook")
    assert (status, answer["created"]) == (0, 1)


# --- From files ---


def test_a_csv_file_is_read(held, tmp_path):
    old = held()
    out = StringIO()
    writer = csv.DictWriter(out, list(old), delimiter=";")
    writer.writeheader()
    writer.writerow(old)
    _status, answer = run(write(tmp_path, "installs.csv", out.getvalue()))
    assert results(answer) == ["created"]
    assert renews(GoHighLevelIntegration.objects.get())


@pytest.mark.parametrize(
    "wrap",
    [lambda row: [row], lambda row: {"integrations": [row]}, lambda row: row],
    ids=["list", "list in an object", "one object"],
)
def test_a_json_file_is_read(held, tmp_path, wrap):
    _status, answer = run(write(tmp_path, "installs.json", wrap(held())))
    assert results(answer) == ["created"]


def sdk_session(old: dict[str, Any]) -> dict[str, Any]:
    """As HighLevel's SDKs store the answer of a token call."""
    ends = datetime.fromisoformat(old["expires_at"])
    return {
        "access_token": old["access_token"],
        "refresh_token": old["refresh_token"],
        "token_type": "Bearer",
        "expires_in": 86399,
        "scope": old["scope"],
        "userType": "Location",
        "companyId": old["company_id"],
        "locationId": old["location_id"],
        "expire_at": int(ends.timestamp() * 1000),
    }


def test_sessions_of_the_official_sdk_are_read_by_resource(held, tmp_path):
    old = held()
    sessions = {old["location_id"]: sdk_session(old)}
    _status, answer = run(write(tmp_path, "sessions.json", sessions))
    row = GoHighLevelIntegration.objects.get()
    assert results(answer) == ["created"]
    assert abs(row.expires_at - datetime.fromisoformat(old["expires_at"])) < timedelta(seconds=1)
    assert row.finish_at is not None  # a session has no name: it is fetched
    assert renews(row)


def test_sessions_a_line_each_as_a_database_exports_them(held, tmp_path):
    lines = [json.dumps(sdk_session(held()) | {"_id": {"$oid": "1"}}) for _ in range(2)]
    _status, answer = run(write(tmp_path, "sessions.ndjson", "\n".join(lines)))
    assert results(answer) == ["created", "created"]


def test_the_session_of_an_agency_is_an_agency(world, tmp_path):
    agency = world.create_agency("Northwind", locations=1)
    code = world.install(agency.id, redirect_uri=REDIRECT_URI)
    tokens = HighLevel.from_settings().exchange_code(code, redirect_uri=REDIRECT_URI)
    session = {
        "accessToken": tokens.access_token,
        "refreshToken": tokens.refresh_token,
        "expiresIn": 86399,
        "userType": "Company",
        "expire_at": int((timezone.now() + timedelta(hours=20)).timestamp() * 1000),
    }
    run(write(tmp_path, "sessions.json", {agency.id: session}))
    row = GoHighLevelIntegration.objects.get()
    assert (row.user_type, row.resource_id) == ("Company", agency.id)
    assert renews(row)


# --- What is not overwritten ---


def test_a_newer_token_here_is_kept(held, tmp_path):
    old = held()
    file = old_database(tmp_path, old)
    run(file)
    row = GoHighLevelIntegration.objects.get()
    assert renews(row)
    row.refresh_from_db()
    token = row.open_refresh_token()
    status, answer = run(file)
    row.refresh_from_db()
    assert (status, results(answer)) == (0, ["kept"])
    assert row.open_refresh_token() == token


def test_a_newer_token_there_replaces_ours(held, make_install, tmp_path):
    old = held()
    ours = make_install(expires_in=timedelta(hours=-3), resource_id=old["location_id"])
    _status, answer = run(old_database(tmp_path, old))
    ours.refresh_from_db()
    assert (results(answer), answer["rows"][0]["id"]) == (["updated"], str(ours.pk))
    assert ours.open_refresh_token() == old["refresh_token"]


def test_a_row_that_waits_for_a_token_gets_it(held, make_install, tmp_path):
    old = held()
    ours = make_install(status=Status.WAITING, generation=0, resource_id=old["location_id"])
    run(old_database(tmp_path, old))
    ours.refresh_from_db()
    assert ours.status == Status.ACTIVE


def test_an_install_that_is_being_renewed_is_left_alone(held, make_install, tmp_path):
    old = held()
    make_install(
        expires_in=timedelta(hours=-3),
        resource_id=old["location_id"],
        lease_until=timezone.now() + timedelta(minutes=1),
    )
    _status, answer = run(old_database(tmp_path, old))
    assert results(answer) == ["kept"]


def test_what_had_ended_there_is_not_taken_over(held, tmp_path):
    _status, answer = run(old_database(tmp_path, held(is_active=0)))
    assert results(answer) == ["skipped"]
    assert not GoHighLevelIntegration.objects.exists()


def test_a_token_that_has_ended_is_renewed_at_once(held, tmp_path):
    run(old_database(tmp_path, held(expires_at="2026-01-01 00:00:00")))
    row = GoHighLevelIntegration.objects.get()
    assert row.renew_at <= timezone.now()
    assert renews(row)


# --- Dry run, verification, faults ---


def test_a_dry_run_changes_nothing(held, tmp_path):
    events = [(1, "w-1", "INSTALL", "{}", 1, "2026-06-01T00:00:00Z")]
    _status, answer = run(old_database(tmp_path, held(), events=events), "--dry-run")
    assert (answer["dry_run"], results(answer)) == (True, ["created"])
    assert not GoHighLevelIntegration.objects.exists()
    assert not GoHighLevelWebhook.objects.exists()


def test_verify_asks_highlevel_about_each_token_and_spends_none(held, world, tmp_path):
    good, dead = held(), held(access_token="made-up")
    ended = held(expires_at="2026-01-01T00:00:00Z")
    uses = world.max_uses()
    _status, answer = run(old_database(tmp_path, good, dead, ended), "--verify")
    notes = {row["account"]: row["note"] for row in answer["rows"]}
    assert notes[good["location_id"]] == "HighLevel accepts it"
    assert "does not accept" in notes[dead["location_id"]]
    assert "not verified" in notes[ended["location_id"]]
    rows = {row.resource_id: row for row in GoHighLevelIntegration.objects.all()}
    assert rows[good["location_id"]].verified_at is not None
    assert rows[dead["location_id"]].renew_at <= timezone.now()
    assert world.max_uses() == uses


def test_encrypted_tokens_are_opened_with_their_key(held, tmp_path):
    key = Fernet.generate_key()
    old = held()
    sealed = {
        n: Fernet(key).encrypt(old[n].encode()).decode() for n in ("access_token", "refresh_token")
    }
    file = old_database(tmp_path, old | sealed)
    status, answer = run(file)
    assert (status, results(answer)) == (1, ["failed"])
    assert "--fernet-key-file" in answer["rows"][0]["note"]
    key_file = write(tmp_path, "key", key.decode())
    status, answer = run(file, "--fernet-key-file", key_file)
    assert (status, results(answer)) == (0, ["created"])
    assert GoHighLevelIntegration.objects.get().open_refresh_token() == old["refresh_token"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"access_token": "", "refresh_token": ""}, "it has no token"),
        ({"location_id": "", "company_id": ""}, "it does not say which account it is for"),
    ],
)
def test_a_row_that_cannot_be_used_fails_alone(held, tmp_path, changes, reason):
    status, answer = run(old_database(tmp_path, held(**changes), held()))
    assert (status, sorted(results(answer))) == (1, ["created", "failed"])
    assert reason in [row["note"] for row in answer["rows"]]


def test_nothing_of_a_token_is_printed(held, tmp_path):
    rows = [held(), held(location_id="", company_id="")]
    out = StringIO()
    with pytest.raises(SystemExit):
        call_command("import_installs", old_database(tmp_path, *rows), "--verify", stdout=out)
    for row in rows:
        assert row["access_token"] not in out.getvalue()
        assert row["refresh_token"] not in out.getvalue()
    assert out.getvalue().splitlines()[-1].startswith("created 1, updated 0")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("name,mail\nx,y\n", "names no column"),
        ("{broken", "is none"),
        ("[1, 2]", "not a list of objects"),
        ("", "names no column"),
    ],
)
def test_a_file_of_no_known_form_is_bad_usage(tmp_path, content, reason):
    with pytest.raises(CommandError, match=reason) as caught:
        run(write(tmp_path, "file", content))
    assert caught.value.returncode == 2


def test_a_file_that_is_not_there_is_bad_usage():
    with pytest.raises(CommandError, match="cannot be read") as caught:
        run("/no/such/file")
    assert caught.value.returncode == 2


def test_a_database_without_the_table_is_bad_usage(tmp_path):
    file = tmp_path / "other.sqlite3"
    sqlite3.connect(file).execute("CREATE TABLE other (id INTEGER)").connection.close()
    with pytest.raises(CommandError, match="no table ghl_integration"):
        run(str(file))


def test_a_database_that_does_not_answer_is_bad_usage():
    with pytest.raises(CommandError, match="cannot be read"):
        run("postgres://nobody@127.0.0.1:1/none")


def test_a_large_source_is_read_in_order_with_one_report_a_row(held, tmp_path):
    rows = [held() for _ in range(3)]
    _status, answer = run(old_database(tmp_path, *rows))
    assert [row["row"] for row in answer["rows"]] == [1, 2, 3]
    assert {row["account"] for row in answer["rows"]} == {row["location_id"] for row in rows}


@pytest.mark.parametrize("key", ["not a key", None])
def test_a_key_file_that_holds_no_key_is_bad_usage(held, tmp_path, key):
    file = write(tmp_path, "key", key) if key else "/no/such/file"
    with pytest.raises(CommandError, match="holds no Fernet key") as caught:
        run(old_database(tmp_path, held()), "--fernet-key-file", file)
    assert caught.value.returncode == 2
