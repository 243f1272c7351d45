"""Run with the servers' environment: migrate, add a key and installs, print them as JSON."""

from __future__ import annotations

import json
import os
import secrets
import sys
from datetime import timedelta

import django

# So many rows are in the tables; so many of the installs are asked for.
INSTALLS = int(os.environ.get("BENCH_INSTALLS", "1000"))
KEYS = int(os.environ.get("BENCH_KEYS", "1"))
ASKED_FOR = 50
# HighLevel's access tokens are about that long.
TOKEN_LENGTH = 1200
COMPANY_ID = "bench"


def seed() -> dict[str, object]:
    """Return {"key": the key's text, "ids": ids of installs}. Errors: SystemExit when the database
    has installs that are not ours."""
    from django.core.management import call_command
    from django.utils import timezone

    from access.keys import create_api_key
    from access.models import Scope
    from integrations.health import Status
    from integrations.models import LOCATION, GoHighLevelIntegration

    call_command("migrate", verbosity=0)
    installs = GoHighLevelIntegration.objects.all()
    if installs.exclude(company_id=COMPANY_ID).exists():
        sys.exit("This database has installs in it. Give the benchmark one of its own.")
    installs.delete()
    now = timezone.now()
    rows = [
        GoHighLevelIntegration(
            user_type=LOCATION,
            resource_id=f"bench-{number}",
            company_id=COMPANY_ID,
            name=f"Sub-account {number}",
            status=Status.ACTIVE,
            expires_at=now + timedelta(hours=20),
            renew_at=now + timedelta(hours=19),
            renewed_at=now - timedelta(hours=4),
        )
        for number in range(INSTALLS)
    ]
    for row in rows:
        row.access_token_encrypted = row.seal("access_token", secrets.token_hex(TOKEN_LENGTH // 2))
    GoHighLevelIntegration.objects.bulk_create(rows, batch_size=1000)
    for number in range(KEYS - 1):
        create_api_key(f"bench {number}", scopes=[Scope.TOKENS_READ])
    _key, text = create_api_key("bench", scopes=[Scope.TOKENS_READ])
    return {"key": text, "ids": [str(row.pk) for row in rows[:ASKED_FOR]]}


if __name__ == "__main__":
    django.setup()
    print(json.dumps(seed()))
