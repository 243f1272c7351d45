"""Sentry, where its package is installed: what is reported has no secret in it."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from django.conf import settings
from django.core.checks import run_checks

from config import __version__

pytestmark = pytest.mark.one_database

PROGRAM = """
import django
django.setup()
import sentry_sdk
from django.conf import settings
from django.test import Client
from django.urls import path
import config.urls
def broken(request):
    # Not as it is searched for: the line itself may be reported.
    access_token = "-".join(("a", "local", "variable"))
    raise ValueError(f"refresh_token=r3fr3sh {settings.GHL_CLIENT_SECRET}")
config.urls.urlpatterns.insert(0, path("broken/", broken))
settings.ALLOWED_HOSTS = ["*"]
client = Client(raise_request_exception=False, headers={"Authorization": "Bearer s3cr3tbearer"})
assert client.post("/broken/?code=4f5d6c7b8a9b", {"password": "pa55word"}).status_code == 500
sentry_sdk.flush(5)
"""


# Django's own checks may ask the database what it can do.
@pytest.mark.django_db
def test_a_dsn_without_its_package_is_warned_of(settings):
    settings.SENTRY_DSN = "https://key@sentry.example.com/1"
    try:
        import sentry_sdk  # noqa: F401
    except ImportError:
        assert "operations.W001" in [message.id for message in run_checks()]
    else:
        assert "operations.W001" not in [message.id for message in run_checks()]


@pytest.mark.django_db
def test_redis_without_its_package_is_an_error(settings, monkeypatch):
    settings.REDIS_URL = "redis://127.0.0.1:6379/0"
    try:
        import redis  # noqa: F401
    except ImportError:
        assert "operations.E001" in [message.id for message in run_checks()]
    else:
        assert "operations.E001" not in [message.id for message in run_checks()]


def test_a_fault_is_reported_without_secrets():
    pytest.importorskip("sentry_sdk", reason="pip install sentry-sdk")
    received = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        dsn = f"http://publickey@127.0.0.1:{server.server_address[1]}/1"
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            cwd=settings.BASE_DIR,
            env=os.environ | {"DJANGO_SETTINGS_MODULE": "config.settings_test", "SENTRY_DSN": dsn},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    finally:
        server.shutdown()
        server.server_close()
    text = b"\n".join(received).decode()
    assert "ValueError" in text and f"whatreach@{__version__}" in text
    for secret in ("r3fr3sh", settings.GHL_CLIENT_SECRET, "s3cr3tbearer", "4f5d6c7b8a9b"):
        assert secret not in text
    for part in ("pa55word", "a-local-variable"):
        assert part not in text
