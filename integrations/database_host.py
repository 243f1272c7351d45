"""A database whose host is gone: it does not even refuse, it says nothing.

The kernel sends again for a quarter of an hour what nobody acknowledges, while a thread waits. How
long it may do so is a matter of the connection, and no part of how long a statement may take.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import Any

from django.db import connection

# A network may be away for some seconds without costing a connection that is in use. Connecting
# has less time: see settings.
USUAL_MS = 20_000
# Linux has it; elsewhere the system decides.
_OPTION: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)


def on_connected(connection: Any, **_kwargs: Any) -> None:
    """Django's signal."""
    if connection.vendor == "mysql":  # a statement may take as long as it takes
        connection.connection._read_timeout = None
    _end_silence_after(connection, USUAL_MS)


def end_silence_after(ms: int) -> None:
    """Have this thread's connection end with an OperationalError, when it has one and the host
    acknowledges nothing for so long."""
    _end_silence_after(connection, ms)


def _end_silence_after(connection: Any, ms: int) -> None:
    database = connection.connection
    if database is None or _OPTION is None or connection.vendor == "sqlite":
        return
    with suppress(OSError, AttributeError, connection.Database.Error):  # closed, or no TCP
        end = database if connection.vendor == "postgresql" else database._sock
        with socket.socket(fileno=os.dup(end.fileno())) as copy:
            copy.setsockopt(socket.IPPROTO_TCP, _OPTION, ms)
