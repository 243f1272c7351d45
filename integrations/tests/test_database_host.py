from __future__ import annotations

import os
import socket

import pytest
from django.db import connection

from integrations import database_host

SESSION = {
    "postgresql": "SELECT current_setting('idle_in_transaction_session_timeout')",
    "mysql": "SELECT @@tx_isolation, @@time_zone, @@sql_mode, @@wait_timeout",
}
END = {"postgresql": "SELECT pg_terminate_backend({})", "mysql": "KILL {}"}


def session() -> tuple[object, ...]:
    """Everything that is set for the time of a connection."""
    with connection.cursor() as cursor:
        cursor.execute(SESSION[connection.vendor])
        told = cursor.fetchone()
    database = connection.connection
    end = database if connection.vendor == "postgresql" else database._sock
    with socket.socket(fileno=os.dup(end.fileno())) as copy:
        silence_ms = copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
    return *told, getattr(database, "_read_timeout", None), silence_ms


def number() -> int:
    """By which the server knows this connection."""
    database = connection.connection
    if connection.vendor == "postgresql":
        return int(database.info.backend_pid)
    return int(database.thread_id())


@pytest.mark.skipif(connection.vendor == "sqlite", reason="nobody ends a connection to a file")
@pytest.mark.django_db(transaction=True)
def test_a_connection_that_the_server_ended_is_made_anew_with_all_that_is_set_for_it():
    before, ended = session(), number()
    assert before[-1] == database_host.USUAL_MS
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute(END[connection.vendor].format(ended))
    other.close()
    connection.close_if_unusable_or_obsolete()  # a new request begins
    assert session() == before
    assert number() != ended
