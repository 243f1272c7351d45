"""How the worker and its scheduler show that they work, about every 30 s and each by itself.

The scheduler: at each look it finds the pulse's schedule due and puts a task into the queue. That
is noted in the scheduler's own process and transaction.

The worker: a task begins, which proves that the queue runs. While one takes long, a thread beside
it goes on showing that. When no task has come for a while, the thread rings for a pulse itself, so
that a dead scheduler does not look like a dead worker; it does so only into an empty queue, since
a task that waits there will show the same once it is taken.
"""

from __future__ import annotations

import logging
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import Error as DatabaseFault
from django.db import connection
from django.utils import timezone
from django_q.models import OrmQ
from django_q.tasks import async_task

from integrations import heartbeat, holders
from integrations.schedules import PULSE

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 10
# One task after the other need not each write the same.
SHOW_EVERY_S = 5
RING_AFTER = timedelta(seconds=20)

_is_running = False
_shown_at = 0.0


def show() -> None:
    """The pulse as the queue runs it. That it begins is noted by `on_begin`, as of any task."""


def on_enqueue(task: dict[str, Any], **_: object) -> None:
    """The scheduler has put the pulse into the queue."""
    if task.get("group") == PULSE:
        heartbeat.beat(heartbeat.SCHEDULER)


def on_spawn(**_: object) -> None:
    """A task process has started: put the thread beside it."""
    threading.Thread(target=_stand_by, name="pulse", daemon=True).start()


def on_begin(**_: object) -> None:
    global _is_running
    _is_running = True
    if time.monotonic() - _shown_at >= SHOW_EVERY_S:
        _safely(_show)


def on_end(**_: object) -> None:
    global _is_running
    _is_running = False


def _stand_by() -> None:
    while True:
        # First of all: this process may stand in for one that was killed a moment ago.
        _safely(holders.call_back_abandoned)
        connection.close()
        time.sleep(LOOK_EVERY_S)
        _safely(_show if _is_running else _ring_if_quiet)


def _show() -> None:
    global _shown_at
    heartbeat.beat(heartbeat.WORKER)
    _shown_at = time.monotonic()
    if settings.WORKER_ALIVE_FILE:
        Path(settings.WORKER_ALIVE_FILE).touch()


def _ring_if_quiet() -> None:
    last = heartbeat.read_all().get(heartbeat.WORKER)
    is_quiet = last is None or timezone.now() - last > RING_AFTER
    if is_quiet and not OrmQ.objects.exists():
        async_task("integrations.pulse.show")


def _safely(work: Any) -> None:
    """A sign of life that cannot be given is missed by whoever looks for it; no task may fail."""
    try:
        work()
    except (DatabaseFault, OSError) as error:
        logger.warning("No sign of life could be given: %s", type(error).__name__)
