from __future__ import annotations

import json
import logging
from io import StringIO
from uuid import uuid4

import pytest
import time_machine
from django.core.management import CommandError, call_command

from webhooks import models
from webhooks.handlers import HANDLERS, EventType
from webhooks.models import GoHighLevelWebhook
from webhooks.processing import PAUSES

pytestmark = pytest.mark.django_db


@pytest.fixture
def effects(monkeypatch, caplog):
    caplog.set_level(logging.CRITICAL)
    done = []

    def good(event):
        done.append(event.webhook_id)
        return "done"

    monkeypatch.setitem(HANDLERS, "Good", EventType(good, ""))
    monkeypatch.setitem(HANDLERS, "Bad", EventType(lambda event: 1 / 0, ""))
    return done


@pytest.fixture
def stored(post, run_worker, effects):
    """Three processed events: two "Good" ones, and one that nobody handles."""
    names = [str(uuid4()) for _ in range(3)]
    for name, kind in zip(names, ["Good", "Good", "Other"], strict=True):
        post(json.dumps({"type": kind, "webhookId": name}).encode())
    run_worker()
    effects.clear()
    return names


def replay(capsys, *arguments):
    """Return exit status and what was printed."""
    try:
        call_command("replay_events", *arguments)
    except CommandError as error:
        return error.returncode, capsys.readouterr().out or str(error)
    return 0, capsys.readouterr().out


def test_without_a_filter_it_says_that_one_is_needed(capsys, stored, effects):
    status, said = replay(capsys)
    assert (status, effects) == (2, [])
    assert "--type, --status, --account, --since, --until, --id" in said


def test_it_processes_the_events_of_a_type_again(capsys, stored, effects):
    assert replay(capsys, "--type", "Good", "--json") == (
        0,
        '{"events": 2, "processed": 2, "ignored": 0, "failed": 0}\n',
    )
    assert effects == stored[:2]


def test_it_takes_ids_of_rows_and_of_highlevel(capsys, stored, effects):
    row = GoHighLevelWebhook.objects.get(webhook_id=stored[1])
    assert replay(capsys, "--id", str(row.pk), stored[0])[0] == 0
    assert sorted(effects) == sorted(stored[:2])


def test_an_unknown_id_is_named_and_nothing_is_done(capsys, stored, effects):
    unknown = str(uuid4())
    status, said = replay(capsys, "--id", stored[0], unknown)
    assert (status, effects) == (2, [])
    assert unknown in said
    assert stored[0] not in said


def test_filters_narrow_each_other(capsys, stored, effects):
    replay(capsys, "--type", "Good", "--status", "parked")
    assert effects == []
    replay(capsys, "--type", "Good", "--id", stored[1], stored[2])
    assert effects == [stored[1]]


def test_events_are_chosen_by_their_account_and_by_when_they_came(capsys, post, stored, effects):
    """As the list of events has it."""
    with time_machine.travel("2026-05-04T09:00:00Z", tick=False) as clock:
        for name, fields in {
            "of the sub-account": {"locationId": "loc-1", "companyId": "com-1"},
            "of its agency": {"companyId": "com-1"},
            "of another one": {"locationId": "loc-2", "companyId": "com-1"},
        }.items():
            post(json.dumps({"type": "Good", "webhookId": name} | fields).encode())
            clock.shift(60)
        replay(capsys, "--account", "loc-1")
        replay(capsys, "--account", "com-1")
        assert effects == ["of the sub-account", "of its agency"]
        effects.clear()
        replay(capsys, "--since", "2026-05-04T09:01", "--until", "2026-05-04T11:02:00+02:00")
    assert effects == ["of its agency"]


def test_parked_events_begin_anew(capsys, post, effects, monkeypatch):
    post(json.dumps({"type": "Bad", "webhookId": "w-1"}).encode())
    GoHighLevelWebhook.objects.update(
        status=GoHighLevelWebhook.PARKED, attempts=len(PAUSES), process_at=None
    )
    monkeypatch.setitem(HANDLERS, "Bad", HANDLERS["Good"])
    assert replay(capsys, "--status", "parked")[0] == 0
    event = GoHighLevelWebhook.objects.get()
    assert (event.status, event.attempts, effects) == (GoHighLevelWebhook.PROCESSED, 1, ["w-1"])


def test_it_ends_with_1_when_some_failed_and_they_are_tried_again(capsys, post, stored):
    post(json.dumps({"type": "Bad", "webhookId": "w-1"}).encode())
    status, said = replay(capsys, "--type", "Bad", "--json")
    assert (status, json.loads(said)["failed"]) == (1, 1)
    event = GoHighLevelWebhook.objects.get(webhook_id="w-1")
    assert event.status == GoHighLevelWebhook.PENDING
    assert event.process_at is not None


def test_an_event_without_a_handler_is_no_failure(capsys, stored):
    assert replay(capsys, "--type", "Other") == (
        0,
        "events 1, processed 0, ignored 1, failed 0\n",
    )


def test_dry_run_names_them_and_changes_nothing(capsys, stored, effects):
    before = list(GoHighLevelWebhook.objects.order_by("pk").values())
    status, said = replay(capsys, "--type", "Good", "--dry-run")
    assert status == 0
    assert said.count("would process") == 2
    assert "events 2" in said
    assert json.loads(replay(capsys, "--type", "Good", "--dry-run", "--json")[1])["events"] == 2
    assert (effects, list(GoHighLevelWebhook.objects.order_by("pk").values())) == ([], before)


def test_dry_run_says_what_the_replay_may_change(capsys, post, stored):
    post(json.dumps({"type": "UNINSTALL", "webhookId": "w-1", "locationId": "loc-1"}).encode())
    _status, said = replay(capsys, "--since", "2026-05-04", "--dry-run")
    assert f"1 UNINSTALL: {HANDLERS['UNINSTALL'].effect}" in said
    assert "1 Other: No effect here" in said
    told = json.loads(replay(capsys, "--type", "UNINSTALL", "--dry-run", "--json")[1])
    assert told["types"] == [
        {"type": "UNINSTALL", "events": 1, "effect": HANDLERS["UNINSTALL"].effect}
    ]


class Screen(StringIO):
    def isatty(self):
        return True


def test_somebody_who_watches_is_told_how_far_it_is(monkeypatch, stored, effects):
    monkeypatch.setattr(models, "BATCH", 1)
    screen = Screen()
    call_command("replay_events", "--type", "Good", stderr=screen)
    assert screen.getvalue() == "1 of 2\n2 of 2\n"
    assert effects == stored[:2]


@pytest.mark.parametrize(
    "wrong", [["--status", "odd"], ["--id", "17"], ["--id"], ["--since", "yesterday"]]
)
def test_a_wrong_argument_is_bad_usage(stored, wrong):
    with pytest.raises((CommandError, SystemExit)):
        call_command("replay_events", *wrong)


def test_they_are_processed_in_the_order_in_which_they_happened(capsys, post, effects):
    for name, at in [("late", "2026-02-02T00:00:00Z"), ("early", "2026-01-01T00:00:00Z")]:
        post(json.dumps({"type": "Good", "webhookId": name, "timestamp": at}).encode())
    replay(capsys, "--type", "Good")
    assert effects == ["early", "late"]
