from __future__ import annotations

import signal
import sqlite3
import threading
from argparse import ArgumentParser
from contextlib import closing
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from sandbox.server import SandboxServer
from sandbox.world import World


class Command(BaseCommand):
    help = "Runs a local HighLevel: consent page, token endpoint, signed events, control page."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=8801, help="0 takes any free port")
        parser.add_argument(
            "--state", default="var/sandbox.sqlite3", help='its file; ":memory:" forgets'
        )
        parser.add_argument("--app-url", default="", help="the app, such as http://127.0.0.1:8000")
        parser.add_argument(
            "--webhook-url",
            help="where events go (default: /app/webhook/ of the app); empty: they are held back",
        )

    def handle(self, *args: object, **options: Any) -> None:
        with closing(_open(options["state"])) as world:
            _point_at_app(world, options["app_url"], options["webhook_url"])
            self._serve(options["host"], _listen(options["host"], options["port"], world))

    def _serve(self, host: str, server: SandboxServer) -> None:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        server.start()
        url = f"http://{host}:{server.server_port}"
        self.stdout.write(f"Sandbox on {url}, control page {url}/_sandbox/", ending="\n")
        self.stdout.flush()
        stop.wait()
        server.stop()


def _open(state: str) -> World:
    try:
        return World(state)
    except (sqlite3.Error, OSError) as error:
        raise CommandError(
            f"Cannot open {state}: {error}. Another sandbox may be using it.", returncode=2
        ) from None


def _point_at_app(world: World, app_url: str, webhook_url: str | None) -> None:
    app_url = app_url.rstrip("/")
    if app_url:
        world.set_knobs(app_url=app_url, webhook_url=f"{app_url}/app/webhook/")
    if webhook_url is not None:  # "" holds the events back
        world.set_knobs(webhook_url=webhook_url)


def _listen(host: str, port: int, world: World) -> SandboxServer:
    try:
        return SandboxServer((host, port), world)
    except OSError as error:
        raise CommandError(
            f"Cannot listen on {host}:{port}: {error.strerror}. Choose another with --port.",
            returncode=2,
        ) from None
