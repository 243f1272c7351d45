"""No secret gets out: known ones are planted, everything is used, and all that was shown, logged,
mailed or stored is searched for them."""

from __future__ import annotations

import base64
import io
import logging
import logging.config
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group
from django.contrib.sessions.models import Session
from django.core import mail
from django.core.management import call_command
from django.db import connection, transaction
from django.test import Client
from django.utils.crypto import get_random_string
from django_q.models import OrmQ, Task

from access.audience import Who
from access.keys import create_api_key
from access.models import Scope, User
from access.roles import Role
from config.audiences import addresses
from config.logs import JSON, TEXT, logging_config
from config.tests.test_audiences import path_of
from integrations import tasks
from integrations.models import GoHighLevelIntegration
from sandbox.world import World

# So many characters in a row of a secret are a part of it.
PART = 12
METRICS = "/metrics"
pytestmark = pytest.mark.django_db


class Secrets:
    """Texts by what they are; `found_in` searches for any part of them, raw or encoded."""

    def __init__(self) -> None:
        self._parts: dict[str, str] = {}
        # Pages have most of their words in common.
        self._harmless: set[str] = set()

    def plant(self, name: str, text: str) -> str:
        assert len(text) >= PART and text.isascii() and text.isprintable() and " " not in text
        self._parts |= {part: name for form in _forms(text) for part in _parts(form)}
        self._harmless.clear()
        return text

    def found_in(self, where: str, content: str) -> list[tuple[str, str]]:
        words = set(re.findall(rf"[!-~]{{{PART},}}", content)) - self._harmless
        found = {self._parts[part] for word in words for part in _parts(word) & self._parts.keys()}
        if not found:
            self._harmless |= words
        return [(where, name) for name in sorted(found)]


def _forms(text: str) -> Iterator[str]:
    yield text
    yield quote(text, safe="")
    # Base64 at each of the three places where it may begin within something longer: of any twelve
    # characters at least twelve are then the same, whatever stands around them.
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + text.encode())[4:-4].decode()
        yield encoded
        yield encoded.translate(str.maketrans("+/", "-_"))
    # As database dumps write bytes.
    yield text.encode().hex()
    yield text.encode().hex().upper()


def _parts(text: str) -> set[str]:
    return {text[n : n + PART] for n in range(len(text) - PART + 1)}


@pytest.fixture
def secrets(settings: Any, world: World) -> Secrets:
    secrets = Secrets()
    settings.GHL_CLIENT_SECRET = secrets.plant("client secret", get_random_string(40))
    world.put_client(settings.GHL_CLIENT_ID, settings.GHL_CLIENT_SECRET)
    settings.METRICS_TOKEN = secrets.plant("key of the metrics", get_random_string(40))
    for entry in settings.TOKEN_ENCRYPTION_KEYS.split(","):
        secrets.plant("encryption key", entry.partition(":")[2])
    secrets.plant("Django's key", settings.SECRET_KEY)
    return secrets


@pytest.fixture
def used(
    secrets: Secrets, world: World, install_agency: Any, install_location: Any
) -> list[GoHighLevelIntegration]:
    """Installs that went through everything: exchange, mint, renewal, refusal."""
    agency = install_agency()
    own = install_location()
    tasks.tick()
    for row in GoHighLevelIntegration.objects.all():
        _plant_tokens(secrets, row)
        tasks.refresh_one(str(row.pk), "dashboard", "sam", "2000-01-01T00:00:00+00:00")
    world.refuse(own.resource_id)
    tasks.refresh_one(str(own.pk), "dashboard", "sam", "2000-01-01T00:00:00+00:00")
    for row in GoHighLevelIntegration.objects.all():
        _plant_tokens(secrets, row)
    return [agency, own]


def _plant_tokens(secrets: Secrets, row: GoHighLevelIntegration) -> None:
    for name in ("access", "refresh"):
        if getattr(row, f"{name}_token_encrypted"):
            text = getattr(row, f"open_{name}_token")()
            secrets.plant(f"{name} token {row.generation} of {row}", text)


def _owner() -> Client:
    """In a browser in which an owner has just signed in."""
    owner = User.objects.create_superuser("olga", "olga@agency.test", "harbour-lantern-42")
    owner.groups.add(Group.objects.get(name=Role.OWNER))
    client = Client(raise_request_exception=False)
    client.post("/accounts/login/", {"login": "olga", "password": "harbour-lantern-42"})
    return client


def _machine(secrets: Secrets) -> Client:
    _key, text = create_api_key("billing", scopes=Scope.values)
    secrets.plant("API key", text)
    return Client(raise_request_exception=False, headers={"Authorization": f"Bearer {text}"})


def _body(answer: Any) -> str:
    raw = b"".join(answer.streaming_content) if answer.streaming else answer.content
    return raw.decode(errors="replace") + str(dict(answer.items()))


def _paths(rows: list[GoHighLevelIntegration], who: set[Who]) -> Iterator[str]:
    """Every address for these; one that is about an install for each install."""
    for address in addresses():
        is_asked_for = address.audience is not None and address.audience.who in who
        # /ghl/ is another name of /app/.
        if is_asked_for and "logout" not in address.path and not address.path.startswith("/ghl/"):
            yield from dict.fromkeys(path_of(address, row.pk) for row in rows)


@pytest.mark.one_database
@pytest.mark.parametrize("debug", [False, True])
def test_no_page_shows_one(
    secrets: Secrets, used: list[GoHighLevelIntegration], settings: Any, debug: bool
) -> None:
    settings.DEBUG = debug
    client = _owner()
    found = []
    for path in _paths(used, set(Who)):
        found += secrets.found_in(path, _body(client.get(path)))
    admin = [
        f"/admin/{model._meta.app_label}/{model._meta.model_name}/" for model in _admin_models()
    ]
    for path in admin:
        page = _body(client.get(path))
        found += secrets.found_in(path, page)
        for link in set(re.findall(rf'href="({path}[^"?]+/change/)[^"]*"', page)):
            found += secrets.found_in(link, _body(client.get(link)))
    assert found == []


def _admin_models() -> list[Any]:
    return list(admin.site._registry)


@pytest.mark.one_database
def test_no_answer_to_a_form_or_a_machine_has_one_but_the_access_token_that_was_asked_for(
    secrets: Secrets, used: list[GoHighLevelIntegration]
) -> None:
    asked_for = [row.open_access_token() for row in used if row.access_token_encrypted]
    found, told = [], set()
    owner, machine = _owner(), _machine(secrets)
    for client, who in ((owner, set(Who) - {Who.KEY}), (machine, {Who.KEY})):
        for path in _paths(used, who):
            for method in ["post"] if client is owner else ["get", "post"]:
                body = _tried(client, method, path)
                if path.startswith("/app/get-token/") or path.endswith("/reveal/"):
                    told |= {token for token in asked_for if token in body}
                    for token in asked_for:
                        body = body.replace(token, "")
                found += secrets.found_in(f"{method} {path}", body)
    assert found == []
    assert told, "the access token that somebody may have was given to nobody"


def _tried(client: Client, method: str, path: str) -> str:
    """The answer; what the call changed is taken back, so that the next one finds all as it was."""
    with transaction.atomic():
        body = _body(getattr(client, method)(path))
        transaction.set_rollback(True)
    return body


@pytest.mark.one_database
def test_the_metrics_have_none(secrets: Secrets, used: Any, settings: Any, client: Client) -> None:
    key = f"Bearer {settings.METRICS_TOKEN}"
    answer = client.get(METRICS, headers={"Authorization": key})
    assert answer.status_code == 200 and b"whatreach_" in answer.content
    assert secrets.found_in(METRICS, _body(answer)) == []


@pytest.mark.one_database
def test_a_fault_shows_none(
    secrets: Secrets, used: list[GoHighLevelIntegration], settings: Any, monkeypatch: Any
) -> None:
    """The worst page: Django's own with DEBUG on, of a fault with a token in its hands."""
    settings.DEBUG = True

    def fail(self: GoHighLevelIntegration, *_: object) -> None:
        access_token = self.open_access_token()  # noqa: F841 - a local variable of the traceback
        raise RuntimeError("a fault")

    monkeypatch.setattr(GoHighLevelIntegration, "state", fail)
    client = _owner()
    code = secrets.plant("code", get_random_string(32))
    paths = [f"/installs/{used[0].pk}/", "/installs/", f"/app/status/{used[0].pk}/"]
    answers = {path: _body(client.get(f"{path}?code={code}")) for path in paths}
    assert "RuntimeError" in answers["/installs/"]
    found = [secrets.found_in(path, body) for path, body in answers.items()]
    assert not any(found), found


@pytest.mark.one_database
@pytest.mark.parametrize("form", [JSON, TEXT])
def test_the_log_of_a_fault_that_has_them_in_its_words_has_none(
    secrets: Secrets, used: list[GoHighLevelIntegration], settings: Any, monkeypatch: Any, form: str
) -> None:
    """As it is written, with its traceback and the fault behind the fault."""
    written = io.StringIO()
    config = logging_config(level="DEBUG", form=form, secrets=settings.SECRETS)
    config["handlers"]["console"]["stream"] = written

    def fail(self: GoHighLevelIntegration, *_: object) -> None:
        pair = {"access_token": self.open_access_token(), "refresh": self.open_refresh_token()}
        try:
            raise ValueError(f"unreadable: {pair} {settings.SECRET_KEY}")
        except ValueError as error:
            raise RuntimeError(f"a fault with {self.open_refresh_token()}") from error

    monkeypatch.setattr(GoHighLevelIntegration, "state", fail)
    machine = _machine(secrets)
    logging.config.dictConfig(config)
    try:
        machine.get(f"/app/status/{used[0].pk}/")
        _owner().get("/installs/")
    finally:
        logging.config.dictConfig(settings.LOGGING)
    log = written.getvalue()
    assert "RuntimeError: a fault with" in log and "ValueError: unreadable: " in log
    assert secrets.found_in("log", log) == []


@pytest.mark.django_db(transaction=True)
def test_no_log_line_mail_task_or_session_has_one(
    secrets: Secrets,
    used: list[GoHighLevelIntegration],
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    client, machine = _owner(), _machine(secrets)
    for row in used:
        machine.get(f"/app/get-token/{row.pk}/")
        machine.post(f"/app/refresh/{row.pk}/")
        machine.get(f"/app/api/{row.pk}/locations/{row.resource_id}")
        client.post(f"/installs/{row.pk}/refresh/")
        client.post(f"/installs/{row.pk}/reveal/")
    client.post("/accounts/password/reset/", {"email": "olga@agency.test"})
    tasks.tick()
    found = []
    for record in caplog.records:
        traced = logging.Formatter().format(record)
        found += secrets.found_in(f"log of {record.name}", f"{traced} {record.__dict__}")
    assert mail.outbox
    for letter in mail.outbox:
        found += secrets.found_in("mail", letter.message().as_string() + _decoded(letter))
    for row in OrmQ.objects.all():
        found += secrets.found_in("queue", str(row.task))
    for task in Task.objects.all():
        found += secrets.found_in("task", f"{task.args} {task.kwargs} {task.result}")
    sessions = [session.get_decoded() for session in Session.objects.all()]
    assert any("_auth_user_id" in session for session in sessions)
    found += secrets.found_in("session", str(sessions))
    found += secrets.found_in("screen", "".join(capsys.readouterr()))
    for name, content in _stored():
        assert used[1].resource_id in content, f"{name} is not what is stored"
        found += secrets.found_in(name, content)
    assert found == []


def _decoded(letter: Any) -> str:
    parts = letter.message().walk()
    return "".join(_as_text(part.get_payload(decode=True) or b"") for part in parts)


@pytest.mark.one_database
def test_no_command_prints_one(
    secrets: Secrets,
    used: list[GoHighLevelIntegration],
    tmp_path: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for command in (
        ["refresh_ghl_tokens", "--dry-run", "--json"],
        ["doctor", "--json"],
        ["rotate_token_keys", "--json"],
        ["watchdog", "--json"],
    ):
        with suppress(SystemExit):
            call_command(*command)
    shown = "".join(capsys.readouterr())
    assert '"' in shown
    assert secrets.found_in("commands", shown) == []


@pytest.mark.one_database
def test_the_search_finds_any_part_of_what_is_there() -> None:
    secrets = Secrets()
    text = secrets.plant("token", "eyJhbGciOiJSUzI1NiJ9.c29tZXRoaW5n.aVeryOwnEndOfThisToken42")
    secrets.plant("odd", "a~b/c+d=e&f@g:h?i")
    for n in range(len(text) - PART + 1):
        part = text[n : n + PART]
        shown = {"raw": f"…{part}…", "url": quote(part, safe=""), "hex": part.encode().hex()}
        for before in ("", "x", "xy"):
            packed = f"{before}{part}{'z' * 6}".encode()
            shown[f"base64 behind {before}"] = base64.b64encode(packed).decode()
            shown[f"base64 of addresses behind {before}"] = base64.urlsafe_b64encode(
                packed
            ).decode()
        for form, content in shown.items():
            assert secrets.found_in(form, content) == [(form, "token")], (form, part)
    assert secrets.found_in("url", "?next=" + quote("a~b/c+d=e&f@g:h?i", safe="")) == [
        ("url", "odd")
    ]
    assert secrets.found_in("nothing", "eyJhbGciOiJ IUzI1NiJ9 another") == []


def _stored() -> Iterator[tuple[str, str]]:
    """What the database holds: as a reader of its rows sees it, and as a backup does."""
    yield "rows", _rows()
    if connection.vendor == "sqlite":
        name = str(connection.settings_dict["NAME"])
        files = [Path(name + suffix) for suffix in ("", "-wal", "-shm")]
        yield "files", "".join(_as_text(file.read_bytes()) for file in files if file.exists())
    elif command := _backup_command():
        dump = subprocess.run(command, env=_with_password(), capture_output=True, check=True)
        yield command[0], _as_text(dump.stdout)


def _backup_command() -> list[str]:
    """What the database's own tool is called with; empty where it is not installed."""
    to = connection.settings_dict
    if connection.vendor == "postgresql":
        command = ["pg_dump", "-h", to["HOST"], "-p", str(to["PORT"] or 5432), "-U", to["USER"]]
    else:
        command = ["mysqldump", "-h", to["HOST"], "-P", str(to["PORT"] or 3306), "-u", to["USER"]]
    return [*command, str(to["NAME"])] if shutil.which(command[0]) else []


def _with_password() -> dict[str, str]:
    password = str(connection.settings_dict["PASSWORD"] or "")
    return os.environ | ({"PGPASSWORD": password, "MYSQL_PWD": password} if password else {})


def _rows() -> str:
    parts = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")  # noqa: S608
            for row in cursor.fetchall():
                parts += [_as_text(value) for value in row]
    return "\n".join(parts)


def _as_text(value: object) -> str:
    if isinstance(value, bytes | memoryview):
        return bytes(value).decode("latin-1")
    return str(value)
