"""Installs and events as other programs kept them, read into one shape.

Known are: the database of the earlier WhatReach (tables ghl_integration and ghl_webhook), CSV and
JSON files with a row for each install, and the sessions that HighLevel's own SDKs keep. Names of
columns are compared without case and underscores, and several names are taken for one thing
(docs/import.md has the list), since none of these forms is written down anywhere.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import environ
from django.db import Error as DatabaseFault
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import ConnectionHandler
from django.utils.dateparse import parse_datetime

INSTALLS_TABLE, EVENTS_TABLE = "ghl_integration", "ghl_webhook"
_URL = re.compile(r"(postgres|postgresql|mysql|sqlite)://")
_BATCH = 500
# Above this a number of seconds since 1970 would lie in the year 5138: it is milliseconds.
_MILLISECONDS_ABOVE = 1e11

_NAMES = {
    "old_id": ("id", "uuid"),
    "access_token": ("accesstoken", "token"),
    "refresh_token": ("refreshtoken",),
    "token_type": ("tokentype",),
    "expires_at": ("expiresat", "expireat", "tokenexpiresat", "accesstokenexpiresat", "expiry"),
    "expires_in": ("expiresin",),
    "issued_at": ("tokenupdatedat", "lastrefreshedat", "refreshedat", "updatedat"),
    "user_type": ("usertype",),
    "company_id": ("companyid", "agencyid"),
    "location_id": ("locationid", "subaccountid"),
    "name": ("locationname", "name"),
    "company_name": ("companyname", "agencyname"),
    "user_email": ("useremail", "email"),
    "user_id": ("userid",),
    "client_id": ("clientid",),
    "scope": ("scope", "scopes"),
    "plan_id": ("planid",),
    "installed_at": ("installedat", "createdat"),
    "last_used_at": ("lastusedat",),
    "is_active": ("isactive", "active"),
    "resource_id": ("resourceid",),
}
_EVENT_NAMES = {
    "webhook_id": ("webhookid", "eventid"),
    "type": ("type", "eventtype", "event"),
    "body": ("body", "payload", "data", "rawbody"),
    "company_id": ("companyid",),
    "location_id": ("locationid",),
    "occurred_at": ("timestamp", "occurredat"),
    "received_at": ("receivedat", "createdat"),
    "was_processed": ("processed", "isprocessed", "processedat"),
}


class Unreadable(Exception):
    """The source is none of the known forms, or cannot be opened. The text says why."""


class BadRow(Exception):
    """One row cannot be used. The text says why, without a token."""


@dataclass(frozen=True)
class OldInstall:
    """One install. Times are aware UTC; texts are empty where nothing is known."""

    old_id: str
    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    token_type: str
    expires_at: datetime
    user_type: str
    company_id: str
    location_id: str
    name: str
    company_name: str
    user_email: str
    user_id: str
    client_id: str
    scope: str
    plan_id: str
    installed_at: datetime | None
    last_used_at: datetime | None
    is_active: bool

    @property
    def resource_id(self) -> str:
        return self.location_id if self.user_type == "Location" else self.company_id


@dataclass(frozen=True)
class OldEvent:
    webhook_id: str
    type: str
    body: str
    company_id: str
    location_id: str
    occurred_at: datetime
    received_at: datetime
    was_processed: bool


Row = Mapping[str, Any]


@contextmanager
def opened(source: str) -> Iterator[tuple[Iterable[Row], Iterable[Row]]]:
    """Give the rows of installs and those of events, as they stand there, while the context is
    open. Errors: Unreadable."""
    if _URL.match(source):
        with _database(environ.Env.db_url_config(source)) as rows:
            yield rows
        return
    path = Path(source)
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise Unreadable(f"{source} cannot be read: {error.strerror}.") from None
    if head == b"SQLite format 3\x00":
        name = f"file:{path.resolve()}?mode=ro"
        with _database({"ENGINE": "django.db.backends.sqlite3", "NAME": name}) as rows:
            yield rows
        return
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise Unreadable(f"{source} is neither a SQLite database nor text in UTF-8.") from None
    is_json = text.lstrip()[:1] in ("{", "[")
    yield (_from_json if is_json else _from_csv)(text, source), ()


# --- The forms ---


@contextmanager
def _database(config: Mapping[str, Any]) -> Iterator[tuple[Iterable[Row], Iterable[Row]]]:
    if config["ENGINE"].endswith("mysql"):
        import pymysql

        pymysql.install_as_MySQLdb()
    old = ConnectionHandler({"default": dict(config)})["default"]
    try:
        tables = _tables(old)
        if INSTALLS_TABLE not in tables:
            raise Unreadable(f"The database has no table {INSTALLS_TABLE}.")
        events = _table(old, EVENTS_TABLE) if EVENTS_TABLE in tables else ()
        yield _table(old, INSTALLS_TABLE), events
    finally:
        old.close()


def _tables(old: BaseDatabaseWrapper) -> list[str]:
    try:
        return old.introspection.table_names()
    except DatabaseFault as error:
        raise Unreadable(f"The database cannot be read ({type(error).__name__}).") from None


def _table(old: BaseDatabaseWrapper, name: str) -> Iterator[Row]:
    with old.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {name}")  # noqa: S608 - one of two names of our own
        columns = [column[0] for column in cursor.description]
        while batch := cursor.fetchmany(_BATCH):
            for values in batch:
                yield dict(zip(columns, values, strict=True))


def _from_json(text: str, source: str) -> Iterable[Row]:
    """A list of objects; one object with a list inside; sessions by their resource's id; or an
    object a line."""
    try:
        data = json.loads(text)
    except ValueError:
        try:
            data = [json.loads(line) for line in text.splitlines() if line.strip()]
        except ValueError:
            raise Unreadable(f"{source} begins like JSON but is none.") from None
    rows = _rows_in(data)
    if not all(isinstance(row, dict) for row in rows):
        raise Unreadable(f"{source} is not a list of objects.")
    return rows


def _rows_in(data: Any) -> list[Any]:
    if not isinstance(data, dict):
        return list(data)
    if _is_row(data):
        return [data]
    for value in data.values():
        if isinstance(value, list):
            return value
    sessions = [(key, value) for key, value in data.items() if isinstance(value, dict)]
    return [{"resourceId": key} | value for key, value in sessions]


def _is_row(data: Row) -> bool:
    return any(_plain(name) in ("accesstoken", "refreshtoken") for name in data)


def _from_csv(text: str, source: str) -> Iterable[Row]:
    lines = text.splitlines()
    try:
        dialect: Any = csv.Sniffer().sniff(lines[0], delimiters=",;\t") if lines else csv.excel
    except csv.Error:
        dialect = csv.excel
    rows = csv.DictReader(lines, dialect=dialect)
    if not _is_row(dict.fromkeys(rows.fieldnames or (), "")):
        raise Unreadable(f"{source}: the first line names no column access_token or refresh_token.")
    return rows


# --- A row ---


def read_install(row: Row, now: datetime) -> OldInstall:
    """Errors: BadRow."""
    values = _named(row, _NAMES)
    refresh_token, access_token = (_text(values[n]) for n in ("refresh_token", "access_token"))
    if not refresh_token and not access_token:
        raise BadRow("it has no token")
    location_id, company_id = _text(values["location_id"]), _text(values["company_id"])
    user_type = _user_type(_text(values["user_type"]), location_id)
    resource_id = _text(values["resource_id"])
    if user_type == "Location":
        location_id = location_id or resource_id
    else:
        company_id = company_id or resource_id
    if not (location_id if user_type == "Location" else company_id):
        raise BadRow("it does not say which account it is for")
    return OldInstall(
        old_id=_text(values["old_id"]),
        access_token=access_token,
        refresh_token=refresh_token,
        token_type=_text(values["token_type"]) or "Bearer",
        expires_at=_expires_at(values, now),
        user_type=user_type,
        company_id=company_id,
        location_id=location_id,
        name=_text(values["name"]),
        company_name=_text(values["company_name"]),
        user_email=_text(values["user_email"]),
        user_id=_text(values["user_id"]),
        client_id=_text(values["client_id"]),
        scope=_scope(values["scope"]),
        plan_id=_text(values["plan_id"]),
        installed_at=_time(values["installed_at"]),
        last_used_at=_time(values["last_used_at"]),
        is_active=_flag(values["is_active"], default=True),
    )


def read_event(row: Row, now: datetime) -> OldEvent:
    """Errors: BadRow."""
    values = _named(row, _EVENT_NAMES)
    body = values["body"]
    text = body if isinstance(body, str) else json.dumps(body)
    inside = _json_object(text)
    told = {name: inside.get(key) for name, key in _IN_BODY.items()}
    known = {name: _text(values[name]) or _text(told.get(name)) for name in _IN_BODY}
    if not known["webhook_id"]:
        raise BadRow("the event has no id")
    received_at = _time(values["received_at"]) or now
    return OldEvent(
        webhook_id=known["webhook_id"][:100],
        type=known["type"][:80],
        body=text,
        company_id=known["company_id"][:64],
        location_id=known["location_id"][:64],
        occurred_at=_time(values["occurred_at"] or inside.get("timestamp")) or received_at,
        received_at=received_at,
        was_processed=_flag(values["was_processed"], default=False),
    )


_IN_BODY = {
    "webhook_id": "webhookId",
    "type": "type",
    "company_id": "companyId",
    "location_id": "locationId",
}


def _named(row: Row, names: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """Return the row's values by our names; None where no column goes by any of theirs."""
    plain = {_plain(name): value for name, value in row.items() if isinstance(name, str)}
    return {
        ours: next((plain[name] for name in theirs if plain.get(name) not in (None, "")), None)
        for ours, theirs in names.items()
    }


def _plain(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())


def _user_type(told: str, location_id: str) -> str:
    if told.lower() in ("company", "agency"):
        return "Company"
    if told.lower() in ("location", "sub-account", "subaccount"):
        return "Location"
    return "Location" if location_id else "Company"


def _expires_at(values: Mapping[str, Any], now: datetime) -> datetime:
    """When nothing tells, the token counts as ended, so that it is renewed at once."""
    told = _time(values["expires_at"])
    if told is not None:
        return told
    issued_at = _time(values["issued_at"]) or _time(values["installed_at"])
    try:
        life = timedelta(seconds=float(values["expires_in"]))
    except (TypeError, ValueError, OverflowError):
        return now
    return issued_at + life if issued_at else now


def _time(value: Any) -> datetime | None:
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    try:
        if isinstance(value, Mapping):  # as MongoDB exports it
            return _time(value.get("$date"))
        if isinstance(value, int | float) or re.fullmatch(r"\d{9,}(\.\d+)?", str(value)):
            number = float(value)
            seconds = number / 1000 if number > _MILLISECONDS_ABOVE else number
            return datetime.fromtimestamp(seconds, UTC)
        told = parse_datetime(str(value))
    except (ValueError, OverflowError, OSError):
        return None
    if told is None:
        return None
    return told if told.tzinfo else told.replace(tzinfo=UTC)


def _flag(value: Any, *, default: bool) -> bool:
    if value is None:
        return default
    return str(value).strip().lower() not in ("0", "false", "f", "no", "n", "")


def _scope(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return _text(value)


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _json_object(text: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}
