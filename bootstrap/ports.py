from __future__ import annotations

import errno
import http.client
import socket

from bootstrap.console import Refused

EVERY_INTERFACE = ("", "0.0.0.0", "::")  # noqa: S104 - compared with, never bound by default


def require_free(host: str, port: int, *, name: str) -> None:
    """Raise Refused unless a server could listen there now. `name` is the port's setting."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        # As servers do: connections that linger from a run before are not in the way.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise Refused(_reason(error, host, port, name)) from None


def _reason(error: OSError, host: str, port: int, name: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} is in use. Take another one: {name}={port + 10} make run"
    return f"Cannot listen on {host} port {port} (HOST and {name}): {error.strerror or error}."


def answers(host: str, port: int, path: str) -> bool:
    """True when the path is answered there by anything but a server error."""
    return _get(host, port, path)[0] in range(200, 500)


def fetch(host: str, port: int, path: str) -> bytes:
    """Return the body of the answer, b"" unless it is a 200."""
    status, body = _get(host, port, path)
    return body if status == 200 else b""


def _get(host: str, port: int, path: str) -> tuple[int, bytes]:
    # http.client, not urllib: no proxy of the environment may come between.
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()
