"""`manage.py` itself: what every command does when it cannot do its work."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from django.conf import settings

pytestmark = pytest.mark.one_database
AWAY = "postgres://whatreach:s3cret@127.0.0.1:1/whatreach"


@pytest.mark.parametrize(
    "command",
    [
        ["refresh_ghl_tokens", "--json"],
        ["create_api_key", "billing", "--scope", "proxy"],
        ["crontab", "show"],
        ["replay_events", "--type", "INSTALL"],
    ],
    ids=lambda command: command[0],
)
def test_a_database_that_is_away_is_said_in_a_sentence(command):
    environ = os.environ | {"DJANGO_SETTINGS_MODULE": "config.settings_test", "DATABASE_URL": AWAY}
    ended = subprocess.run(
        [sys.executable, "manage.py", *command],
        cwd=settings.BASE_DIR,
        env=environ | {"GHL_CLIENT_ID": "0123456789abcdef01234567-abcdefgh"},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 1
    assert "WhatReach's database does not do its work" in ended.stderr
    assert "Traceback" not in ended.stderr and "s3cret" not in ended.stderr
