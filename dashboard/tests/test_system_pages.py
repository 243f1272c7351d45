from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
import time_machine
from django.test import Client
from django.utils import timezone
from django_q.models import OrmQ, Task
from django_q.tasks import async_task

from access.keys import create_api_key
from access.models import AuditEvent, User
from access.roles import Role
from config import __version__
from integrations import heartbeat
from integrations.models import KeyHour, RefreshAttempt
from operations import readiness
from sandbox.world import World
from webhooks.models import AnswerCount, Outcome


def page(client: Client, url: str) -> str:
    answer = client.get(url)
    assert answer.status_code == 200
    return " ".join(answer.content.decode().split())


def fail(func: str = "integrations.tasks.tick", pk: str = "f1") -> Task:
    now = timezone.now()
    return Task.objects.create(
        id=pk,
        name=pk,
        func=func,
        args=(),
        kwargs={},
        started=now,
        stopped=now,
        success=False,
        result='Traceback …\n  File "x"\nOperationalError: database is locked',
    )


def test_the_queue_shows_what_runs_what_waits_and_what_failed(staff_client: Client) -> None:
    async_task("integrations.tasks.tick")
    async_task("integrations.tasks.renew_batch", "job-1", ["a", "b"])
    running = OrmQ.objects.order_by("-id").first()
    assert running is not None
    OrmQ.objects.filter(pk=running.pk).update(lock=timezone.now() + timedelta(minutes=5))
    fail()
    html = page(staff_client, "/system/")
    assert 'Renew a batch</strong> <span class="text-secondary">running · job-1, 2 ids' in html
    assert 'Look for due renewals</strong> <span class="text-secondary">waiting' in html
    assert "OperationalError: database is locked" in html and "Traceback" not in html


def test_a_limited_person_sees_nothing_of_the_queue(make_person: Callable[..., User]) -> None:
    async_task("integrations.tasks.refresh_one", "install-of-others", "dashboard", "olga")
    fail()
    limited = Client()
    limited.force_login(make_person("kim", Role.OWNER, agencies=["agency-1"]))
    for url in ("/system/", "/live/system/"):
        html = page(limited, url)
        assert "Web server" in html
        assert not re.search("install-of-others|olga|database is locked|In the queue|renewed", html)


def test_it_says_when_each_part_was_last_seen(staff_client: Client) -> None:
    heartbeat.beat_as_web()
    heartbeat.beat(heartbeat.WORKER)
    html = page(staff_client, "/system/")
    assert "Web server" in html and "worker seen" in html and "web seen" not in html


def test_it_says_which_version_runs(staff_client: Client) -> None:
    assert f"<dt>WhatReach</dt><dd>{__version__}</dd>" in page(staff_client, "/system/")


def test_it_says_how_much_was_done_lately_and_how_large_the_database_is(
    staff_client: Client, make_install: Callable[..., Any], make_person: Callable[..., User]
) -> None:
    now = timezone.now()
    row, old = make_install(), now - timedelta(hours=3)
    key, _secret = create_api_key("Billing", scopes=["tokens:read"])
    for outcome, at in (("renewed", now), ("renewed", now), ("failed", now), ("renewed", old)):
        RefreshAttempt.objects.create(integration=row, generation=1, outcome=outcome, started_at=at)
    for at, n in ((now, 7), (old, 100)):
        values = {"status": 200, "outcome": Outcome.STORED, "count": n, "last_at": at}
        AnswerCount.objects.create(hour=at, **values)
        KeyHour.objects.create(key=key, hour=at, uses=n * 2, installs=1)
    html = page(staff_client, "/system/")
    assert "2, 1 more failed" in html and "7 came in" in html and "14 tokens and calls" in html
    assert re.search(r"<dt>Database size</dt><dd>\d+ [kM]B</dd>", html)
    limited = Client()
    limited.force_login(make_person("kim", Role.VIEWER, agencies=["agency-1"]))
    assert "came in" not in page(limited, "/system/")


def test_a_failed_task_is_tried_again(staff_client: Client) -> None:
    fail()
    staff_client.post("/system/tasks/f1/retry/")
    assert OrmQ.objects.get().task["func"] == "integrations.tasks.tick"
    assert not Task.objects.exists()
    assert AuditEvent.objects.get().action == "queue.retry"


def test_only_our_own_tasks_can_be_set_off(staff_client: Client) -> None:
    fail(func="os.system")
    staff_client.post("/system/tasks/f1/retry/")
    assert not OrmQ.objects.exists() and Task.objects.exists()
    assert AuditEvent.objects.get().outcome == "failed"


def test_a_waiting_task_is_cancelled_and_a_running_one_is_not(staff_client: Client) -> None:
    async_task("integrations.tasks.tick")
    row = OrmQ.objects.get()
    OrmQ.objects.update(lock=timezone.now() + timedelta(minutes=5))
    staff_client.post(f"/system/tasks/{row.pk}/cancel/")
    assert OrmQ.objects.exists()
    OrmQ.objects.update(lock=timezone.now() - timedelta(seconds=1))
    staff_client.post(f"/system/tasks/{row.pk}/cancel/")
    assert not OrmQ.objects.exists()


def test_a_task_is_neither_tried_again_nor_cancelled_without_a_record(
    staff_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = fail()
    async_task("integrations.tasks.tick")
    waiting = OrmQ.objects.get()
    OrmQ.objects.update(lock=timezone.now() - timedelta(seconds=1))

    def no_record(*_: Any, **__: Any) -> None:
        raise OSError

    monkeypatch.setattr("dashboard.system_views.record", no_record)
    for action in (f"{failed.pk}/retry", f"{waiting.pk}/cancel"):
        with pytest.raises(OSError):
            staff_client.post(f"/system/tasks/{action}/")
    assert Task.objects.get() == failed and OrmQ.objects.get() == waiting


def test_an_operator_looks_but_does_not_touch(make_person: Callable[..., User]) -> None:
    fail()
    client = Client()
    client.force_login(make_person("kim", Role.OPERATOR))
    assert "Try again" not in page(client, "/system/")
    assert client.post("/system/tasks/f1/retry/").status_code == 403


def test_setup_ticks_itself_and_says_how_to_mend(
    staff_client: Client, world: World, settings: Any
) -> None:
    settings.DEBUG = True
    html = page(staff_client, "/setup/")
    assert "Remove DJANGO_DEBUG from the environment and restart." in html
    assert "Check again" in html
    settings.DEBUG = False
    assert "Debug pages are off." in page(staff_client, "/live/setup/")


def test_a_refused_client_secret_stays_red_until_another_is_set(
    staff_client: Client, world: World, settings: Any
) -> None:
    right, settings.GHL_CLIENT_SECRET = settings.GHL_CLIENT_SECRET, "another-secret"
    opened = page(staff_client, "/setup/")
    asked = len(world.calls())
    ticked = page(staff_client, "/live/setup/")
    for html in (opened, ticked):
        assert re.findall(r'id="check-(\w+)"', html) == list(readiness.CHECKS)
        assert "HighLevel does not accept the client id and secret. Checked <time" in html
    assert len(world.calls()) == asked
    settings.GHL_CLIENT_SECRET = right
    assert "HighLevel accepts client id and secret." in page(staff_client, "/live/setup/")


def test_what_highlevel_said_is_asked_anew_by_a_tick_after_ten_minutes(
    staff_client: Client, world: World
) -> None:
    page(staff_client, "/setup/")
    asked = len(world.calls())
    with time_machine.travel(timezone.now() + timedelta(seconds=601)):
        page(staff_client, "/live/setup/")
    assert len(world.calls()) == asked + 1


def test_setup_opens_also_while_redis_is_away(
    staff_client: Client, world: World, settings: Any
) -> None:
    redis = {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": "redis://127.0.0.1:1/0",
    }
    settings.CACHES = {**settings.CACHES, "default": redis}
    assert "HighLevel accepts client id and secret." in page(staff_client, "/setup/")


def test_setup_shows_each_check_of_the_doctor(staff_client: Client, world: World) -> None:
    html = unescape(page(staff_client, "/setup/"))
    assert re.findall(r'id="check-(\w+)"', html) == list(readiness.CHECKS)
    for title, _check in readiness.CHECKS.values():
        assert f"<strong>{title}</strong>" in html
