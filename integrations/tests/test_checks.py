from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta

import pytest
from django.conf import settings as django_settings

from integrations import checks


def ids(messages):
    return [message.id for message in messages]


def test_the_settings_of_the_tests_pass():
    assert checks.check_encryption_keys() == []
    assert checks.check_lease() == []
    assert checks.check_queue() == []


@pytest.mark.parametrize("keys", ["", "k1:c2hvcnQ="])
def test_missing_or_weak_keys_stop_the_start(settings, keys):
    settings.TOKEN_ENCRYPTION_KEYS = keys
    assert ids(checks.check_encryption_keys()) == ["integrations.E001"]


@pytest.mark.one_database
def test_the_web_server_does_not_start_without_a_key():
    environ = os.environ | {
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "WHATREACH_ENV_FILE": os.devnull,
        "TOKEN_ENCRYPTION_KEYS": "",
    }
    ended = subprocess.run(
        [sys.executable, "-c", "import config.wsgi"],
        cwd=django_settings.BASE_DIR,
        env=environ,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert ended.returncode != 0
    assert "TOKEN_ENCRYPTION_KEYS is not set" in ended.stderr


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("REFRESH_MARGIN_S", "abc", "a whole number of 0 or more"),
        ("REFRESH_MARGIN_S", "", "a whole number of 0 or more"),
        ("REFRESH_MARGIN_S", "-5", "a whole number of 0 or more"),
        ("DJANGO_TRUST_PROXY", "maybe", "neither true nor false"),
    ],
)
def test_a_setting_that_cannot_be_read_stops_the_start_with_its_name(name, value, what):
    environ = os.environ | {
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "WHATREACH_ENV_FILE": os.devnull,
        "DJANGO_SECRET_KEY": "x" * 50,
        name: value,
    }
    ended = subprocess.run(
        [sys.executable, "-c", "import config.settings"],
        cwd=django_settings.BASE_DIR,
        env=environ,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert ended.returncode != 0
    assert f"{name} is" in ended.stderr and what in ended.stderr


def test_a_lease_shorter_than_its_calls_is_an_error(monkeypatch):
    monkeypatch.setattr(checks, "LEASE", timedelta(seconds=20))
    assert ids(checks.check_lease()) == ["integrations.E002"]


def test_a_queue_that_repeats_running_tasks_is_an_error(settings):
    settings.Q_CLUSTER = settings.Q_CLUSTER | {"retry": 60}
    assert ids(checks.check_queue()) == ["integrations.E003"]


@pytest.mark.parametrize("url", ["http://127.0.0.1:8801", "https://evilgohighlevel.com"])
def test_tokens_going_elsewhere_are_warned_of(settings, url):
    settings.GHL_API_BASE_URL = url
    assert ids(checks.check_highlevel_hosts()) == ["integrations.W001"]
