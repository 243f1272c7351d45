"""Real receivers: a mail server and a web server on loopback; and the passing of time."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import time_machine
from aiosmtpd.controller import Controller
from django.utils import timezone
from django_q.models import OrmQ

from access.models import User
from alerts import addresses, digest, tasks
from alerts.models import Channel, Notice
from integrations import heartbeat
from integrations import tasks as renewals


class Clock:
    """The minutes as the worker sees them: the schedule's tick, then what it rang for."""

    def __init__(self) -> None:
        self.now = timezone.now()

    def tick(self, *, after: timedelta = timedelta(minutes=1)) -> None:
        self.now += after
        with time_machine.travel(self.now, tick=False):
            for name in heartbeat.PARTS:
                heartbeat.beat(name)
            tasks.tick()
            rung = [task.task["func"] for task in OrmQ.objects.all()]
            OrmQ.objects.all().delete()
            if "alerts.tasks.deliver" in rung:
                tasks.deliver()

    def work(self, *, after: timedelta = timedelta(minutes=1)) -> None:
        """Renewals have their tick too, before that of the alerts."""
        with time_machine.travel(self.now + after, tick=False):
            renewals.tick()
        self.tick(after=after)

    def deliver(self, *, after: timedelta = timedelta(minutes=1)) -> None:
        """Only send what is due again."""
        self.now += after
        with time_machine.travel(self.now, tick=False):
            tasks.deliver()

    def ticks(self, minutes: int) -> None:
        for _ in range(minutes):
            self.tick()


@pytest.fixture(autouse=True)
def state_file(settings: Any, tmp_path: Path) -> Path:
    """Where the watchdog of this process keeps what it has told."""
    settings.WATCHDOG_STATE_FILE = str(tmp_path / "var" / "watchdog.json")
    return Path(settings.WATCHDOG_STATE_FILE)


@pytest.fixture
def clock(db: None) -> Clock:
    OrmQ.objects.all().delete()
    return Clock()


@pytest.fixture
def make_channel(db: None) -> Callable[..., Channel]:
    def make(owner: User | None = None, address: str = "ops@agency.test", **fields: Any) -> Channel:
        now = timezone.now()
        values: dict[str, Any] = {
            "name": "Operations",
            "way": Channel.APPRISE if "://" in address else Channel.MAIL,
            "label": addresses.label_of(address),
            "created_at": now,
            "wants_digest": False,
            "digest_at": digest.next_time(now, "UTC"),
        }
        channel = Channel(owner=owner, **(values | fields))
        channel.address_encrypted = channel.seal(address)
        channel.save()
        return channel

    return make


@pytest.fixture
def told() -> Callable[..., list[tuple[str, str]]]:
    """Return what all channels, or one of them, were told: [("Harbour Dental", "began"), …]."""

    def read(channel: Channel | None = None) -> list[tuple[str, str]]:
        rows = Notice.objects.order_by("pk")
        rows = rows.filter(delivery__channel=channel) if channel else rows
        return list(rows.values_list("incident__subject", "what"))

    return read


class MailServer:
    """It refuses whoever's name begins with "nobody"."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.recipients: list[str] = []
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port)
        self._controller.start()

    async def handle_RCPT(  # noqa: N802
        self, server: Any, session: Any, envelope: Any, address: str, options: Any
    ) -> str:
        if address.startswith("nobody"):
            return "550 no such user here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        self.recipients += envelope.rcpt_tos
        return "250 OK"

    def close(self) -> None:
        if self._controller.server is not None:
            self._controller.stop()


@pytest.fixture
def mail_server(settings: Any) -> Iterator[MailServer]:
    server = MailServer()
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
    settings.EMAIL_USE_TLS = settings.EMAIL_USE_SSL = False
    settings.EMAIL_HOST_USER = settings.EMAIL_HOST_PASSWORD = ""
    yield server
    server.close()


class Receiver(ThreadingHTTPServer):
    """A web server that keeps what it got and answers with `status`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.paths: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.status = 200
        self.location = ""
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return self.server_address[1]

    @property
    def url(self) -> str:
        """As an apprise URL that posts JSON."""
        return f"json://127.0.0.1:{self.port}/hooks/s3cr3t-t0ken"

    def close(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:  # noqa: N802
        self.server.bodies.append(json.loads(self._body()))
        self._answer()

    def do_GET(self) -> None:  # noqa: N802
        self._answer()

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self) -> None:
        self.server.paths.append(self.path)
        self.send_response(self.server.status)
        if self.server.location:
            self.send_header("Location", self.server.location)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    settings.ALERTS_ALLOW_PRIVATE_ADDRESSES = True
    receiver = Receiver()
    yield receiver
    receiver.close()
