from __future__ import annotations

import json
import logging
from datetime import timedelta

import pytest
from django.utils import timezone
from django_q.models import OrmQ, Schedule

from access.models import User
from webhooks import processing, tasks
from webhooks.handlers import HANDLERS
from webhooks.models import GoHighLevelWebhook
from webhooks.processing import PAUSES, process_event

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def no_log(caplog):
    """Failures are logged with their traceback, which is not what these tests show."""
    caplog.set_level(logging.CRITICAL)


@pytest.fixture
def effects(monkeypatch):
    """What the handlers of "Good" and "Bad" events did; "Bad" ones fail until told otherwise."""
    done = []

    def good(event):
        done.append(event.webhook_id)
        return "done"

    def bad(event):
        User.objects.create_user("half-done")
        raise RuntimeError("no luck, token-abc")

    monkeypatch.setitem(HANDLERS, "Good", good)
    monkeypatch.setitem(HANDLERS, "Bad", bad)
    return done


def arrived(post, kind, name="w-1"):
    assert post(json.dumps({"type": kind, "webhookId": name}).encode()).status_code == 200
    return GoHighLevelWebhook.objects.get(webhook_id=name)


def reload(event):
    event.refresh_from_db()
    return event


def make_due(event):
    GoHighLevelWebhook.objects.filter(pk=event.pk).update(process_at=timezone.now())


def test_the_worker_processes_an_event_once_and_says_what_it_did(post, run_worker, effects):
    event = arrived(post, "Good")
    assert run_worker() == 1
    assert effects == ["w-1"]
    assert reload(event).status == GoHighLevelWebhook.PROCESSED
    assert (event.result, event.process_at) == ("done", None)
    assert event.processed_at is not None


def test_a_bell_that_rings_twice_has_one_effect(post, run_worker, effects):
    event = arrived(post, "Good")
    run_worker()
    assert processing.process_event(event.pk) == GoHighLevelWebhook.PROCESSED
    assert tasks.sweep() == 0
    assert effects == ["w-1"]


def test_an_event_without_a_handler_is_ignored_and_kept(post, run_worker, effects):
    event = arrived(post, "SomethingOf2031")
    run_worker()
    assert reload(event).status == GoHighLevelWebhook.IGNORED
    assert (event.process_at, effects) == (None, [])


def test_the_sweep_finds_what_the_bell_lost(post, effects):
    event = arrived(post, "Good")
    OrmQ.objects.all().delete()
    assert tasks.sweep() == 1
    assert effects == ["w-1"]
    assert reload(event).status == GoHighLevelWebhook.PROCESSED


def test_the_sweep_rings_every_minute_and_is_planned_once():
    tasks.ensure_sweep()
    tasks.ensure_sweep()
    schedule = Schedule.objects.get(func="webhooks.tasks.sweep")
    assert (schedule.schedule_type, schedule.minutes, schedule.repeats) == ("I", 1, -1)


def test_a_failing_handler_is_tried_again_after_a_pause(post, run_worker, effects):
    event = arrived(post, "Bad")
    run_worker()
    assert reload(event).status == GoHighLevelWebhook.PENDING
    assert timedelta(seconds=50) < event.process_at - timezone.now() <= PAUSES[0]
    assert tasks.sweep() == 0
    make_due(event)
    assert tasks.sweep() == 1
    assert reload(event).attempts == 2


def test_a_late_bell_does_not_cut_the_pause_short(post, run_worker, effects):
    event = arrived(post, "Bad")
    run_worker()
    assert processing.process_event(event.pk) == GoHighLevelWebhook.PENDING
    assert reload(event).attempts == 1


def test_an_event_in_the_middle_of_its_processing_is_not_begun_again(
    post, run_worker, effects, monkeypatch
):
    def while_another_worker_tries(event):
        effects.append(event.webhook_id)
        if len(effects) == 1:
            assert process_event(event.pk) == GoHighLevelWebhook.PENDING
        return "done"

    monkeypatch.setitem(HANDLERS, "Good", while_another_worker_tries)
    event = arrived(post, "Good")
    run_worker()
    assert effects == ["w-1"]
    assert reload(event).status == GoHighLevelWebhook.PROCESSED


def test_a_handler_that_recovers_ends_the_event(post, run_worker, effects, monkeypatch):
    event = arrived(post, "Bad")
    run_worker()
    monkeypatch.setitem(HANDLERS, "Bad", HANDLERS["Good"])
    make_due(event)
    tasks.sweep()
    assert reload(event).status == GoHighLevelWebhook.PROCESSED
    assert effects == ["w-1"]


def test_an_event_that_keeps_failing_is_parked(post, run_worker, effects):
    event = arrived(post, "Bad")
    pauses = []
    for _ in PAUSES:
        process_event(event.pk)
        if reload(event).process_at:
            pauses.append(event.process_at - timezone.now())
        make_due(event)
    assert reload(event).status == GoHighLevelWebhook.PARKED
    assert event.attempts == len(PAUSES)
    assert pauses == sorted(pauses)


def test_a_parked_event_is_left_alone(post, effects):
    event = arrived(post, "Bad")
    for _ in PAUSES:
        make_due(event)
        process_event(event.pk)
    assert reload(event).process_at is None
    assert tasks.sweep() == 0


def test_what_a_failing_handler_half_did_is_undone(post, run_worker, effects):
    arrived(post, "Bad")
    run_worker()
    assert not User.objects.exists()


def test_a_failure_is_named_by_its_kind_and_tells_no_secret(post, run_worker, effects):
    event = arrived(post, "Bad")
    run_worker()
    assert reload(event).result == "failed: RuntimeError"


def test_a_failing_event_keeps_nobody_else_waiting(post, effects):
    arrived(post, "Bad", "w-1")
    arrived(post, "Good", "w-2")
    arrived(post, "Bad", "w-3")
    arrived(post, "Good", "w-4")
    assert tasks.sweep() == 4
    assert effects == ["w-2", "w-4"]


def test_an_event_whose_processing_died_is_taken_up_again(post, effects, monkeypatch):
    def die(event):
        raise SystemExit

    event = arrived(post, "Good")
    with monkeypatch.context() as patch:
        patch.setitem(HANDLERS, "Good", die)
        with pytest.raises(SystemExit):
            process_event(event.pk)
    assert reload(event).status == GoHighLevelWebhook.PENDING
    assert event.process_at > timezone.now()
    make_due(event)
    assert tasks.sweep() == 1
    assert effects == ["w-1"]


def test_processing_takes_the_same_queries_for_each_event(post, effects, django_assert_num_queries):
    event = arrived(post, "Good")
    with django_assert_num_queries(5):  # read, take the turn, savepoint, end, release
        process_event(event.pk)
