"""A small HTTP client for load: one process, several keep-alive connections, ready-made requests.

One thread waits for all connections at once, so that the client takes little of the machine that
it shares with the servers it measures.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field


@dataclass
class Round:
    """Units: seconds; `client_cpu` is the share of one core that this client took."""

    answers: int
    seconds: float
    client_cpu: float
    statuses: Counter[int] = field(default_factory=Counter)

    @property
    def per_second(self) -> float:
        return self.answers / self.seconds


def request_bytes(method: str, path: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def run_round(port: int, requests: Sequence[bytes], *, connections: int, at_most_s: float) -> Round:
    """Send all requests over so many connections, each as soon as the one before is answered.

    Errors: TimeoutError after `at_most_s`; ConnectionError when the server hangs up.
    """
    waiting = iter(requests)
    statuses: Counter[int] = Counter()
    with selectors.DefaultSelector() as selector:
        for _ in range(min(connections, len(requests))):
            connection = _Connection(port)
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            connection.send_next(waiting)
        cpu, start = time.process_time(), time.perf_counter()
        while statuses.total() < len(requests):
            if time.perf_counter() - start > at_most_s:
                raise TimeoutError(f"{statuses.total()} of {len(requests)} answered in time")
            for key, _events in selector.select(timeout=1):
                status = key.data.read()
                if status:
                    statuses[status] += 1
                    key.data.send_next(waiting)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        for key in list(selector.get_map().values()):
            key.data.socket.close()
    return Round(len(requests), seconds, cpu / seconds, statuses)


class _Connection:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""

    def send_next(self, requests: Iterator[bytes]) -> None:
        request = next(requests, None)
        if request is not None:
            self.socket.sendall(request)

    def read(self) -> int:
        """Take in what has come; return the status when the answer is whole, else 0."""
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("the server closed a connection")
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found or len(body) < _content_length(head):
            return 0
        self._received = b""
        return int(head[9:12])


def _content_length(head: bytes) -> int:
    _before, _name, rest = head.lower().partition(b"content-length:")
    return int(rest.partition(b"\r\n")[0])
