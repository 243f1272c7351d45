"""The sandbox's own SQLite file. One process owns it; its threads share one connection."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LOCK_TIMEOUT_S = 2.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS companies (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, email TEXT NOT NULL, domain TEXT NOT NULL,
    white_label INTEGER NOT NULL, active INTEGER NOT NULL DEFAULT 1, created_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS locations (
    id TEXT PRIMARY KEY, company_id TEXT NOT NULL REFERENCES companies (id), name TEXT NOT NULL,
    email TEXT NOT NULL, address TEXT NOT NULL, timezone TEXT NOT NULL,
    active INTEGER NOT NULL DEFAULT 1, deleted INTEGER NOT NULL DEFAULT 0,
    created_at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS locations_by_company ON locations (company_id);
CREATE TABLE IF NOT EXISTS users (
    id TEXT PRIMARY KEY, company_id TEXT NOT NULL, location_id TEXT NOT NULL DEFAULT '',
    name TEXT NOT NULL, email TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS users_by_place ON users (company_id, location_id);
CREATE TABLE IF NOT EXISTS installs (
    company_id TEXT NOT NULL, location_id TEXT NOT NULL DEFAULT '', client_id TEXT NOT NULL,
    user_id TEXT NOT NULL, version_id TEXT NOT NULL, scope TEXT NOT NULL, bulk INTEGER NOT NULL,
    future INTEGER NOT NULL, installed_at REAL NOT NULL, active INTEGER NOT NULL DEFAULT 1,
    PRIMARY KEY (company_id, location_id));
CREATE TABLE IF NOT EXISTS codes (
    code TEXT PRIMARY KEY, client_id TEXT NOT NULL, redirect_uri TEXT NOT NULL,
    company_id TEXT NOT NULL, location_id TEXT NOT NULL, user_id TEXT NOT NULL,
    scope TEXT NOT NULL, bulk INTEGER NOT NULL, expires_at REAL NOT NULL, used_at REAL);
CREATE TABLE IF NOT EXISTS refresh_tokens (
    fingerprint TEXT PRIMARY KEY, token TEXT NOT NULL, token_id TEXT NOT NULL,
    client_id TEXT NOT NULL, company_id TEXT NOT NULL, location_id TEXT NOT NULL,
    user_id TEXT NOT NULL, scope TEXT NOT NULL, bulk INTEGER NOT NULL, minted INTEGER NOT NULL,
    issued_at REAL NOT NULL, expires_at REAL NOT NULL, revoked INTEGER NOT NULL DEFAULT 0,
    access_token TEXT NOT NULL, spent_at REAL, successor TEXT,
    uses INTEGER NOT NULL DEFAULT 0, accepted INTEGER NOT NULL DEFAULT 0,
    accepted_in_grace INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS refresh_by_place ON refresh_tokens (company_id, location_id);
CREATE TABLE IF NOT EXISTS access_tokens (
    fingerprint TEXT PRIMARY KEY, client_id TEXT NOT NULL, company_id TEXT NOT NULL,
    location_id TEXT NOT NULL, user_id TEXT NOT NULL, scope TEXT NOT NULL,
    bulk INTEGER NOT NULL, expires_at REAL NOT NULL, revoked INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS access_by_place ON access_tokens (company_id, location_id);
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY, webhook_id TEXT NOT NULL, type TEXT NOT NULL, body BLOB NOT NULL,
    resource_id TEXT NOT NULL, signature TEXT NOT NULL, created_at REAL NOT NULL,
    next_at REAL NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, state TEXT NOT NULL,
    waits_for TEXT NOT NULL DEFAULT '', last_status INTEGER);
CREATE INDEX IF NOT EXISTS events_due ON events (state, next_at);
CREATE INDEX IF NOT EXISTS events_by_webhook_id ON events (webhook_id);
CREATE TABLE IF NOT EXISTS deliveries (
    id INTEGER PRIMARY KEY, event_id INTEGER NOT NULL, at REAL NOT NULL,
    status INTEGER NOT NULL, error TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS deliveries_by_event ON deliveries (event_id);
"""

_CLEARED_ON_RESET = (
    "companies", "locations", "users", "installs", "codes", "refresh_tokens", "access_tokens",
    "events", "deliveries",
)  # fmt: skip


class Store:
    """Rows and small JSON values, every access under one lock.

    Errors: sqlite3.OperationalError when the path cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self.lock = threading.RLock()
        if path != ":memory:":
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(
            path, timeout=LOCK_TIMEOUT_S, check_same_thread=False, isolation_level=None
        )
        self._db.row_factory = sqlite3.Row
        self._depth = 0
        try:
            self._prepare()
        except sqlite3.Error:
            self._db.close()
            raise

    def _prepare(self) -> None:
        # One process owns the file: a second one gets "database is locked".
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        # The state must outlive the process, not a power cut: no fsync for each token call.
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.executescript(_SCHEMA)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; nested use joins the outer one."""
        with self.lock:
            if self._depth:
                yield
                return
            self._db.execute("BEGIN")
            self._depth = 1
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            else:
                self._db.execute("COMMIT")
            finally:
                self._depth = 0

    def run(self, sql: str, *values: object) -> int:
        """Execute one statement and return the number of rows it changed."""
        with self.lock:
            return self._db.execute(sql, values).rowcount

    def insert(self, table: str, **values: object) -> int:
        """Insert one row (replacing one with the same key) and return its rowid."""
        names, marks = ", ".join(values), ", ".join("?" * len(values))
        sql = f"INSERT OR REPLACE INTO {table} ({names}) VALUES ({marks})"
        with self.lock:
            return self._db.execute(sql, tuple(values.values())).lastrowid or 0

    def one(self, sql: str, *values: object) -> sqlite3.Row | None:
        with self.lock:
            row: sqlite3.Row | None = self._db.execute(sql, values).fetchone()
            return row

    def all(self, sql: str, *values: object) -> list[sqlite3.Row]:
        with self.lock:
            return self._db.execute(sql, values).fetchall()

    def number(self, sql: str, *values: object) -> int:
        """The first column of the first row, 0 when there is none or it is NULL."""
        row = self.one(sql, *values)
        return int(row[0] or 0) if row else 0

    def get(self, key: str, default: Any = None) -> Any:
        row = self.one("SELECT value FROM meta WHERE key = ?", key)
        return default if row is None else json.loads(row["value"])

    def put(self, key: str, value: object) -> None:
        self.insert("meta", key=key, value=json.dumps(value))

    def clear(self) -> None:
        """Forget people, installs, tokens and events; keys and client pairs stay."""
        with self.transaction():
            for table in _CLEARED_ON_RESET:
                self.run(f"DELETE FROM {table}")

    def close(self) -> None:
        with self.lock:
            self._db.close()
