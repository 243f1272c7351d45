"""The examples of the documentation, run: what they show is what comes."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command, get_commands, load_command_class
from django.test import Client

from config import health
from integrations import heartbeat
from integrations.health import Status
from integrations.models import GoHighLevelIntegration
from integrations.tasks import renew_batch
from webhooks import delivery, endpoints
from webhooks.tests.receiver import receiver

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
pytestmark = [pytest.mark.django_db, pytest.mark.one_database]


def blocks(page: Path, language: str) -> dict[str, str]:
    """Return the fenced blocks by the heading they stand under: "GET /app/list/", and where there
    are several "… 2"."""
    found: dict[str, str] = {}
    for section in re.split(r"^#+ ", page.read_text(), flags=re.MULTILINE)[1:]:
        heading, _, text = section.partition("\n")
        fences = re.findall(rf"^ *```{language}\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
        for n, block in enumerate(fences, start=1):
            found[heading if n == 1 else f"{heading} {n}"] = block
    return found


def shape(value: Any) -> Any:
    """Return what a value is like: the keys and, in place of each value, its kind."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [shape(inner) for inner in value]
    if isinstance(value, str):
        with suppress(ValueError):
            return f"a time of {len(value)} characters, {datetime.fromisoformat(value).tzinfo}"
        with suppress(ValueError):
            return f"an id like {uuid.UUID(value).version}"
    return type(value).__name__


# --- docs/api.md ---


class Examples:
    """How each example of docs/api.md comes about. `only`: an answer that is so to the letter."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._of = request.getfixturevalue
        self.key: Client = self._of("api")()

    def install(self, **fields: Any) -> GoHighLevelIntegration:
        row: GoHighLevelIntegration = self._of("install_location")()
        GoHighLevelIntegration.objects.filter(pk=row.pk).update(**fields or {"user_email": "a@b.c"})
        return row

    def get(self, path: str) -> Any:
        return self.key.get(path).json()

    def post(self, path: str, body: Any = None) -> Any:
        return self.key.post(path, body, content_type="application/json").json()

    def errors(self) -> Any:
        return self._of("api")("proxy").get(f"/app/get-token/{uuid.uuid4()}/").json()

    def listed(self) -> Any:
        self.install(), self.install()
        return self.get("/app/list/?limit=1")

    def status(self) -> Any:
        row = self.install()
        self.get(f"/app/get-token/{row.pk}/")
        GoHighLevelIntegration.objects.update(
            status=Status.REFUSED, cause="refused", renew_at=None, user_email="a@b.c"
        )
        return self.get(f"/app/status/{row.pk}/")

    def token_health(self) -> Any:
        for _ in range(3):
            self.install()
        return self.get("/app/token-health/")

    def token(self) -> Any:
        return self.get(f"/app/get-token/{self.install().pk}/")

    def renewed(self) -> Any:
        return self.post(f"/app/refresh/{self.install().pk}/")

    def few(self) -> Any:
        return self.post("/app/bulk-refresh/", {"ids": [str(self.install().pk) for _ in range(3)]})

    def many(self) -> Any:
        make = self._of("make_install")
        return self.post("/app/bulk-refresh/", {"ids": [str(make().pk) for _ in range(40)]})

    def job(self) -> Any:
        rows = [self.install() for _ in range(9)]
        job = self.post("/app/bulk-refresh/", {"ids": [str(row.pk) for row in rows]})["job"]
        self._of("world").refuse(rows[0].resource_id)
        renew_batch(job, [str(row.pk) for row in rows])
        return self.get(f"/app/jobs/{job}/")

    def connectivity(self) -> Any:
        return self.get("/app/test-connectivity/")

    def event(self) -> Any:
        body = json.dumps({"type": "ContactCreate", "webhookId": "w-1"}).encode()
        body, signature = self._of("world").signer.signed(body, "ed25519")
        request = {"content_type": "application/json", "headers": signature}
        return self.key.post("/app/webhook/", body, **request).json()

    def ready(self) -> Any:
        heartbeat.beat(heartbeat.SCHEDULER)
        health._has_written.cache_clear()
        return self.get("/readyz")


# {heading: (what comes, whether it is so to the letter)}
ANSWERS: dict[str, tuple[Callable[[Examples], Any], bool]] = {
    "Errors": (Examples.errors, False),
    "GET /app/list/": (Examples.listed, False),
    "GET /app/status/{id}/": (Examples.status, False),
    "GET /app/token-health/": (Examples.token_health, True),
    "GET /app/get-token/{id}/": (Examples.token, False),
    "POST /app/refresh/{id}/": (Examples.renewed, False),
    "POST /app/bulk-refresh/ 2": (Examples.few, True),
    "POST /app/bulk-refresh/ 3": (Examples.many, False),
    "GET /app/jobs/{id}/": (Examples.job, False),
    "GET /app/test-connectivity/": (Examples.connectivity, False),
    "POST /app/webhook/": (Examples.event, True),
    "GET /healthz, /readyz": (Examples.ready, True),
}
BODY = "POST /app/bulk-refresh/"  # what is sent, not what comes


def test_each_example_of_the_api_is_run() -> None:
    assert set(blocks(ROOT / "docs" / "api.md", "json")) == {*ANSWERS, BODY}


@pytest.mark.parametrize("heading", ANSWERS)
def test_what_the_api_answers_is_what_its_page_shows(heading, world, request) -> None:
    shown = json.loads(blocks(ROOT / "docs" / "api.md", "json")[heading])
    make, to_the_letter = ANSWERS[heading]
    told = make(Examples(request))
    assert shape(told) == shape(shown)
    if to_the_letter:
        assert told == shown
    for key in ("error", "state", "cause", "who_acts", "explanation", "message", "source"):
        if key in shown:
            assert told[key] == shown[key]


def test_the_body_of_a_bulk_renewal_is_taken_as_shown(api, install_location) -> None:
    row = install_location()
    body = blocks(ROOT / "docs" / "api.md", "json")[BODY]
    body = body.replace(json.loads(body)["ids"][0], str(row.pk))
    answer = api().post("/app/bulk-refresh/", body, content_type="application/json").json()
    assert answer["refreshed_count"] == 1


def test_highlevel_is_called_through_whatreach_as_shown(api, install_location) -> None:
    row = install_location()
    text = blocks(ROOT / "docs" / "api.md", "")["any /app/api/{id}/{path}"]
    url, header = curl(text)
    path = re.sub(r"[0-9a-f-]{36}/.*", f"{row.pk}/locations/{row.resource_id}", url)
    assert header == "Authorization: Bearer wr_…"
    answer = api("proxy").get(path.removeprefix("https://whatreach.example.com"))
    assert answer.status_code == 200
    assert b"Harbour Dental" in b"".join(answer.streaming_content)


# --- README.md ---


def curl(line: str) -> tuple[str, str]:
    """Return the address and the header of `curl -H "…" ADDRESS`."""
    _curl, _option, header, url = shlex.split(line.replace("\\\n", " "))
    return url, header


def test_the_tour_of_the_readme(client, install_location) -> None:
    row = install_location()
    page = blocks(ROOT / "README.md", "sh")
    made, printed = shlex.split(page["A short tour"]), StringIO()
    call_command(*made[2:], stdout=printed)
    set_key, *calls = page["A short tour 2"].splitlines()
    assert set_key.startswith("export KEY=wr_…")
    [key] = re.findall(r"\bwr_[\w-]+", printed.getvalue())
    answers = []
    for call in calls:
        url, header = curl(call)
        path = re.sub(r"[0-9a-f-]{36}", str(row.pk), url.removeprefix("http://localhost:8000"))
        name, _, value = header.replace("$KEY", key).partition(": ")
        answers.append(client.get(path, headers={name: value}).json())
    listed, token = answers
    assert [install["id"] for install in listed["integrations"]] == [str(row.pk)]
    assert token["access_token"] == row.open_access_token()
    assert shape(token) == shape(json.loads(blocks(ROOT / "README.md", "json")["A short tour"]))


# --- docs/forwarding.md ---


def test_a_back_end_reads_an_event_as_shown(settings, monkeypatch) -> None:
    settings.FORWARD_ALLOW_PRIVATE_ADDRESSES = True
    monkeypatch.setattr(delivery, "LINGER_S", 0)
    [lines] = blocks(ROOT / "docs" / "forwarding.md", "python").values()
    with receiver() as back_end:
        endpoint = endpoints.create(name="Billing", url=back_end.url, by="sam")
        endpoints.send_test(endpoint)
        delivery.deliver_due()
    names: dict[str, Any] = {"request": back_end.got[0]}
    exec(lines.replace("whsec_…", endpoint.open_secret()), names)  # noqa: S102
    assert names["event"]["type"] == "whatreach.test"


# --- Commands ---


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_is_shown_for_a_shell_is_good_shell(page: Path) -> None:
    for heading, block in blocks(page, "sh").items():
        judged = subprocess.run(["sh", "-n"], input=block, text=True, capture_output=True)
        assert judged.returncode == 0, f"{heading}: {judged.stderr}"


def test_the_watchdog_prints_what_is_shown(settings, tmp_path) -> None:
    settings.WATCHDOG_STATE_FILE = str(tmp_path / "watchdog.json")
    for name in heartbeat.PARTS:
        heartbeat.beat(name)
    block = blocks(ROOT / "docs" / "alerts.md", "sh")["Watching the watcher"]
    [(shown, line)] = re.findall(r"manage\.py (watchdog --json) +# (.*)", block)
    printed = StringIO()
    call_command(*shown.split(), stdout=printed)
    assert json.loads(printed.getvalue()) == json.loads(line)


def documented_commands() -> list[str]:
    """Return each `manage.py …` of a block, without what the shell does with it."""
    lines = [
        line
        for page in PAGES
        for block in blocks(page, "sh").values()
        for line in block.replace("\\\n", " ").splitlines()
    ]
    return sorted({m[1].partition("#")[0] for line in lines if (m := re.search(COMMAND, line))})


COMMAND = r"\bmanage\.py (.*)"


@pytest.mark.parametrize("line", documented_commands())
def test_a_command_takes_the_options_it_is_shown_with(line: str) -> None:
    name, *options = shlex.split(line)
    command = load_command_class(get_commands()[name], name)
    command.create_parser("manage.py", name).parse_args(options)
