"""A day in the life of the demo: what its pages look like after a while, without the while."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import suppress

from e2e.furniture import MAKE_ONE_OF_EACH
from e2e.product import Product, manage

IDS = """
import json
from integrations.models import GoHighLevelIntegration
rows = GoHighLevelIntegration.objects.order_by("pk").values_list("pk", "resource_id")
print(json.dumps(list(rows), default=str))
"""
# Each day as the last look at it left it: mostly well, with a bad day two weeks ago.
LAST_MONTH = """
from datetime import timedelta
from django.utils import timezone
from integrations.models import HealthDay

now = timezone.now()
# What was seen while everything was being connected is no day of its life.
HealthDay.objects.all().delete()
for ago in range(1, 30):
    broken = 6 if ago == 14 else 2 if ago in (13, 22) else ago % 5 == 0
    sums = {"healthy": 39 - broken, "retrying": broken // 2, "paused": 2}
    sums["needs_reconnect"] = broken - sums["retrying"]
    HealthDay.objects.create(day=(now - timedelta(days=ago)).date(), taken_at=now, sums=sums)
"""
RENEW_ALL = """
from integrations import bulk
from integrations.models import RenewalJob

bulk.hand_to_worker(RenewalJob.objects.get(caller="admin"))
"""


def live_through(product: Product) -> None:
    """Fill the product: the demo with its troubles, a month behind it, and a day before it."""
    urls = [f"--sandbox-url={product.sandbox_url}", f"--app-url={product.url}"]
    manage(product.environ, "sandbox_demo", *urls)
    installs = json.loads(manage(product.environ, "shell", "-c", IDS).splitlines()[-1])
    for n, (_pk, resource_id) in enumerate(installs):
        life_s = 3 * 3600 + n * 20 * 3600 // len(installs)
        product.control("knobs", resource_id=resource_id, access_token_life_seconds=life_s)
    # Those that the sandbox refuses or pauses by now say so at their next renewal, and the command
    # by its exit status.
    with suppress(subprocess.CalledProcessError):
        manage(product.environ, "refresh_ghl_tokens", "--force")
    manage(product.environ, "shell", "-c", LAST_MONTH)
    manage(product.environ, "shell", "-c", MAKE_ONE_OF_EACH)
    manage(product.environ, "reconcile_installs")
    manage(product.environ, "shell", "-c", RENEW_ALL)
    for name, count in (("CRM sync", 20), ("Reports", 12)):
        _use(product, name, [pk for pk, _resource_id in installs[:count]])
    _wait_until_ready(product)


def _use(product: Product, name: str, pks: list[str]) -> None:
    """Ask for these accounts' tokens with a key of that name."""
    told = manage(product.environ, "create_api_key", name, "--scope=tokens:read")
    key = next(word for word in told.split() if word.startswith("wr_"))
    for pk in pks:
        request = urllib.request.Request(  # noqa: S310 - our own address
            f"{product.url}/app/get-token/{pk}/", headers={"Authorization": f"Bearer {key}"}
        )
        # Of those in trouble nobody gets one.
        with suppress(urllib.error.HTTPError):
            urllib.request.urlopen(request, timeout=60).close()  # noqa: S310


def _wait_until_ready(product: Product) -> None:
    """Until the worker has shown itself, which it does within half a minute of its start."""
    ends_at = time.monotonic() + 90
    while time.monotonic() < ends_at:
        with suppress(urllib.error.HTTPError), urllib.request.urlopen(f"{product.url}/readyz"):  # noqa: S310 - our own address
            return
        time.sleep(1)
