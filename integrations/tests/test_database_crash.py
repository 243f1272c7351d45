"""A database that crashes while renewals run. Their answers, with tokens that exist nowhere else,
are on the way to it at that moment. The server is one of the test's own.

CRASH_ROUNDS sets how often it crashes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from django.db import connection

from integrations.tests.servers import private_server
from integrations.tests.test_crash import ROUNDS
from integrations.tests.test_race import database_url
from integrations.tests.test_worker import ROOT, group, until

INSTALLS = 24

RENEW_ALL = """
import django
django.setup()
from django.conf import settings
from django.core.management import call_command
settings.RENEWAL_THREADS = 8
call_command("refresh_ghl_tokens", force=True, json=True)
"""
# Minutes later: the leases of what was cut off are over, and the worker's tick comes by.
HEAL = """
import django
django.setup()
from datetime import timedelta
from integrations import tasks
from integrations.tests.test_crash import let_the_lease_end
let_the_lease_end(sent_ago=timedelta(minutes=5))
tasks.tick()
"""


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has no server")
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("round_", range(ROUNDS))
def test_a_crash_of_the_database_loses_no_renewal_and_spends_no_token_twice(sandbox, round_):
    for _ in range(INSTALLS):
        sandbox.install(bulk=False)
    sandbox.post("knobs", refresh_grace_seconds=0, latency_seconds=0.3)
    with private_server() as server:
        server.fill(database_url())
        environ = {"DATABASE_URL": server.url, "GHL_API_BASE_URL": sandbox.url}
        with group("-c", RENEW_ALL, environ=environ) as renewals:
            until(lambda: accepted(sandbox) > INSTALLS / 3, what="renewals are under way")
            server.crash()
            server.start()  # takes longer than HighLevel's answers
            renewals.process.wait(timeout=120)
        sandbox.post("knobs", latency_seconds=0)
        run(HEAL, environ)
        # Only who has the newest refresh token of each can renew it once more.
        last = json.loads(run(RENEW_ALL, environ))
    assert (last["renewed"], last["failed"]) == (INSTALLS, 0)
    assert max(token["uses"] for token in sandbox.token_uses()) == 1


def accepted(sandbox) -> int:
    """How many refresh tokens HighLevel has taken."""
    return sum(token["accepted"] for token in sandbox.token_uses())


def run(script: str, environ: dict[str, str]) -> str:
    """Return what it printed."""
    usual = os.environ | {"DJANGO_SETTINGS_MODULE": "config.settings_test"}
    return subprocess.check_output(
        [sys.executable, "-c", script], cwd=ROOT, env=usual | environ, text=True
    )
