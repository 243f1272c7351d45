from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.utils import timezone
from django_q.models import Schedule, Task

from access.keys import create_api_key
from access.models import KeyAlert, Scope
from integrations import bulk, cleanup, schedules, tasks
from integrations.models import RefreshAttempt, RenewalJob, RenewalJobItem, StateChange

pytestmark = pytest.mark.django_db
NOW = timezone.now()
OLD, RECENT = NOW - timedelta(days=401), NOW - timedelta(days=399)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(cleanup, "BATCH", 2)


def attempt(row, at, outcome=RefreshAttempt.RENEWED):
    return RefreshAttempt.objects.create(
        integration=row, trigger="t", way="refresh", generation=1, started_at=at, outcome=outcome
    )


def test_old_renewals_go_but_the_newest_of_an_install_stays(make_install):
    lively, silent = make_install(), make_install()
    for _ in range(5):
        attempt(lively, OLD)
    kept = attempt(lively, RECENT)
    attempt(silent, OLD - timedelta(days=1))
    newest = attempt(silent, OLD)
    running = attempt(lively, OLD, RefreshAttempt.RUNNING)
    assert cleanup.clean_up(NOW)["renewals"] == 6
    assert set(RefreshAttempt.objects.all()) == {kept, newest, running}


def test_old_changes_and_jobs_go_with_their_items(make_install):
    row = make_install()
    for at in (OLD, OLD, OLD, RECENT):
        StateChange.objects.create(integration=row, at=at, status="active", trigger="t")
        job = bulk.create_job([row.pk], caller="test")
        RenewalJob.objects.filter(pk=job.pk).update(created_at=at)
    deleted = cleanup.clean_up(NOW)
    assert (deleted["changes"], deleted["jobs"]) == (3, 3)
    assert StateChange.objects.get().at == RECENT
    assert RenewalJobItem.objects.get().job.created_at == RECENT


def test_old_addresses_and_unusual_uses_of_keys_go():
    key, _text = create_api_key("billing", scopes=[Scope.TOKENS_READ])
    for number, at in enumerate((OLD, OLD, RECENT)):
        key.addresses.create(address=f"192.0.2.{number}", first_at=OLD, last_at=at)
        key.alerts.create(kind=KeyAlert.SWEEP, at=at)
    deleted = cleanup.clean_up(NOW)
    assert (deleted["addresses_of_keys"], deleted["alerts_of_keys"]) == (2, 2)
    assert key.addresses.get().last_at == key.alerts.get().at == RECENT


def test_the_queues_own_notes_are_kept_for_two_weeks(db):
    for days in (15, 15, 15, 13):
        Task.objects.create(
            id=uuid.uuid4().hex,
            name=str(days),
            func="f",
            started=NOW,
            stopped=NOW - timedelta(days=days),
            success=days == 13,
        )
    assert cleanup.clean_up(NOW)["tasks"] == 3
    assert Task.objects.get().name == "13"


def test_sessions_that_are_over_go(client):
    client.get("/app/install/")
    assert Session.objects.count() == 1
    assert cleanup.clean_up(timezone.now())["sessions"] == 0
    assert cleanup.clean_up(timezone.now() + timedelta(days=15))["sessions"] == 1
    assert not Session.objects.exists()


def test_nothing_of_the_history_goes_where_all_is_to_be_kept(make_install, settings):
    settings.HISTORY_KEEP_DAYS = 0
    row = make_install()
    attempt(row, OLD)
    attempt(row, RECENT)
    tasks.clean_up()
    assert RefreshAttempt.objects.count() == 2


def test_it_is_rung_for_each_night_at_the_time_that_the_operator_wants():
    schedules.ensure_schedules()
    nightly = Schedule.objects.get(name=schedules.CLEAN_UP)
    assert nightly.func == "integrations.tasks.clean_up"
    assert timezone.now() < nightly.next_run <= timezone.now() + timedelta(days=1)
    Schedule.objects.filter(pk=nightly.pk).update(cron="10 1 * * *")
    schedules.ensure_schedules()
    assert Schedule.objects.get(name=schedules.CLEAN_UP).cron == "10 1 * * *"
