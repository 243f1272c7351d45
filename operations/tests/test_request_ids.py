"""One id from the request through its tasks to HighLevel, and back in the answer."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.utils.module_loading import import_string
from django_q.models import OrmQ
from django_q.signals import post_execute_in_worker, pre_execute
from structlog.contextvars import clear_contextvars, get_contextvars

from integrations import highlevel
from integrations.refresh import refresh_integration, request_refresh
from operations import request_ids


@pytest.fixture(autouse=True)
def no_id_is_left() -> Iterator[None]:
    clear_contextvars()
    yield
    clear_contextvars()


@pytest.fixture
def sent(world: Any, monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """The ids that HighLevel was called with."""
    ids: list[str | None] = []

    def note(response: Any, **_: Any) -> None:
        ids.append(response.request.headers.get("X-Request-ID"))

    monkeypatch.setitem(highlevel.SESSION.hooks, "response", [note])
    return ids


def run_task() -> None:
    """Run the oldest task as a worker of the queue does."""
    entry = OrmQ.objects.order_by("pk").first()
    assert entry is not None
    task = entry.task
    entry.delete()
    pre_execute.send(sender="django_q", func=None, task=task)
    import_string(task["func"])(*task["args"], **task["kwargs"])
    post_execute_in_worker.send(sender="django_q", func=None, task=task)


def test_an_answer_bears_an_id_of_our_own(client):
    first, second = (client.get("/healthz")["X-Request-ID"] for _ in range(2))
    assert re.fullmatch("[0-9a-f]{32}", first)
    assert first != second


def test_the_callers_own_id_is_kept(client):
    answer = client.get("/healthz", headers={"X-Request-ID": "billing-2026.11_24"})
    assert answer["X-Request-ID"] == "billing-2026.11_24"


@pytest.mark.parametrize(
    "given", ["short", "a" * 65, "with space in it", "new\nline-12345", "ümlaut-12"]
)
def test_an_id_that_is_not_sane_is_replaced(client, given):
    answer = client.get("/healthz", headers={"X-Request-ID": given})
    assert re.fullmatch("[0-9a-f]{32}", answer["X-Request-ID"])


def test_a_refused_request_has_an_id_too(client, db):
    assert client.get("/no/such/page")["X-Request-ID"]


def test_highlevel_is_called_with_the_requests_id(install_location, api, sent):
    row = install_location()
    api().post(f"/app/refresh/{row.pk}/", headers={"X-Request-ID": "caller-0001"})
    assert sent[-1] == "caller-0001"


def test_a_task_carries_the_id_of_the_request_that_wanted_it(install_location, staff_client, sent):
    row = install_location()
    OrmQ.objects.all().delete()
    staff_client.post(f"/installs/{row.pk}/refresh/", headers={"X-Request-ID": "click-0001"})
    clear_contextvars()
    run_task()
    assert sent[-1] == "click-0001"
    assert get_contextvars() == {}


def test_a_task_that_nobody_asked_for_has_its_own_id(install_location, sent):
    row = install_location()
    OrmQ.objects.all().delete()
    request_refresh(row.pk, trigger="schedule", caller="")
    entry = OrmQ.objects.get()
    run_task()
    assert sent[-1] == entry.task_id()


def test_the_log_names_the_route_and_never_the_query(client, db, world, caplog):
    caplog.set_level(logging.INFO, logger="operations")
    client.get("/app/callback/?code=4f5d6c7b8a9b")
    line = next(record for record in caplog.records if record.message == "request")
    assert (line.route, line.method) == ("app/callback/", "GET")
    assert "4f5d6c7b8a9b" not in str(line.__dict__)


def test_the_log_names_the_install_and_how_long_it_took(install_location, api, caplog):
    row = install_location()
    caplog.set_level(logging.INFO, logger="operations")
    api().get(f"/app/get-token/{row.pk}/")
    line = caplog.records[-1]
    assert line.id == str(row.pk)
    assert line.ms > 0


def test_a_call_of_highlevel_is_logged_with_its_trace_id(world, install_location, caplog):
    row = install_location()
    caplog.set_level(logging.DEBUG, logger="integrations.highlevel")
    refresh_integration(row.pk, trigger="test")
    line = caplog.records[-1]
    row.refresh_from_db()
    assert (line.path, line.status, line.trace_id) == ("/oauth/token", 200, row.trace_id)
    assert row.trace_id


def test_begin_forgets_what_an_earlier_request_left(client):
    request_ids.begin("first-00001")
    request_ids.begin()
    assert get_contextvars()["request_id"] != "first-00001"


def test_good_answers_of_highlevel_are_quiet_and_others_are_not(world, install_location, caplog):
    row = install_location()
    caplog.set_level(logging.INFO, logger="integrations.highlevel")
    refresh_integration(row.pk, trigger="test")
    assert not caplog.records
    world.fault("500", route="/oauth/token")
    refresh_integration(row.pk, trigger="test")
    assert [record.status for record in caplog.records if "answered" in record.message] == [500]
