"""Signs of life of the parts of WhatReach, in the database where all of them see them."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from datetime import datetime, timedelta

from django.db import Error as DatabaseFault
from django.db import IntegrityError, connection
from django.utils import timezone

from integrations import holders
from integrations.models import Heartbeat

logger = logging.getLogger(__name__)

WEB, WORKER, SCHEDULER, WATCHDOG = "web", "worker", "scheduler", "watchdog"
# Without them renewals stand still. Whoever can ask for the web server's sign has one before him.
PARTS = (WORKER, SCHEDULER)
# The scheduler looks about every 30 s, and pulse.py has both show themselves then: two looks and a
# half. A page that is looked at asks every 4 s, so it says so within 90 s.
STALE_AFTER = timedelta(seconds=75)
WEB_EVERY_S = 30


def beat(name: str) -> None:
    Heartbeat.objects.update_or_create(name=name, defaults={"at": timezone.now()})


def beat_as_web() -> None:
    """Note that a web server lives, unless another of its processes has just done so."""
    now = timezone.now()
    row = Heartbeat.objects.filter(name=WEB)
    if row.filter(at__lt=now - timedelta(seconds=WEB_EVERY_S / 2)).update(at=now) or row.exists():
        return
    with suppress(IntegrityError):  # another process was first
        Heartbeat.objects.create(name=WEB, at=now)


def keep_beating_as_web() -> None:
    """Have a thread of this process do so for as long as it lives, and look after what web
    processes left behind: in a container of their own no worker sees them die."""
    threading.Thread(target=_stand_by_web, name="heartbeat", daemon=True).start()


def _stand_by_web() -> None:
    while True:
        try:
            beat_as_web()
            holders.call_back_abandoned()
        except DatabaseFault as error:
            logger.warning("No sign of life could be given: %s", type(error).__name__)
        finally:
            connection.close()
        time.sleep(WEB_EVERY_S)


def read_all() -> dict[str, datetime]:
    """Return when each of them last showed itself."""
    return dict(Heartbeat.objects.values_list("name", "at"))


def standing_still(now: datetime) -> dict[str, datetime | None]:
    """Return those that show no sign of life, and their last one: None if there never was any."""
    last = read_all()
    return {name: last.get(name) for name in PARTS if not is_alive(last.get(name), now)}


def is_alive(last: datetime | None, now: datetime) -> bool:
    return last is not None and now - last < STALE_AFTER
