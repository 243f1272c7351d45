"""The body of a request as it comes, of a known length or in chunks: up to a size, and in time.

The web server itself waits for each byte without an end. So after the deadline the reading half of
the sender's connection is closed, which ends the wait and leaves the answer its way.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

from django.http import HttpRequest

from integrations.errors import ApiError

logger = logging.getLogger(__name__)

CHUNK_BYTES = 65_536
# A body that is late is given up so long after its deadline at the most.
LOOK_EVERY_S = 1.0


class Upload:
    """One body, to be read once and closed. `give_up_at`: on the monotonic clock.

    `in_chunks`: how long it is shows at its end alone; it is to be read by one `read()`.
    """

    def __init__(self, request: HttpRequest, most_bytes: int, give_up_at: float) -> None:
        """Errors: ApiError 411 without a length that can be told, 413."""
        length = _length(request)
        if length is not None and length > most_bytes:
            raise ApiError("body_too_large", 413)
        self.in_chunks = length is None
        self._length = length or 0
        self._left = most_bytes + 1 if length is None else length
        self._read = request.META["wsgi.input"].read if self.in_chunks else request.read
        self._give_up_at = give_up_at
        self._connection = request.META.get("gunicorn.socket") if self._left else None
        if self._connection is not None:
            _watch(self._connection, give_up_at)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[bytes]:
        while chunk := self.read(CHUNK_BYTES):
            yield chunk

    def read(self, size: int = -1) -> bytes:
        """Errors: ApiError 400 when the body ends too early or its chunks are none, 408 when it
        comes too late, 413."""
        wanted = self._left if size < 0 else min(size, self._left)
        try:
            data: bytes = self._read(wanted) if wanted else b""
        except Exception as error:  # bad chunks are errors of the web server's own kinds
            logger.info("A body could not be read: %s", type(error).__name__)
            raise self._broken_off() from None
        self._left -= len(data)
        if self.in_chunks:
            if not self._left:
                raise ApiError("body_too_large", 413)
            return data
        if len(data) < wanted:
            raise self._broken_off()
        return data

    def close(self) -> None:
        """The connection may soon serve another call: nothing ends its reading any more."""
        if self._connection is not None:
            with _lock:
                _deadlines.pop(self._connection, None)

    def _broken_off(self) -> ApiError:
        if time.monotonic() >= self._give_up_at:
            return ApiError("upload_too_slow", 408)
        return ApiError("invalid_input", 400, details="The body ended before its length.")


def _length(request: HttpRequest) -> int | None:
    """Return the length of the body; None when it comes in chunks. Errors: ApiError 411."""
    told = request.META.get("CONTENT_LENGTH")
    if not told and "HTTP_TRANSFER_ENCODING" in request.META:
        if request.META.get("wsgi.input_terminated"):
            return None
        raise ApiError("length_required", 411)  # the web server would not see where it ends
    try:
        return max(0, int(told or 0))
    except ValueError:
        raise ApiError("length_required", 411) from None


# --- The lookout: one for all bodies of a process, as a thread for each would cost more than most
# bodies do, which have come before anybody asks for them. ---

_lock = threading.Lock()
_deadlines: dict[socket.socket, float] = {}
_timer: threading.Timer | None = None


def _watch(connection: socket.socket, give_up_at: float) -> None:
    with _lock:
        _deadlines[connection] = give_up_at
        if _timer is None:
            _look_soon()


def _look_soon() -> None:
    global _timer
    _timer = threading.Timer(LOOK_EVERY_S, _look)
    _timer.daemon = True
    _timer.start()


def _look() -> None:
    global _timer
    now = time.monotonic()
    with _lock:
        for connection, give_up_at in list(_deadlines.items()):
            if now >= give_up_at:
                del _deadlines[connection]
                with suppress(OSError):  # the sender has gone
                    connection.shutdown(socket.SHUT_RD)
        _timer = None
        if _deadlines:
            _look_soon()
