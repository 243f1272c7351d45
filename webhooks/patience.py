"""How long a statement may wait: HighLevel wants its answer, and delivers again when told to.

Elsewhere a writer waits for a locked database as long as it takes (SQLite: 20 s). The receiver
must not: a delivery that waits holds a thread of the web server, and HighLevel gives up meanwhile.
Nothing is sent on its own: the limit goes with the statement, so it costs no way to the database.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import OperationalError, connection

from integrations.database_host import USUAL_MS, end_silence_after

# SQLite takes one writer at a time; the others sleep, up to a tenth of a second, and try again,
# whoever came first. With a wait this short somebody would always lose: so the threads of a process
# queue here, and the first of them looks often.
LOOK_EVERY_S = 0.003
_writing = threading.Lock()
# A server that was started anew says at once that it does not know the connection.
QUICK_S = 0.3


@contextmanager
def at_most(wait_ms: int) -> Iterator[None]:
    """Have each INSERT within give up with an OperationalError after about this long, and so a
    database's host that says nothing.

    MySQL (not MariaDB) cannot limit a single statement; there the server's own limits hold.
    """
    end_silence_after(wait_ms)
    try:
        _check_kept_connection()
        with connection.execute_wrapper(_wrapper(wait_ms)):
            yield
    finally:
        end_silence_after(USUAL_MS)


def _check_kept_connection() -> None:
    """Do what Django does before the first statement of a request, but when the connection is lost
    make no new one within the same wait. Errors: OperationalError, when finding out took long."""
    here: Any = connection
    is_due = here.health_check_enabled and not here.health_check_done
    if here.vendor == "sqlite" or here.connection is None or here.in_atomic_block or not is_due:
        return
    began = time.monotonic()
    try:
        with here.connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except here.Database.Error:
        here.close()
        if time.monotonic() - began > QUICK_S:
            raise OperationalError("the database's host says nothing") from None
    else:
        here.health_check_done = True


def _wrapper(wait_ms: int) -> Callable[..., Any]:
    if connection.vendor == "sqlite":
        return _sqlite(wait_ms)
    inner = _postgresql(wait_ms) if connection.vendor == "postgresql" else _mysql(wait_ms)

    def execute(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if not sql.startswith("INSERT"):  # a rollback, say, must stay what it is
            return execute(sql, params, many, context)
        return inner(execute, sql, params, many, context)

    return execute


def _postgresql(wait_ms: int) -> Callable[..., Any]:
    # With its statement they are one transaction, at whose end they are forgotten.
    limits = f"SET LOCAL lock_timeout = {wait_ms}; SET LOCAL statement_timeout = {wait_ms}; "

    def execute(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        result = execute(limits + sql, params, many, context)
        while context["cursor"].cursor.nextset():  # on to the answer of the statement itself
            pass
        return result

    return execute


def _mysql(wait_ms: int) -> Callable[..., Any]:
    limits = ""
    if getattr(connection, "mysql_is_mariadb", False):
        lock_s = max(wait_ms // 1000, 1)  # counted in whole seconds
        limits = (
            f"SET STATEMENT innodb_lock_wait_timeout={lock_s}, lock_wait_timeout={lock_s}, "
            f"max_statement_time={wait_ms / 1000} FOR "
        )

    def execute(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        return execute(limits + sql, params, many, context)

    return execute


def _sqlite(wait_ms: int) -> Callable[..., Any]:
    usual_ms = int(connection.settings_dict["OPTIONS"].get("timeout", 5) * 1000)

    def execute(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        give_up_at = time.monotonic() + wait_ms / 1000
        if not _writing.acquire(timeout=wait_ms / 1000):
            raise OperationalError("database is locked")
        database = connection.connection
        try:
            database.execute("PRAGMA busy_timeout = 0")
            while True:
                try:
                    return execute(sql, params, many, context)
                except OperationalError as error:
                    if "locked" not in str(error) or time.monotonic() > give_up_at:
                        raise
                time.sleep(LOOK_EVERY_S)
        finally:
            _writing.release()
            database.execute(f"PRAGMA busy_timeout = {usual_ms}")

    return execute
