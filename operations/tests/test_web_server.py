"""The web server as it runs in production: gunicorn; with several processes where that matters."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from django.conf import settings
from prometheus_client.parser import text_string_to_metric_families

from access.keys import create_api_key
from access.models import Scope
from integrations import heartbeat
from integrations.tests.test_race import database_url

pytestmark = pytest.mark.one_database

ROOT = Path(settings.BASE_DIR)
KEY = "metrics-key-of-the-tests"


class Server:
    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def requests_counted(self) -> dict[str, float]:
        """How many requests by door, as /metrics says."""
        answer = requests.get(
            f"{self.url}/metrics", headers={"Authorization": f"Bearer {KEY}"}, timeout=60
        )
        assert answer.status_code == 200, answer.text
        return {
            sample.labels["door"]: sample.value
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
            if sample.name == "whatreach_http_requests_total"
        }


@contextmanager
def gunicorn(log: Path, **more: str) -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    environ = os.environ | {
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "WHATREACH_ENV_FILE": os.devnull,
        "DJANGO_SECRET_KEY": settings.SECRET_KEY,
        "TOKEN_ENCRYPTION_KEYS": settings.TOKEN_ENCRYPTION_KEYS,
        "DATABASE_URL": database_url(),
        "PORT": str(port),
        "WEB_WORKERS": "1",
        "METRICS_TOKEN": KEY,
        "PROXY_TIMEOUT_S": "1",
        "LOG_LEVEL": "INFO",
        "TMPDIR": str(log.parent),
        **more,
    }
    environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
    command = [sys.executable, "-m", "gunicorn", "config.wsgi", "-c", "gunicorn.conf.py"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environ, stdout=output, stderr=output, start_new_session=True
        )
        server = Server(process, port)
        try:
            _wait_for(server)
            yield server
        finally:
            process.terminate()
            process.wait(timeout=120)


def _wait_for(server: Server) -> None:
    give_up_at = time.monotonic() + 120
    while True:
        try:
            requests.get(f"{server.url}/healthz", timeout=20)
            return
        except requests.RequestException:
            assert server.process.poll() is None, "the web server ended"
            assert time.monotonic() < give_up_at, "the web server does not answer"
            time.sleep(0.1)


@pytest.mark.django_db(transaction=True)
def test_metrics_are_the_sum_of_all_processes_whichever_answers(tmp_path):
    with gunicorn(tmp_path / "log", WEB_WORKERS="3") as server:
        for _ in range(40):
            # A new connection each time: any of the processes may take it.
            requests.post(f"{server.url}/app/webhook/", data=b"{}", timeout=60)
        counted = [server.requests_counted()["webhook"] for _ in range(12)]
    assert set(counted) == {40.0}
    assert list(tmp_path.glob("whatreach-web-*")) == []  # it cleans up after itself


@pytest.mark.django_db(transaction=True)
def test_what_one_process_drew_serves_the_tabs_of_all(staff_client, tmp_path):
    session = {name: cookie.value for name, cookie in staff_client.cookies.items()}
    shows = {"HX-Request": "true", "X-Panel-Version": "0000000000000000-0"}
    # With DEBUG no static files need be collected for a page to be drawn.
    with gunicorn(tmp_path / "log", WEB_WORKERS="3", DJANGO_DEBUG="true") as server:
        overview = f"{server.url}/live/overview/"
        began = time.monotonic()
        polls = [
            requests.get(overview, cookies=session, headers=shows, timeout=60) for _ in range(40)
        ]
        took_s = time.monotonic() - began
    read_at = {poll.headers["X-Panel-Version"].rpartition("-")[2] for poll in polls}
    assert len(read_at) <= 1 + took_s // 1.5  # for which it is good


@pytest.mark.django_db(transaction=True)
def test_it_shows_that_it_lives_without_being_asked(tmp_path):
    with gunicorn(tmp_path / "log"):
        give_up_at = time.monotonic() + 120
        while heartbeat.WEB not in heartbeat.read_all():
            assert time.monotonic() < give_up_at, "no sign of life"
            time.sleep(0.1)


@pytest.mark.django_db(transaction=True)
def test_every_line_of_its_log_is_json_and_bears_the_requests_id(tmp_path):
    log = tmp_path / "log"
    with gunicorn(log) as server:
        headers = {"X-Request-ID": "caller-0001"}
        requests.get(f"{server.url}/app/list/?code=4f5d6c7b8a9b", headers=headers, timeout=60)
        head = requests.head(f"{server.url}/healthz", timeout=60)
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    ours = next(entry for entry in entries if entry["event"] == "request")
    assert (ours["request_id"], ours["route"], ours["status"]) == ("caller-0001", "app/list/", 401)
    assert any(entry["logger"] == "gunicorn.error" for entry in entries)
    assert "4f5d6c7b8a9b" not in log.read_text()
    assert int(head.headers["Content-Length"]) > 0
    assert "dropping" not in log.read_text()  # the web server had no body of a HEAD to throw away


@pytest.mark.django_db(transaction=True)
def test_whoever_sends_too_slowly_is_answered_and_lets_the_others_in(tmp_path, make_install):
    row = make_install()
    _key, text = create_api_key("billing", scopes=[Scope.PROXY])
    head = (
        f"POST /app/api/{row.pk}/medias/ HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: Bearer {text}\r\nContent-Length: 900\r\n\r\nand then nothing"
    )
    with gunicorn(tmp_path / "log") as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as slow:
            slow.sendall(head.encode())
            answer = b"".join(iter(lambda: slow.recv(65_536), b""))  # until it hangs up
        assert requests.get(f"{server.url}/healthz", timeout=60).status_code == 200
    assert answer.startswith(b"HTTP/1.1 408 ") and b"upload_too_slow" in answer


# Collected into a folder of the test's own: nobody else's pages change meanwhile.
COLLECTED = """
from config.settings import *
STATIC_ROOT = {folder!r}
"""


@pytest.mark.django_db(transaction=True)
def test_style_sheets_come_compressed_and_are_asked_for_once(tmp_path):
    (tmp_path / "collected.py").write_text(COLLECTED.format(folder=str(tmp_path / "static")))
    environ = {"DJANGO_SETTINGS_MODULE": "collected", "PYTHONPATH": str(tmp_path)}
    collect = [sys.executable, "manage.py", "collectstatic", "--noinput", "--verbosity=0"]
    subprocess.run(collect, cwd=ROOT, env=os.environ | environ, check=True)
    with gunicorn(tmp_path / "log", **environ) as server:
        page = requests.get(f"{server.url}/accounts/login/", timeout=60)
        sheets = re.findall(r'href="(/static/[^"]+\.css)"', page.text)
        answers = [
            requests.get(f"{server.url}{sheet}", headers={"Accept-Encoding": "gzip"}, timeout=60)
            for sheet in sheets
        ]
    assert sheets and all(re.search(r"\.[0-9a-f]{12}\.css$", sheet) for sheet in sheets)
    for answer in answers:
        assert (answer.status_code, answer.headers["Content-Encoding"]) == (200, "gzip")
        age, *rest = answer.headers["Cache-Control"].split(", ")
        assert int(age.removeprefix("max-age=")) >= 31_536_000 and "immutable" in rest
