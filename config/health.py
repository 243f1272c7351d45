"""For the operator's monitoring: does the process answer, and can it do its work?"""

from __future__ import annotations

import time
from functools import lru_cache

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import Error as DatabaseFault
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from access.audience import ONLY_SHOWS, Who, audience
from alerts import watch
from alerts.kinds import Kind
from integrations import database_faults, heartbeat
from integrations.crypto import Keyring

# Anybody may ask, so what they ask for writes at most so often.
WRITES_EVERY_S = 10


@audience(Who.OPERATOR, no_audit=ONLY_SHOWS)
@csrf_exempt  # another method gets 405
@require_safe
@never_cache
def healthz(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"status": "ok"})


@audience(Who.OPERATOR, no_audit=ONLY_SHOWS)
@csrf_exempt  # another method gets 405
@require_safe
@never_cache
def readyz(request: HttpRequest) -> JsonResponse:
    """200 when database, key, migrations, web server, worker and renewals are fine; else 503, and
    why."""
    checks = {"encryption_key": _key(), "database": _database()}
    if checks["database"] == "ok":
        checks |= {"migrations": _migrations(), **_parts()}
    ready = all(answer == "ok" for answer in checks.values())
    return JsonResponse(
        {"status": "ready" if ready else "not ready", "checks": checks},
        status=200 if ready else 503,
    )


def _key() -> str:
    try:
        Keyring.parse(settings.TOKEN_ENCRYPTION_KEYS)
    except ImproperlyConfigured:
        return "TOKEN_ENCRYPTION_KEYS is missing or weak"
    return "ok"


def _database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        _has_written(int(time.monotonic() / WRITES_EVERY_S))
    except DatabaseFault as error:
        return database_faults.in_words(error)
    return "ok"


@lru_cache(maxsize=1)
def _has_written(_moment: int) -> None:
    """Only what went well is kept: a fault is looked at anew each time."""
    database_faults.try_to_write()


def _migrations() -> str:
    executor = MigrationExecutor(connection)
    waiting = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return f"{len(waiting)} to apply: python manage.py migrate" if waiting else "ok"


def _parts() -> dict[str, str]:
    now, seen = timezone.now(), heartbeat.read_all()
    no_sign = f"no sign of life: {settings.WORKER_RESTART_COMMAND}"
    parts = {
        name: "ok" if heartbeat.is_alive(seen.get(name), now) else no_sign
        for name in heartbeat.PARTS
    }
    # A web server answers this, so an old sign means that none can write. None at all: it has just
    # started, or was not started by config/wsgi.py.
    can_write = heartbeat.is_alive(seen.get(heartbeat.WEB, now), now)
    none_is_done = any(trouble.kind is Kind.RENEWALS for trouble in watch.standstill(now))
    return {
        "web": "ok" if can_write else "no sign of life in the database",
        **parts,
        "renewals": "due, and none is done" if none_is_done else "ok",
    }
