from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from django.conf import settings as django_settings

from conftest import GRACE_S
from integrations import highlevel
from integrations.install import install_from_code
from integrations.models import GoHighLevelIntegration

ROOT = Path(__file__).resolve().parents[2]


class SandboxProcess:
    """The sandbox as several processes see it: over HTTP."""

    def __init__(self, url: str) -> None:
        self.url = url

    def post(self, path: str, **body: Any) -> Any:
        response = requests.post(f"{self.url}/_sandbox/{path}", json=body, timeout=60)
        assert response.ok, response.text
        return response.json()

    def token_uses(self) -> list[dict[str, Any]]:
        tokens: list[dict[str, Any]] = requests.get(
            f"{self.url}/_sandbox/tokens", timeout=60
        ).json()["tokens"]
        return tokens

    def install(self, *, bulk: bool) -> GoHighLevelIntegration:
        """Install on a new sub-account: by its own user, or by its agency (bulk)."""
        agency = self.post("agencies", name="Northwind", locations=1)
        code = self.post(
            "install",
            company_id=agency["id"],
            location_ids=[agency["locations"][0]["id"]],
            bulk=bulk,
            redirect_uri=django_settings.GHL_REDIRECT_URI,
        )["code"]
        return install_from_code(code)


@pytest.fixture(scope="session")
def sandbox_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    state = tmp_path_factory.mktemp("sandbox") / "state.sqlite3"
    command = [sys.executable, "manage.py", "sandbox", "--port", "0", "--webhook-url", ""]
    process = subprocess.Popen(
        [*command, "--state", str(state)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        # "Sandbox on http://127.0.0.1:36889, control page …"
        yield process.stdout.readline().split()[2].rstrip(",")
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()


@pytest.fixture
def sandbox(sandbox_url: str, settings: Any, monkeypatch: pytest.MonkeyPatch) -> SandboxProcess:
    """A sandbox in a process of its own, emptied; the app calls it over real HTTP."""
    monkeypatch.setattr(highlevel, "SESSION", highlevel.make_session())
    settings.GHL_API_BASE_URL = sandbox_url
    sandbox = SandboxProcess(sandbox_url)
    sandbox.post("reset")
    sandbox.post("knobs", refresh_grace_seconds=GRACE_S)
    return sandbox
