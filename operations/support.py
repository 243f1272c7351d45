"""What somebody who helps needs to see of an installation, with every secret taken out."""

from __future__ import annotations

import io
import json
import platform
import re
import tarfile
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.db import connection
from django.db.models import Count
from django.utils import timezone
from django_q.models import Failure, Schedule

from config import __version__
from config.logs import Redactor
from integrations import heartbeat
from integrations.models import GoHighLevelIntegration, RefreshAttempt
from operations import readiness
from webhooks.models import GoHighLevelWebhook

# Also as addresses of pages and queries have it: a%40b.example.
_MAIL = re.compile(r"[\w.+-]+(?:@|%40)\w[\w-]*(?:\.\w[\w-]*)+")
_NO_MAIL = "[mail address]"
_ATTEMPTS, _FAILURES, _LOG_LINES = 200, 20, 5000
_ABOUT = """\
Made by `manage.py support_bundle`. No token, key, secret or password is in it, nor the name or mail
address of an account; ids of accounts are. Look through it before you pass it on.
"""
# Settings whose values help and tell nobody anything.
_SHOWN = (
    "DEBUG",
    "ALLOWED_HOSTS",
    "CSRF_TRUSTED_ORIGINS",
    "TRUST_PROXY",
    "SERVED_OVER_HTTPS",
    "SANDBOX_URL",
    "GHL_CLIENT_ID",
    "GHL_REDIRECT_URI",
    "GHL_APP_ID",
    "GHL_VERSION_ID",
    "GHL_SCOPES",
    "GHL_API_VERSION",
    "GHL_AUTHORIZE_PATH",
    "GHL_RECONNECT",
    "GHL_MARKETPLACE_URL",
    "GHL_API_BASE_URL",
    "GHL_WEBHOOK_ACCEPT_RSA",
    "REFRESH_MARGIN",
    "REFRESH_JITTER",
    "RENEWAL_THREADS",
    "Q_CLUSTER",
    "VERIFY_EVERY",
    "HISTORY_KEEP_DAYS",
    "WEBHOOK_KEEP_DAYS",
    "API_RATE_PER_MINUTE",
    "REQUIRE_MFA_FOR",
    "LOG_FORMAT",
    "METRICS_ALLOW",
    "BACKUP_FOLDER",
)
# Of these only whether they are set.
_MASKED = (
    "SECRET_KEY",
    "GHL_CLIENT_SECRET",
    "GHL_CLIENT_SECRET_NEXT",
    "GHL_SSO_KEY",
    "REDIS_URL",
    "SENTRY_DSN",
    "TOKEN_ENCRYPTION_KEYS",
    "METRICS_TOKEN",
    "EMAIL_HOST_PASSWORD",
)


def write_bundle(target: Path, *, log: Path | None = None, ask_highlevel: bool = True) -> list[str]:
    """Write a .tar.gz that its owner alone may read; return the names of the files in it.

    `log`: a log file whose end goes in. Errors: OSError.
    """
    redact = Redactor(settings.SECRETS)
    names = []
    # Made anew: an existing file would keep its rights, a link lead elsewhere.
    target.touch(mode=0o600, exist_ok=False)
    with tarfile.open(target, "w:gz") as archive:
        for name, content in _files(redact, log, ask_highlevel):
            data = _MAIL.sub(_NO_MAIL, redact.text(content)).encode(errors="replace")
            entry = tarfile.TarInfo(f"whatreach-support/{name}")
            entry.size, entry.mode, entry.mtime = len(data), 0o600, int(time.time())
            archive.addfile(entry, io.BytesIO(data))
            names.append(name)
    return names


def _files(redact: Redactor, log: Path | None, ask_highlevel: bool) -> Iterator[tuple[str, str]]:
    yield "about.txt", _ABOUT
    parts = {
        "doctor.json": [asdict(check) for check in readiness.run(ask_highlevel=ask_highlevel)],
        "versions.json": _versions(),
        "settings.json": _settings(),
        "state.json": _state(),
        "renewals.json": _attempts(),
        "failed_tasks.json": _failed_tasks(),
    }
    for name, part in parts.items():
        yield name, json.dumps(redact.value(part), indent=1, default=str)
    if log is not None:
        yield "log.txt", _end_of(log)


def _versions() -> dict[str, Any]:
    packages = {p.metadata["Name"]: p.version for p in metadata.distributions()}
    return {
        "whatreach": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "django": django.get_version(),
        "database": connection.vendor,
        "packages": dict(sorted(packages.items())),
    }


def _settings() -> dict[str, Any]:
    database = settings.DATABASES["default"]
    # As text: a value inside must not be read by its name.
    shown = {name: str(getattr(settings, name)) for name in _SHOWN}
    masked = {name: "is set" if getattr(settings, name) else "not set" for name in _MASKED}
    return {
        "shown": shown,
        "masked": [f"{name} {what}" for name, what in masked.items()],
        "database": {name: str(database.get(name, "")) for name in ("ENGINE", "HOST", "PORT")},
    }


def _state() -> dict[str, Any]:
    now = timezone.now()
    installs = GoHighLevelIntegration.objects
    return {
        "now": now,
        "accounts": {state.value: n for state, n in installs.count_by_state(now).items()},
        "causes": dict(installs.values_list("cause").annotate(n=Count("pk")).order_by()),
        "renewals_due": installs.due(now).count(),
        "heartbeats": heartbeat.read_all(),
        "events": dict(
            GoHighLevelWebhook.objects.values_list("status").annotate(n=Count("pk")).order_by()
        ),
        "schedules": list(Schedule.objects.values("name", "func", "cron", "next_run", "repeats")),
    }


def _attempts() -> list[dict[str, Any]]:
    columns = ("integration_id", "trigger", "way", "generation", "repeats", "started_at")
    ends = ("ended_at", "outcome", "cause", "http_status", "trace_id", "detail")
    newest = RefreshAttempt.objects.order_by("-started_at").values(*columns, *ends)
    return list(newest[:_ATTEMPTS])


def _failed_tasks() -> list[dict[str, Any]]:
    newest = Failure.objects.order_by("-stopped")[:_FAILURES]
    return [
        {"func": task.func, "started": task.started, "stopped": task.stopped, "error": task.result}
        for task in newest
    ]


def _end_of(log: Path) -> str:
    with log.open(errors="replace") as lines:
        return "".join(deque(lines, maxlen=_LOG_LINES))
