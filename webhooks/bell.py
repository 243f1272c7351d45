"""Rings for the worker when events have come: at most twice a second from each process.

A queue row for each event would cost as much as keeping the event itself. The sweep that is rung
for goes on looking until the next ring may come, so that it finds those that rang no bell.
"""

from __future__ import annotations

import logging
import time

from django.db import Error as DatabaseFault
from django_q.tasks import async_task

from webhooks.patience import at_most

logger = logging.getLogger(__name__)

EVERY_S = 0.5
MOST_WAIT_MS = 300
_last_ring = -EVERY_S


def ring() -> None:
    """Ask the worker to look for events. It looks each minute anyway, so a bell that cannot be
    rung is no reason to refuse an event that is stored."""
    global _last_ring
    now = time.monotonic()
    if now - _last_ring < EVERY_S:
        return
    _last_ring = now
    try:
        with at_most(MOST_WAIT_MS):
            async_task("webhooks.tasks.sweep", time.time() + EVERY_S)
    except DatabaseFault as error:
        logger.warning("The bell for new events could not be rung: %s", type(error).__name__)
