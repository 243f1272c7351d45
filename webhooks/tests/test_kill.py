"""kill -9 of web server and worker in the middle of many events: real processes, real database.

KILL_EVENTS=5000 for the long run.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from threading import Event, Lock

import pytest
import requests
from django.utils import timezone
from django_q.tasks import async_task

from integrations.deadlocks import despite_deadlocks
from integrations.tests.test_race import database_url
from integrations.tests.test_worker import group, until
from webhooks.models import EventAttempt, GoHighLevelWebhook
from webhooks.tests.conftest import WEBHOOK

EVENTS = int(os.environ.get("KILL_EVENTS", "200"))
SENDERS = 6

pytestmark = pytest.mark.django_db(transaction=True)


class HighLevel:
    """Delivers all events, again and again until each is acknowledged."""

    def __init__(self, world, port: int) -> None:
        self._world = world
        self._url = f"http://127.0.0.1:{port}{WEBHOOK}"
        self._lock = Lock()
        self._bodies = [
            json.dumps({"type": "Counted", "webhookId": f"w-{n}", "locationId": f"loc-{n % 9}"})
            for n in range(EVENTS)
        ]
        self.acknowledged: set[str] = set()
        self.statuses: Counter[int] = Counter()
        self.stop = Event()

    def send_all(self) -> None:
        with ThreadPoolExecutor(SENDERS) as senders:
            list(senders.map(self._send, enumerate(self._bodies)))

    def _send(self, numbered: tuple[int, str]) -> None:
        number, text = numbered
        with self._lock:
            body, signature = self._world.signer.signed(text.encode(), "ed25519")
        headers = {"Content-Type": "application/json"} | signature
        while not self.stop.is_set():
            with suppress(requests.RequestException):
                answer = requests.post(self._url, body, headers=headers, timeout=10)
                self.statuses[answer.status_code] += 1
                if answer.status_code == 200:
                    self.acknowledged.add(f"w-{number}")
                    return
            self.stop.wait(0.05)


@contextmanager
def running(start: Callable[[], object]):
    """A program that can be killed and started anew: yields the function that does so."""
    with ExitStack() as stack:
        current = [stack.enter_context(start())]

        def again() -> None:
            current[0].kill()
            current[0] = stack.enter_context(start())

        yield again


def ring_at_times() -> Callable[[], bool]:
    """Return a function that rings for the worker once a second; it says whether it did."""
    rung_at = [0.0]

    def ring() -> bool:
        if time.monotonic() - rung_at[0] < 1:
            return False
        rung_at[0] = time.monotonic()
        async_task("webhooks.tasks.sweep")
        return True

    return ring


def processed() -> int:
    return GoHighLevelWebhook.objects.filter(status=GoHighLevelWebhook.PROCESSED).count()


def test_kill_9_loses_nothing_that_was_acknowledged_and_doubles_no_effect(world):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    environ = {
        "DJANGO_SETTINGS_MODULE": "webhooks.tests.counted.settings",
        "DATABASE_URL": database_url(),
        "GHL_WEBHOOK_PUBLIC_KEYS": world.signer.ed25519_public_key(),
        "PORT": str(port),
    }
    gunicorn = ("-m", "gunicorn", "config.wsgi", "-c", "gunicorn.conf.py")
    highlevel = HighLevel(world, port)
    with (
        running(lambda: group(*gunicorn, environ=environ)) as kill_web,
        running(lambda: group("manage.py", "qcluster", environ=environ)) as kill_worker,
        ThreadPoolExecutor(1) as background,
    ):
        sending = background.submit(highlevel.send_all)
        try:
            for part, kill in ((4, kill_web), (3, kill_worker), (2, kill_web)):
                until(
                    lambda part=part: len(highlevel.acknowledged) >= EVENTS // part,
                    what=f"1/{part} of the events are acknowledged",
                    at_most_s=120,
                )
                kill()
            until(lambda: processed() >= EVENTS // 3, what="a third is processed", at_most_s=120)
            kill_worker()
            until(sending.done, what="all events are acknowledged", at_most_s=300)
        finally:
            highlevel.stop.set()

        ring = ring_at_times()

        def finish() -> bool:
            if ring():
                # What a killed worker had begun is planned a minute ahead: nobody waits here.
                waiting = GoHighLevelWebhook.objects.waiting().filter(attempts__gt=0)
                despite_deadlocks(partial(waiting.update, process_at=timezone.now()))
            return processed() == EVENTS

        until(finish, what="all events are processed", at_most_s=180)
    kept = set(GoHighLevelWebhook.objects.values_list("webhook_id", flat=True))
    assert highlevel.acknowledged == kept == {f"w-{n}" for n in range(EVENTS)}
    effects = Counter(
        EventAttempt.objects.filter(error="effect").values_list("event__webhook_id", flat=True)
    )
    assert set(effects.values()) == {1}
    assert effects.keys() == kept
    assert set(highlevel.statuses) <= {200, 429}
