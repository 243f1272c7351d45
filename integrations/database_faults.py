"""Why the database cannot do its work: it does not answer, or it has no room for another row."""

from __future__ import annotations

from uuid import uuid4

from django.db import Error as DatabaseFault
from django.db import connection, transaction
from django.utils import timezone

from integrations.models import Heartbeat

AWAY = "the database does not answer"
FULL = "the database is full"

_POSTGRESQL = "53100"  # disk_full
_NOT_ALLOWED = "42501"  # insufficient_privilege
_MYSQL = (1021, 1114)  # the disk, the table is full
_MYSQL_QUOTES = "No space left on device"  # the system's words, under several codes
# The second: no room for the file that its processes share, when none has it open yet.
_SQLITE = ("SQLITE_FULL", "SQLITE_IOERR_SHMSIZE")


def in_words(error: Exception) -> str:
    """Return FULL or AWAY."""
    return FULL if is_full(error) else AWAY


def find_out(error: Exception) -> str:
    """Return FULL or AWAY, or nothing when the database answers: then the fault is another one, as
    a column that only the next `migrate` makes."""
    if is_full(error):
        return FULL
    return "" if answers() else AWAY


def answers() -> bool:
    """Whether the database begins a transaction, on a new connection: the old one may be lost."""
    if not connection.in_atomic_block:
        connection.close()
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseFault:
        return False
    return True


def is_full(error: Exception) -> bool:
    """Whether a database error says that there is no room, by the driver's own code."""
    cause = error.__cause__
    if getattr(cause, "sqlstate", "") == _POSTGRESQL:
        return True
    if getattr(cause, "sqlite_errorname", "") in _SQLITE:
        return True
    return error.args[:1] in [(code,) for code in _MYSQL] or _MYSQL_QUOTES in str(error)


def try_to_write() -> None:
    """Write something new, which leaves no trace.

    Errors: django.db.Error, when nothing can be written. PostgreSQL changes rows in place for long
    after its disk was full, so it has to make a new file, if we may.
    """
    if connection.vendor == "postgresql" and _may_make_a_file():
        return
    name = f"probe {uuid4().hex[:12]}"
    with transaction.atomic():
        Heartbeat.objects.create(name=name, at=timezone.now())
        Heartbeat.objects.filter(name=name).delete()


def _may_make_a_file() -> bool:
    """Make a temporary table, unless TEMPORARY was revoked from us."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("CREATE TEMPORARY TABLE write_probe AS SELECT 1")
            cursor.execute("DROP TABLE pg_temp.write_probe")
    except DatabaseFault as error:
        if getattr(error.__cause__, "sqlstate", "") != _NOT_ALLOWED:
            raise
        return False
    return True
