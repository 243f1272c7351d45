"""A crash of the database while web server and worker run: what is said meanwhile, to whom, and
that all goes on by itself when it is back. The server is one of the test's own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from html import unescape
from typing import Any

import pytest
import requests
from django.conf import settings as django_settings

from alerts.tests.test_command_watchdog import run  # noqa: F401
from integrations.tests.conftest import sandbox, sandbox_url  # noqa: F401
from integrations.tests.servers import MariaDB, PostgreSQL, private_server
from integrations.tests.test_worker import ROOT, group, until

SETUP = """
import sys, django
django.setup()
from django.core.management import call_command
from access.keys import create_api_key
from access.models import Scope
from integrations.install import install_from_code
call_command("migrate", verbosity=0)
rows = [install_from_code(code) for code in sys.argv[1:]]
print(create_api_key("billing", scopes=Scope.values)[1], rows[0].pk)
"""


@pytest.fixture
def server() -> Iterator[PostgreSQL | MariaDB]:
    with private_server() as server:
        yield server


class Web:
    """The web server's JSON API as a caller sees it."""

    def __init__(self, key: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = str(listener.getsockname()[1])
        self._key = key

    def status(self, path: str) -> int:
        """Return the answer's status, 0 when nobody listens."""
        try:
            return self._call("GET", path).status_code
        except requests.ConnectionError:
            return 0

    def page(self) -> requests.Response:
        """What a person gets who was signed in."""
        url = f"http://127.0.0.1:{self.port}/"
        return requests.get(url, cookies={"sessionid": "s" * 32}, timeout=60)

    def json(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        response = self._call(method, path, json=body or None)
        assert response.ok, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def _call(self, method: str, path: str, **request: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self._key}"}
        url = f"http://127.0.0.1:{self.port}{path}"
        return requests.request(method, url, headers=headers, timeout=60, **request)


@pytest.mark.skipif(
    not django_settings.DATABASES["default"]["ENGINE"].endswith("postgresql"),
    reason="part of the run on PostgreSQL",
)
@pytest.mark.parametrize("away_s", [float(os.environ.get("DATABASE_AWAY_S", "10"))])
def test_web_and_worker_survive_a_crash_of_the_database(
    sandbox,  # noqa: F811
    server,
    run,  # noqa: F811
    receiver,
    away_s,
):
    environ = {"DATABASE_URL": server.url, "GHL_API_BASE_URL": sandbox.url, "WEB_WORKERS": "1"}
    agency = sandbox.post("agencies", name="Northwind", locations=9)
    codes = [
        sandbox.post(
            "install",
            company_id=agency["id"],
            location_ids=[location["id"]],
            bulk=False,
            redirect_uri=django_settings.GHL_REDIRECT_URI,
        )["code"]
        for location in agency["locations"]
    ]
    prepared = subprocess.run(
        [sys.executable, "-c", SETUP, *codes],
        cwd=ROOT,
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "config.settings_test"} | environ,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    key, pk = prepared.stdout.split()
    web = Web(key)
    token = f"/app/get-token/{pk}/"
    gunicorn = ["-m", "gunicorn", "config.wsgi", "-c", "gunicorn.conf.py"]
    with (
        group(*gunicorn, environ=environ | {"PORT": web.port}) as web_group,
        group("manage.py", "qcluster", environ=environ) as worker,
    ):
        until(lambda: web.status(token) == 200, what="the web server hands tokens out")
        renew_all(web)

        server.crash()
        back_at = time.monotonic() + away_s
        # The threads of the web server, each with a connection that is lost, and then without one.
        assert {web.status(token) for _ in range(20)} == {503}
        page = web.page()
        assert (page.status_code, page.headers["Retry-After"]) == (503, "5")
        assert "WhatReach's database does not answer just now." in unescape(page.text)
        assert run(server.url) == 1
        assert titles(receiver) == ["[WhatReach] The database does not answer"]
        until(lambda: time.monotonic() > back_at, what="the time is over")
        assert web.status("/healthz") == 200
        assert web.status("/readyz") == 503
        server.start()

        until(lambda: hands_out(web, token), what="the web server hands tokens out again")
        run(server.url)
        assert titles(receiver)[1:] == ["[WhatReach] The database answers again"]
        renew_all(web)
        assert web_group.process.poll() is None
        assert worker.process.poll() is None


def hands_out(web: Web, token: str) -> bool:
    """Whether it does; what it says otherwise is that the database is away, and nothing else."""
    status = web.status(token)
    assert status in (200, 503)
    return status == 200


def titles(receiver: Any) -> list[str]:
    return [body["title"] for body in receiver.bodies]


def renew_all(web: Web) -> None:
    """A bulk renewal that is too large for the web server: the worker does it."""
    job = web.json("POST", "/app/bulk-refresh/", force=True)["job"]

    def is_finished() -> bool:
        return bool(web.json("GET", f"/app/jobs/{job}/")["finished"])

    until(is_finished, what="the worker has done the job")
    assert web.json("GET", f"/app/jobs/{job}/")["refreshed_count"] == 9
