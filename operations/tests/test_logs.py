"""What is logged: one entry a line, with the request's id, and nothing secret."""

from __future__ import annotations

import io
import json
import logging
import logging.config
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings
from structlog.contextvars import bind_contextvars, clear_contextvars

from config.logs import JSON, TEXT, logging_config

pytestmark = pytest.mark.one_database

JWT = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJYIn0.c2lnbmF0dXJl"


@pytest.fixture
def written(settings: Any) -> Iterator[Callable[..., str]]:
    """Return a function that logs through the real configuration and returns what was written."""

    def write(log: Callable[[logging.Logger], None], form: str = JSON) -> str:
        stream = io.StringIO()
        config = logging_config(level="DEBUG", form=form, secrets=settings.SECRETS)
        config["handlers"]["console"]["stream"] = stream
        logging.config.dictConfig(config)
        try:
            log(logging.getLogger("whatreach.test"))
        finally:
            logging.config.dictConfig(settings.LOGGING)
        return stream.getvalue()

    yield write
    clear_contextvars()


def test_an_entry_is_one_json_object(written):
    line = written(lambda log: log.info("Renewed %s", "x", extra={"ms": 12}))
    entry = json.loads(line)
    assert (entry["event"], entry["level"], entry["ms"]) == ("Renewed x", "info", 12)
    assert entry["logger"] == "whatreach.test"
    assert entry["timestamp"].endswith("Z")


def test_an_entry_of_a_request_bears_its_id(written):
    bind_contextvars(request_id="abc-12345")
    assert json.loads(written(lambda log: log.info("here")))["request_id"] == "abc-12345"


def test_a_traceback_is_part_of_its_entry(written):
    def fail(log: logging.Logger) -> None:
        try:
            raise ValueError("no such day")
        except ValueError:
            log.exception("It failed")

    lines = written(fail).splitlines()
    assert len(lines) == 1
    assert "ValueError: no such day" in json.loads(lines[0])["exception"]


def test_readable_lines_are_for_people(written):
    line = written(lambda log: log.warning("Renewal failed", extra={"cause": "no_answer"}), TEXT)
    assert "Renewal failed" in line
    assert "cause=no_answer" in line
    assert not line.startswith("{")


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("Authorization: Bearer abcdef123456", "abcdef123456"),
        ("called with wr_0a1b2c3d_Zx9-secretpart", "Zx9-secretpart"),
        (f"answer {JWT} came", JWT.split(".")[1]),
        ("GET /app/callback/?code=4f5d6c7b&state=s3cr3tstate", "4f5d6c7b"),
        ("GET /app/callback/?code=4f5d6c7b&state=s3cr3tstate", "s3cr3tstate"),
        ("grant_type=refresh_token&refresh_token=r3fr3sh&x=1", "r3fr3sh"),
        ("client_secret=5ecret", "5ecret"),
        ('{"refresh_token": "r3fr3sh", "a": 1}', "r3fr3sh"),
        ("{'accessToken': 'acc3ss'}", "acc3ss"),
        ("postgres://whatreach:pa55word@db:5432/whatreach", "pa55word"),
        ("Cookie: sessionid=s3ss10n; csrftoken=c5rf", "s3ss10n"),
    ],
)
@pytest.mark.parametrize("form", [JSON, TEXT])
def test_a_secret_is_taken_out_wherever_it_stands(written, text, secret, form):
    def fail(log: logging.Logger) -> None:
        log.info(text)
        log.info("%s", text)
        log.info("nested", extra={"about": {"list": [text]}})
        try:
            raise ValueError(text)
        except ValueError:
            log.exception("failed")

    output = written(fail, form)
    assert output.count("[removed]") >= 4
    assert secret not in output


@pytest.mark.parametrize(
    "name",
    [
        "Authorization",
        "refresh_token",
        "accessToken",
        "client_secret",
        "code",
        "password",
        "cookie",
    ],
)
def test_a_value_under_a_secret_name_is_taken_out(written, name):
    output = written(
        lambda log: log.info("x", extra={name: "plainvalue", "a": {name: "plainvalue"}})
    )
    assert "plainvalue" not in output


def test_the_secrets_of_the_settings_are_taken_out_of_any_sentence(written):
    known = [settings.SECRET_KEY, settings.GHL_CLIENT_SECRET]
    known.append(settings.TOKEN_ENCRYPTION_KEYS.partition(":")[2])
    for value in known:
        assert value not in written(lambda log, value=value: log.info(f"it is {value}, see"))


def test_words_that_only_look_like_secrets_stay(written):
    text = "token_damaged: status=401 route=app/get-token/<uuid:pk>/ code: invalid_grant"
    assert json.loads(written(lambda log: log.info(text)))["event"] == text
