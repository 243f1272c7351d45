"""Events that are processed while an INSTALL of the same account is not committed yet."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from integrations.health import Status
from integrations.models import GoHighLevelIntegration
from integrations.tests.test_crash import crash, die
from webhooks import tasks
from webhooks.handlers import HANDLERS
from webhooks.models import GoHighLevelWebhook
from webhooks.processing import process_event

pytestmark = pytest.mark.django_db(transaction=True)
WAIT_S = 120


def store(kind: str, **fields: Any) -> GoHighLevelWebhook:
    now = timezone.now()
    values = {"body": "{}", "occurred_at": now, "received_at": now, "process_at": now}
    return GoHighLevelWebhook.objects.create(webhook_id=kind, type=kind, **(values | fields))


def process_in_thread(
    event: GoHighLevelWebhook, wrapper: Callable[..., Any] = lambda execute, *args: execute(*args)
) -> threading.Thread:
    """On a connection of its own, with `wrapper` around each of its statements."""

    def run() -> None:
        try:
            with connection.execute_wrapper(wrapper):
                process_event(event.pk)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def process_meanwhile(kind: str, **fields: Any) -> None:
    """Process such an event just before an INSTALL of its agency's sub-account is committed."""
    about_to_commit, may_commit = threading.Event(), threading.Event()

    def pause_at_the_end(execute: Any, sql: str, *args: Any) -> Any:
        if sql.startswith("UPDATE") and "result" in sql:
            about_to_commit.set()
            assert may_commit.wait(WAIT_S)
        return execute(sql, *args)

    install = store("INSTALL", company_id="comp-1", location_id="loc-1")
    first = process_in_thread(install, pause_at_the_end)
    assert about_to_commit.wait(WAIT_S)
    second = process_in_thread(store(kind, company_id="comp-1", **fields))
    # PostgreSQL shows it no install and lets it end; MariaDB makes it wait for the first one.
    second.join(1)
    may_commit.set()
    first.join(WAIT_S)
    second.join(WAIT_S)
    assert set(GoHighLevelWebhook.objects.values_list("status", flat=True)) == {"processed"}


@pytest.mark.skipif(connection.vendor == "sqlite", reason="there one writes at a time")
@pytest.mark.parametrize("ended_before", [False, True])
@pytest.mark.parametrize("ends", ["the sub-account", "its agency"])
def test_the_install_ends_all_the_same(ends: str, ended_before: bool, make_install: Any) -> None:
    if ended_before:
        last_week = timezone.now() - timedelta(days=7)
        make_install(
            resource_id="loc-1",
            company_id="comp-1",
            status=Status.UNINSTALLED,
            cause="uninstalled",
            cause_since=last_week,
            installed_at=last_week,
        )
    location = "loc-1" if ends == "the sub-account" else ""
    process_meanwhile("UNINSTALL", location_id=location)
    assert GoHighLevelIntegration.objects.get(resource_id="loc-1").status == Status.UNINSTALLED


@pytest.mark.skipif(connection.vendor == "sqlite", reason="there one writes at a time")
@pytest.mark.parametrize("tells", ["the sub-account", "its agency"])
def test_what_is_told_meanwhile_is_noted(tells: str) -> None:
    location = "loc-1" if tells == "the sub-account" else ""
    process_meanwhile("UPDATE", location_id=location, body='{"companyName": "Acme"}')
    assert GoHighLevelIntegration.objects.get(resource_id="loc-1").company_name == "Acme"


@pytest.mark.parametrize("kind", ["INSTALL", "LocationCreate"])
@pytest.mark.parametrize("ends", ["the sub-account", "its agency"])
def test_a_kill_right_after_the_commit_only_puts_the_end_off(
    kind: str, ends: str, make_install: Any
) -> None:
    long_ago = timezone.now() - timedelta(days=7)
    make_install(
        agency=True,
        company_id="comp-1",
        installed_at=long_ago,
        install_to_future_locations=True,
    )
    begins = store(kind, company_id="comp-1", location_id="loc-1")

    def kill_at_the_last_look() -> None:
        HANDLERS[kind] = replace(HANDLERS[kind], complete=die)

    crash(kill_at_the_last_look, lambda: process_event(begins.pk))
    rows = GoHighLevelIntegration.objects.filter(resource_id="loc-1")
    assert rows.get().status == Status.WAITING
    # One that was processed before the commit found nothing to end.
    store(
        "UNINSTALL",
        company_id="comp-1",
        location_id="loc-1" if ends == "the sub-account" else "",
        status=GoHighLevelWebhook.PROCESSED,
        result="not connected here",
        process_at=None,
    )
    begins.refresh_from_db()
    assert begins.status == GoHighLevelWebhook.PENDING
    GoHighLevelWebhook.objects.filter(pk=begins.pk).update(process_at=timezone.now())
    assert tasks.sweep() == 1
    assert rows.get().status == Status.UNINSTALLED
    begins.refresh_from_db()
    assert (begins.status, begins.result) == ("processed", "ignored: uninstalled since")
