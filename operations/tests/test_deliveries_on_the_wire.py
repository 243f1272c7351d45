"""Deliveries as bytes on the wire, to the web server as it runs in production."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from django.db.models import Sum

from operations.tests.test_web_server import Server, gunicorn
from webhooks.models import AnswerCount, GoHighLevelWebhook, Outcome
from webhooks.tests.conftest import WEBHOOK
from webhooks.views import MAX_BODY_BYTES

pytestmark = [pytest.mark.one_database, pytest.mark.django_db(transaction=True)]

BODY = json.dumps({"type": "ContactCreate", "webhookId": "w-1", "note": "x" * 300_000}).encode()
# More than the web server has threads: one process with 8.
SLOW_ONES = 10
IN_CHUNKS = "Transfer-Encoding: chunked"
SIGNED = "X-GHL-Signature: of a body that does not come"


@pytest.fixture
def start(world: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Start the web server; it ends with the test."""
    with ExitStack() as stack:

        def start(timeout_s: int = 60) -> Server:
            monkeypatch.setenv("GHL_WEBHOOK_PUBLIC_KEYS", world.signer.ed25519_public_key())
            monkeypatch.setenv("WEBHOOK_TIMEOUT_S", str(timeout_s))
            return stack.enter_context(gunicorn(tmp_path / "log"))

        yield start


@pytest.fixture
def server(start: Callable[..., Server]) -> Server:
    return start()


@pytest.fixture
def sign(world: Any) -> Callable[[bytes], str]:
    return lambda body: world.signer.signed(body, "ed25519")[1]["X-GHL-Signature"]


def head(*lines: str) -> bytes:
    return "\r\n".join([f"POST {WEBHOOK} HTTP/1.1", "Host: 127.0.0.1", *lines, "", ""]).encode()


def chunked(body: bytes, sizes: Iterable[int] = (1, 7, 70_000)) -> bytes:
    """The body in chunks of these sizes, and one with the rest."""
    parts = []
    for size in sizes:
        parts.append(body[:size])
        body = body[size:]
    parts.append(body)
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def connect(server: Server) -> socket.socket:
    """Without a deadline of the server's own, nothing would ever come."""
    return socket.create_connection(("127.0.0.1", server.port), timeout=120)


def answer_on(connection: socket.socket) -> tuple[int, Any]:
    with connection.makefile("rb") as stream:
        status = int(stream.readline().split()[1])
        lines = iter(stream.readline, b"\r\n")
        headers = dict(line.decode().strip().lower().split(": ", 1) for line in lines)
        return status, json.loads(stream.read(int(headers["content-length"])))


def ask(server: Server, request: bytes) -> tuple[int, Any]:
    with connect(server) as connection:
        connection.sendall(request)
        return answer_on(connection)


def test_a_delivery_in_chunks_is_stored_whole(server, sign):
    request = head(IN_CHUNKS, f"X-GHL-Signature: {sign(BODY)}") + chunked(BODY)
    assert ask(server, request) == (200, {"received": True, "duplicate": False})
    assert GoHighLevelWebhook.objects.get().body.encode() == BODY


def test_chunks_may_come_to_a_megabyte_and_are_refused_as_a_whole_body_is(server, sign):
    large = BODY.ljust(MAX_BODY_BYTES + 1)
    signed = f"X-GHL-Signature: {sign(BODY)}"
    start = head(IN_CHUNKS, f"X-GHL-Signature: {sign(large)}")
    assert ask(server, start + chunked(large))[0] == 413
    assert ask(server, start + chunked(BODY))[0] == 401  # not what was signed
    assert ask(server, head(IN_CHUNKS) + chunked(BODY))[0] == 401
    for broken in (b"no number\r\n", b"5\r\nabcdefgh\r\n0\r\n\r\n", b"0\r\nbad trailer\r\n\r\n"):
        status, answer = ask(server, head(IN_CHUNKS, signed) + broken)
        assert (status, answer["error"]) == (400, "event_unreadable")
    assert not GoHighLevelWebhook.objects.exists()
    largest = BODY.ljust(MAX_BODY_BYTES)
    request = head(IN_CHUNKS, f"X-GHL-Signature: {sign(largest)}") + chunked(largest)
    assert ask(server, request)[0] == 200


def test_the_signatures_header_is_known_by_its_name_and_comes_once(server, sign):
    signature, length = sign(BODY), f"Content-Length: {len(BODY)}"

    def status(*lines: str) -> int:
        return ask(server, head(length, *lines) + BODY)[0]

    assert status(f"X_GHL_Signature: {signature}") == 401
    assert status(f"X-GHL-Signature: {signature}", f"x-ghl-signature: {signature}") == 401
    assert not GoHighLevelWebhook.objects.exists()
    assert status(f"x-gHl-SIGNATURE: {signature}") == 200


def test_bodies_that_stay_away_are_given_up_and_others_get_in(start, sign):
    server = start(timeout_s=1)
    halves = [
        head("Content-Length: 900", SIGNED) + b"and then nothing",
        head(IN_CHUNKS, SIGNED) + b"900\r\nand then nothing",
    ]
    # So small that it comes in one piece with its head: no busy machine makes it late.
    small = b'{"type":"ContactCreate"}'
    whole = head(f"Content-Length: {len(small)}", f"X-GHL-Signature: {sign(small)}") + small
    with ExitStack() as open_ones:
        slow = [open_ones.enter_context(connect(server)) for _ in range(SLOW_ONES)]
        for number, connection in enumerate(slow):
            connection.sendall(halves[number % 2])
        assert ask(server, whole)[0] == 200
        for connection in slow:
            status, answer = answer_on(connection)
            assert (status, answer["error"]) == (429, "event_too_slow")
    _wait_until_counted(SLOW_ONES, status=429, outcome=Outcome.TOO_SLOW)


def _wait_until_counted(number: int, **what: Any) -> None:
    """The processes write their counts about once a second."""
    give_up_at = time.monotonic() + 120
    while AnswerCount.objects.filter(**what).aggregate(n=Sum("count"))["n"] != number:
        assert time.monotonic() < give_up_at, "not all are counted"
        time.sleep(0.1)
