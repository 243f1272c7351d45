from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from dashboard import demo
from integrations.health import Status
from integrations.models import GoHighLevelIntegration, RefreshAttempt
from webhooks.models import GoHighLevelWebhook

Make = Callable[..., GoHighLevelIntegration]


def add_event(app_id: str) -> None:
    now = timezone.now()
    GoHighLevelWebhook.objects.create(
        webhook_id=str(uuid.uuid4()), type="INSTALL", app_id=app_id, body="{}",
        occurred_at=now, received_at=now,
    )  # fmt: skip


def test_the_ribbon_shows_only_with_demo_data(staff_client: Client, make_install: Make) -> None:
    make_install(client_id="another-client")
    assert b"Demo data." not in staff_client.get("/").content
    make_install(client_id=demo.CLIENT_ID)
    assert b"Demo data." in staff_client.get("/").content


def test_a_removal_that_cannot_be_recorded_is_none(
    staff_client: Client, make_install: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_install(client_id=demo.CLIENT_ID)

    def fail(*_: Any, **__: Any) -> None:
        raise OSError

    monkeypatch.setattr("dashboard.views.record", fail)
    with pytest.raises(OSError):
        staff_client.post("/demo-data/remove/")
    assert GoHighLevelIntegration.objects.exists()


def test_removal_takes_the_demo_and_nothing_else(staff_client: Client, make_install: Make) -> None:
    real = make_install(client_id="real-client", company_id="real-agency")
    real_waiting = make_install(client_id="", company_id="real-agency", status=Status.WAITING)
    row = make_install(client_id=demo.CLIENT_ID, agency=True, company_id="demo-agency")
    make_install(client_id="", company_id="demo-agency", status=Status.WAITING)
    RefreshAttempt.objects.create(
        integration=row, trigger="schedule", way="refresh", generation=1, started_at=timezone.now()
    )
    add_event(demo.APP_ID)
    add_event("real-app")
    answer = staff_client.post("/demo-data/remove/", follow=True)
    assert b"2 demo accounts removed" in answer.content
    assert set(GoHighLevelIntegration.objects.all()) == {real, real_waiting}
    assert not RefreshAttempt.objects.exists()
    assert [event.app_id for event in GoHighLevelWebhook.objects.all()] == ["real-app"]
    assert b"Demo data." not in staff_client.get("/").content


def test_the_check_is_one_query(db: None, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        demo.exists()
