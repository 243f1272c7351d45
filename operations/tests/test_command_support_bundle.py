"""support_bundle: what helps is in it, and no secret."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from django_q.models import Task

from config import __version__
from integrations.models import GoHighLevelIntegration
from integrations.refresh import refresh_integration
from operations import readiness

pytestmark = pytest.mark.django_db


@pytest.fixture
def bundle(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Make one; return the text of each file in it by its name."""

    def make(*options: str) -> dict[str, str]:
        target = tmp_path / "bundle.tar.gz"
        call_command("support_bundle", str(target), *options, stdout=StringIO())
        with tarfile.open(target) as archive:
            names = archive.getnames()
            assert all(name.startswith("whatreach-support/") for name in names)
            files = {name: archive.extractfile(name) for name in names}
            return {n.partition("/")[2]: f.read().decode() for n, f in files.items() if f}

    return make


def test_it_has_what_helps(bundle, install_location, world):
    row = install_location()
    world.refuse(row.resource_id)
    refresh_integration(row.pk, trigger="test")
    files = bundle()
    assert len(json.loads(files["doctor.json"])) == len(readiness.CHECKS)
    assert json.loads(files["state.json"])["accounts"]["needs_reconnect"] == 1
    attempt = json.loads(files["renewals.json"])[0]
    assert (attempt["integration_id"], attempt["outcome"]) == (str(row.pk), "refused")
    versions = json.loads(files["versions.json"])
    assert versions["whatreach"] == __version__ and versions["packages"]["Django"]
    assert "REFRESH_MARGIN" in files["settings.json"]


def test_no_secret_is_in_it(bundle, install_location, api, settings: Any, tmp_path):
    settings.METRICS_TOKEN = "metrics-token-0001"
    settings.SECRETS = [*django_settings.SECRETS, settings.METRICS_TOKEN]
    row = install_location()
    key = api().defaults["HTTP_AUTHORIZATION"].partition(" ")[2]
    access, refresh = row.open_access_token(), row.open_refresh_token()
    Task.objects.create(
        id="1" * 32,
        name="failed",
        func="integrations.tasks.tick",
        started=row.installed_at,
        stopped=row.installed_at,
        success=False,
        result=f"ValueError: refresh_token={refresh} and {access}",
    )
    log = tmp_path / "web.log"
    log.write_text(f"Authorization: Bearer {access}\nkey {key}\n{settings.GHL_CLIENT_SECRET}\n")
    text = "".join(bundle("--log", str(log)).values())
    secrets = [access, refresh, key, row.name, settings.SECRET_KEY, settings.GHL_CLIENT_SECRET]
    secrets += [settings.METRICS_TOKEN, settings.TOKEN_ENCRYPTION_KEYS.partition(":")[2]]
    assert [secret for secret in secrets if secret and secret in text] == []
    assert "failed_tasks" not in text and "ValueError" in text


def test_no_mail_address_of_an_account_or_a_person_is_in_it(
    bundle, install_location, staff, world, tmp_path
):
    row = install_location()
    GoHighLevelIntegration.objects.update(user_email="dana@harbour.test")
    world.refuse(row.resource_id)
    refresh_integration(row.pk, trigger="test", caller=staff.email)
    log = tmp_path / "web.log"
    log.write_text(
        f'{{"event": "mailed <dana@harbour.test>"}}\nq=dana%40harbour.test {staff.email}\n'
    )
    files = bundle("--log", str(log))
    text = "".join(files.values())
    assert str(row.pk) in text
    assert "harbour" not in text and staff.email not in text
    assert files["log.txt"].splitlines() == [
        '{"event": "mailed <[mail address]>"}',
        "q=[mail address] [mail address]",
    ]


def test_only_its_owner_may_read_it(bundle, tmp_path):
    bundle("--offline")
    assert (tmp_path / "bundle.tar.gz").stat().st_mode & 0o777 == 0o600


def test_it_overwrites_nothing(bundle):
    bundle("--offline")
    with pytest.raises(CommandError, match="exists already"):
        bundle("--offline")


def test_a_log_that_is_not_there_is_bad_usage(bundle):
    with pytest.raises(CommandError, match="is not a file") as caught:
        bundle("--log", "/no/such/file")
    assert caught.value.returncode == 2
