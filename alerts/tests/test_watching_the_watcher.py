"""kill -9 of the worker and of its scheduler, in real processes: the page says so, alerts go out
without the queue, and tokens are still renewed for whoever asks."""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine
from django.core import mail
from django.db.models import F
from django.utils import timezone
from django_q.models import Schedule
from django_q.scheduler import scheduler
from django_q.tasks import async_task

from alerts.models import Delivery
from alerts.tests.test_command_watchdog import watchdog
from integrations import heartbeat
from integrations.models import GoHighLevelIntegration, Heartbeat
from integrations.schedules import PULSE, ensure_schedules
from integrations.tests.conftest import sandbox, sandbox_url  # noqa: F401
from integrations.tests.test_worker import cluster, until  # noqa: F401

pytestmark = [pytest.mark.one_database, pytest.mark.django_db(transaction=True)]
# What design 5.7 allows between the last sign of life and the banner.
WITHIN = timedelta(seconds=90)


def last(name):
    return heartbeat.read_all().get(name)


def beats_again(name, since):
    return (at := last(name)) is not None and at > since


def pulse(since):
    """Ring for a pulse, and wait until the worker has shown itself."""
    async_task("integrations.pulse.show")
    until(lambda: beats_again(heartbeat.WORKER, since), what="a sign of life of the worker")


@pytest.fixture
def running(cluster):  # noqa: F811
    """A worker of which both parts have shown themselves."""
    Heartbeat.objects.all().delete()
    with cluster() as worker:
        heartbeat.beat(heartbeat.SCHEDULER)  # its first look comes only after 30 s
        pulse(since=timezone.now())
        yield worker


def test_kill_9_of_the_worker(sandbox, running, staff_client, api, make_channel):  # noqa: F811
    make_channel()
    row = sandbox.install(bulk=False)
    running.kill()
    with time_machine.travel(timezone.now() + WITHIN):
        page = staff_client.get("/").content.decode()
        assert "The worker is not running: renewals stand still." in page
        assert "<code>python manage.py qcluster</code>" in page
        assert staff_client.get("/readyz").json()["checks"]["worker"].startswith("no sign of life")
        assert watchdog()[0] == 1
    assert "The worker" in mail.outbox[0].body
    GoHighLevelIntegration.objects.update(expires_at=timezone.now())
    answer = api().get(f"/app/get-token/{row.pk}/")
    assert answer.status_code == 200
    assert answer.json()["was_refreshed"]


def sentinel_of(group):
    """The scheduler's process: the only child of the first one."""
    children = Path(f"/proc/{group.process.pid}/task/{group.process.pid}/children")
    (pid,) = map(int, children.read_text().split())
    return pid


def test_kill_9_of_the_scheduler_is_told_apart(
    sandbox,  # noqa: F811
    running,
    staff_client,
    api,
    make_channel,
):
    make_channel()
    row = sandbox.install(bulk=False)
    os.kill(sentinel_of(running), signal.SIGKILL)
    killed_at = timezone.now()
    Heartbeat.objects.filter(name=heartbeat.SCHEDULER).update(at=F("at") - WITHIN)
    pulse(since=killed_at)  # its orphans go on working
    page = staff_client.get("/").content.decode()
    assert "The worker&#x27;s scheduler stands still: nothing is renewed by itself." in page
    assert "<code>python manage.py qcluster</code>" in page
    assert staff_client.get("/readyz").json()["checks"]["worker"] == "ok"
    assert watchdog()[0] == 1
    # Either the watchdog or an orphan has sent it.
    sent = Delivery.objects.filter(status=Delivery.SENT)
    until(sent.exists, what="the message is sent")
    assert sent.get().subject == "The worker's scheduler stands still"
    GoHighLevelIntegration.objects.update(expires_at=timezone.now())
    assert api().get(f"/app/get-token/{row.pk}/").status_code == 200
    row.refresh_from_db()
    assert row.expires_at > timezone.now()


def test_the_scheduler_shows_itself_and_not_the_worker():
    ensure_schedules()
    with time_machine.travel(timezone.now() + timedelta(seconds=30)):
        scheduler()
    assert set(heartbeat.read_all()) == {heartbeat.SCHEDULER}


def test_the_pulse_is_due_at_each_look_of_the_scheduler():
    ensure_schedules()
    with time_machine.travel(timezone.now(), tick=False) as clock:
        for _ in range(4):
            clock.shift(30)
            assert Schedule.objects.get(name=PULSE).next_run < timezone.now()
            scheduler()


def test_a_worker_without_its_scheduler_rings_for_its_own_pulse(running):
    os.kill(sentinel_of(running), signal.SIGKILL)
    Heartbeat.objects.filter(name=heartbeat.WORKER).update(at=F("at") - WITHIN)
    stopped = timezone.now()
    until(
        lambda: beats_again(heartbeat.WORKER, stopped),
        what="the worker has rung for its own pulse",
    )
