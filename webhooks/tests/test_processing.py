from __future__ import annotations

import json
import logging
from datetime import timedelta

import pytest
from django.db import DataError, OperationalError
from django.utils import timezone
from django_q.models import OrmQ, Schedule

from access.models import User
from webhooks import processing, tasks
from webhooks.handlers import HANDLERS, EventType
from webhooks.models import Backlog, GoHighLevelWebhook
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

    monkeypatch.setitem(HANDLERS, "Good", EventType(good, ""))
    monkeypatch.setitem(HANDLERS, "Bad", EventType(bad, ""))
    return done


def arrived(post, kind, name="w-1"):
    assert post(json.dumps({"type": kind, "webhookId": name}).encode()).status_code == 200
    return GoHighLevelWebhook.objects.get(webhook_id=name)


def reload(event):
    event.refresh_from_db()
    return event


def make_due(event):
    GoHighLevelWebhook.objects.filter(pk=event.pk).update(process_at=timezone.now())


def test_an_event_that_fails_in_words_that_no_database_keeps_holds_up_no_other(
    post, run_worker, effects, monkeypatch
):
    def bad(event):
        raise LookupError("half of a character: \ud83d")

    monkeypatch.setitem(HANDLERS, "Worse", EventType(bad, ""))
    event = arrived(post, "Worse")
    arrived(post, "Good", "w-2")
    run_worker()
    assert effects == ["w-2"]
    assert reload(event).failures.get().text == "half of a character: "


def test_an_event_whose_failure_cannot_be_noted_holds_up_no_other(
    post, run_worker, effects, monkeypatch
):
    def broken(event, error, began):
        raise LookupError("nobody foresaw this")

    monkeypatch.setattr(processing, "_note_failure", broken)
    arrived(post, "Bad")
    arrived(post, "Good", "w-2")
    run_worker()
    assert effects == ["w-2"]


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
    tasks.ensure_schedules()
    tasks.ensure_schedules()
    schedule = Schedule.objects.get(func="webhooks.tasks.scheduled_sweep")
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

    monkeypatch.setitem(HANDLERS, "Good", EventType(while_another_worker_tries, ""))
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


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (KeyError("token-abc"), "failed: an unexpected fault"),
        (OperationalError("server closed the connection"), "failed: the database did not answer"),
        (DataError("too long"), "failed: the database does not take what it tells"),
    ],
)
def test_a_failure_is_told_in_words_and_tells_no_secret(post, effects, monkeypatch, fault, told):
    def fail(event):
        raise fault

    monkeypatch.setitem(HANDLERS, "Bad", EventType(fail, ""))
    event = arrived(post, "Bad")
    process_event(event.pk)
    assert reload(event).result == told
    assert event.failures.get().error == type(fault).__name__


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
        patch.setitem(HANDLERS, "Good", EventType(die, ""))
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


def test_each_failure_is_kept_with_its_text_and_without_secrets(
    post, effects, monkeypatch, settings
):
    def fail(event):
        raise ValueError(f"refused refresh_token=abc123 with {settings.GHL_CLIENT_SECRET}")

    monkeypatch.setitem(HANDLERS, "Bad", EventType(fail, ""))
    event = arrived(post, "Bad")
    for _ in range(2):
        make_due(event)
        process_event(event.pk)
    first, second = event.failures.order_by("number")
    assert (first.number, second.number, first.error) == (1, 2, "ValueError")
    assert "refused refresh_token=" in first.text
    assert "abc123" not in first.text
    assert settings.GHL_CLIENT_SECRET not in first.text


def test_an_event_that_kills_its_worker_each_time_is_parked(post, effects, monkeypatch):
    def die(event):
        effects.append(event.webhook_id)
        raise SystemExit

    monkeypatch.setitem(HANDLERS, "Good", EventType(die, ""))
    event = arrived(post, "Good")
    for _ in PAUSES:
        make_due(event)
        with pytest.raises(SystemExit):
            process_event(event.pk)
    make_due(event)
    assert process_event(event.pk) == GoHighLevelWebhook.PARKED
    assert len(effects) == len(PAUSES)


def test_a_slow_turn_that_was_taken_over_has_no_effect(post, effects, monkeypatch):
    """Its time was up, so somebody else began: only one of the two may count."""

    def slow(event):
        User.objects.create_user("by-the-first")
        GoHighLevelWebhook.objects.filter(pk=event.pk).update(attempts=2)  # the other one's turn
        return "done"

    monkeypatch.setitem(HANDLERS, "Good", EventType(slow, ""))
    event = arrived(post, "Good")
    assert process_event(event.pk) == GoHighLevelWebhook.PENDING
    assert not User.objects.exists()
    assert reload(event).status == GoHighLevelWebhook.PENDING


def test_more_than_a_batch_is_processed_in_one_sweep(post, effects, monkeypatch):
    monkeypatch.setattr(processing, "SWEEP_BATCH", 3)
    for n in range(8):
        arrived(post, "Good", f"w-{n}")
    assert tasks.sweep() == 8
    assert sorted(effects) == [f"w-{n}" for n in range(8)]


def test_a_sweep_that_takes_too_long_leaves_the_rest_to_the_next(post, effects, monkeypatch):
    monkeypatch.setattr(processing, "SWEEP_BATCH", 3)
    monkeypatch.setattr(processing, "SWEEP_AT_MOST_S", 0)
    for n in range(8):
        arrived(post, "Good", f"w-{n}")
    OrmQ.objects.all().delete()
    assert tasks.sweep() == 3
    assert OrmQ.objects.count() == 1


def test_events_that_nobody_handles_take_few_queries_however_many(
    post, effects, django_assert_max_num_queries
):
    for n in range(30):
        arrived(post, "SomethingOf2031", f"w-{n}")
    with django_assert_max_num_queries(12):
        assert tasks.sweep() == 30
    ended = GoHighLevelWebhook.objects.filter(status=GoHighLevelWebhook.IGNORED, attempts=1)
    assert ended.count() == 30


def test_a_replay_is_left_to_the_worker_and_keeps_the_order_of_what_happened(
    post, run_worker, effects
):
    for name, at in (("w-late", "2026-01-02"), ("w-early", "2026-01-01")):
        body = {"type": "Good", "webhookId": name, "timestamp": f"{at}T00:00:00Z"}
        post(json.dumps(body).encode())
    run_worker()
    effects.clear()
    assert processing.request_replay(GoHighLevelWebhook.objects.all()) == 2
    assert effects == []
    run_worker()
    assert effects == ["w-early", "w-late"]


def test_the_longest_wait_of_each_hour_is_kept(post, effects):
    event = arrived(post, "Good")
    now = timezone.now()
    GoHighLevelWebhook.objects.update(process_at=now - timedelta(minutes=7))
    assert processing.longest_wait(now) == timedelta(minutes=7)
    tasks.scheduled_sweep()
    assert reload(event).status == GoHighLevelWebhook.PROCESSED
    tasks.scheduled_sweep()
    assert 420 <= Backlog.objects.get().oldest_s < 480
