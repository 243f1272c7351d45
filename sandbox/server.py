"""The HTTP process: one thread for each connection, kept alive, and one that sends the events."""

from __future__ import annotations

import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests

from sandbox.http import Outcome, answer
from sandbox.world import World

_WEBHOOK_TIMEOUT_S = (3.0, 10.0)
_LONGEST_NAP_S = 60.0


class SandboxServer(ThreadingHTTPServer):
    """Serves one world. Errors: OSError when the address is taken."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], world: World) -> None:
        super().__init__(address, _Handler)
        self.world = world
        self.stopping = threading.Event()
        self._sender = threading.Thread(target=self._send_events, daemon=True)

    def server_bind(self) -> None:
        # Without the reverse lookup of HTTPServer, which can take seconds offline.
        super(ThreadingHTTPServer, self).server_bind()
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def start(self) -> None:
        """Answer calls and send events from threads of its own."""
        threading.Thread(target=self._serve, daemon=True).start()
        self._sender.start()

    def _serve(self) -> None:
        self.serve_forever(poll_interval=0.05)

    def stop(self) -> None:
        """Take no more calls; those under way are dropped. An event that is being sent is sent to
        its end, so that the state has it when it is closed."""
        self.stopping.set()
        self.world.event_is_due.set()
        self.shutdown()
        self.server_close()
        if self._sender.is_alive():
            self._sender.join(sum(_WEBHOOK_TIMEOUT_S))

    def handle_error(self, request: object, client_address: object) -> None:
        # A caller that hung up, or a call under way while we stop, is no news.
        if not self.stopping.is_set() and not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    def _send_events(self) -> None:
        session = requests.Session()
        session.trust_env = False

        def send(url: str, body: bytes, headers: dict[str, str]) -> int:
            response = session.post(
                url, data=body, headers=headers, timeout=_WEBHOOK_TIMEOUT_S, allow_redirects=False
            )
            return response.status_code

        while not self.stopping.is_set():
            due_in = self.world.queue.seconds_to_next()
            self.world.event_is_due.wait(_LONGEST_NAP_S if due_in is None else due_in)
            self.world.event_is_due.clear()
            if not self.stopping.is_set():
                self.world.deliver(send)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: SandboxServer
    # Head and body leave in one packet: no wait for an acknowledgement between them.
    wbufsize = -1
    disable_nagle_algorithm = True

    def _answer(self) -> None:
        size = self.headers.get("Content-Length") or "0"
        body = self.rfile.read(int(size)) if size.isdecimal() else b""
        outcome = answer(
            self.server.world, self.command, self.path, dict(self.headers.items()), body
        )
        if outcome.delay_s:
            time.sleep(outcome.delay_s)
        if outcome.cut:
            self._hang_up()
        else:
            self._send(outcome)

    do_GET = do_POST = do_DELETE = do_PUT = do_PATCH = do_HEAD = do_OPTIONS = _answer  # noqa: N815

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _send(self, outcome: Outcome) -> None:
        self.send_response_only(outcome.status)
        for name, value in outcome.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(outcome.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(outcome.body)
