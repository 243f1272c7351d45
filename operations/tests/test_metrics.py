"""/metrics: who may read it, and that its numbers are true."""

from __future__ import annotations

import re
from datetime import timedelta
from ipaddress import ip_network
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from access.keys import create_api_key
from config import __version__
from integrations import heartbeat
from integrations.health import Status
from integrations.models import HandOut, RefreshAttempt
from integrations.refresh import refresh_integration
from operations import hand_out_counts, metrics, renewal_counts
from operations.models import Counter
from webhooks.models import GoHighLevelWebhook

KEY = "metrics-key-of-the-tests"
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def all_is_counted_anew() -> None:
    metrics._STATES.forget()


@pytest.fixture
def prometheus(settings: Any) -> Client:
    """A client with the key."""
    settings.METRICS_TOKEN = KEY
    return Client(headers={"Authorization": f"Bearer {KEY}"})


@pytest.fixture
def scrape(prometheus):
    """Return the numbers by (name, *values of its labels, sorted)."""

    def read() -> dict[tuple[str, ...], float]:
        response = prometheus.get("/metrics")
        assert response.status_code == 200
        families = text_string_to_metric_families(response.content.decode())
        return {
            (sample.name, *sorted(sample.labels.values())): sample.value
            for family in families
            for sample in family.samples
        }

    return read


def make_attempt(row, *, seconds=0.2, outcome=RefreshAttempt.RENEWED, way="refresh", ago_s=60.0):
    started_at = timezone.now() - timedelta(seconds=ago_s)
    ended_at = started_at + timedelta(seconds=seconds)
    is_open = outcome == RefreshAttempt.RUNNING
    return RefreshAttempt.objects.create(
        integration=row,
        trigger="schedule",
        way=way,
        generation=1,
        outcome=outcome,
        started_at=started_at,
        ended_at=None if is_open else ended_at,
    )


# --- Who may read it ---


def test_where_nothing_is_set_up_there_is_nothing(client):
    assert client.get("/metrics").status_code == 404


@pytest.mark.parametrize("header", ["", "Bearer wrong", f"Basic {KEY}", "Bearer", "Bearer ümlaut"])
def test_without_the_key_it_answers_401(settings, client, header):
    settings.METRICS_TOKEN = KEY
    headers = {"Authorization": header} if header else {}
    assert client.get("/metrics", headers=headers).status_code == 401


def test_an_empty_key_opens_nothing(client):
    assert client.get("/metrics", headers={"Authorization": "Bearer "}).status_code == 404


def test_an_allowed_address_needs_no_key(settings, client):
    settings.METRICS_ALLOW = [ip_network("10.0.0.0/8")]
    assert client.get("/metrics", REMOTE_ADDR="10.1.2.3").status_code == 200
    assert client.get("/metrics", REMOTE_ADDR="11.1.2.3").status_code == 404
    assert client.get("/metrics", REMOTE_ADDR="").status_code == 404


def test_behind_a_proxy_that_is_not_trusted_no_address_is_allowed(settings, client):
    settings.METRICS_ALLOW = [ip_network("127.0.0.1")]
    answer = client.get("/metrics", headers={"X-Forwarded-For": "203.0.113.9"})
    assert answer.status_code == 404


def test_only_reading_is_allowed(prometheus):
    assert prometheus.post("/metrics").status_code == 405


def test_no_name_or_id_of_an_account_is_in_it(make_install, prometheus):
    row = make_install(cause="refused", status=Status.REFUSED)
    text = prometheus.get("/metrics").content.decode()
    for value in (row.name, row.resource_id, row.company_id, str(row.pk)):
        assert value not in text


def test_it_tells_which_version_runs(prometheus):
    text = prometheus.get("/metrics").content.decode()
    assert re.search(rf'^whatreach_info{{.*version="{re.escape(__version__)}".*}} 1.0$', text, re.M)


# --- The numbers ---


def test_accounts_are_counted_by_state(make_install, scrape):
    make_install()
    make_install()
    make_install(status=Status.REFUSED)
    found = scrape()
    assert found["whatreach_accounts", "healthy"] == 2
    assert found["whatreach_accounts", "needs_reconnect"] == 1
    assert found["whatreach_accounts", "damaged"] == 0


def test_the_nearest_expiry_is_of_a_token_that_is_still_valid(make_install, scrape):
    make_install(expires_in=timedelta(hours=3))
    make_install(expires_in=timedelta(hours=-3))
    make_install(expires_in=timedelta(hours=1), status=Status.UNINSTALLED)
    assert scrape()["whatreach_nearest_expiry_seconds",] == pytest.approx(3 * 3600, abs=30)


def test_without_a_valid_token_there_is_no_nearest_expiry(scrape):
    assert ("whatreach_nearest_expiry_seconds",) not in scrape()


def test_overdue_renewals_are_told(make_install, scrape):
    now = timezone.now()
    make_install(renew_at=now - timedelta(minutes=20))
    make_install(renew_at=now - timedelta(minutes=5))
    make_install()
    found = scrape()
    assert found["whatreach_renewals_due",] == 2
    assert found["whatreach_renewals_overdue_seconds",] == pytest.approx(1200, abs=30)


def test_a_real_renewal_is_counted(install_location, scrape):
    row = install_location()
    scrape()
    refresh_integration(row.pk, trigger="test")
    found = scrape()
    assert found["whatreach_renewals_total", "refresh", "renewed"] == 1
    assert found["whatreach_renewal_seconds_count", "renewed"] == 1
    assert 0 < found["whatreach_renewal_seconds_sum", "renewed"] < 10


def test_durations_are_in_cumulative_buckets(make_install, scrape):
    row = make_install()
    for seconds in (0.05, 0.2, 0.2, 3, 100):
        make_attempt(row, seconds=seconds)
    found = scrape()
    counts = [
        found["whatreach_renewal_seconds_bucket", bound, "renewed"]
        for bound in ("0.1", "0.25", "1.0", "5.0", "60.0", "+Inf")
    ]
    assert counts == [1, 3, 3, 4, 4, 5]
    assert found["whatreach_renewal_seconds_sum", "renewed"] == pytest.approx(103.45)


def test_heartbeats_queue_and_events_are_told(scrape):
    heartbeat.beat(heartbeat.WORKER)
    heartbeat.beat_as_web()
    now = timezone.now()
    for number, status in enumerate(("pending", "parked", "parked")):
        GoHighLevelWebhook.objects.create(
            webhook_id=str(number),
            type="INSTALL",
            body="{}",
            occurred_at=now,
            received_at=now,
            status=status,
            process_at=now - timedelta(seconds=90) if status == "pending" else None,
        )
    found = scrape()
    assert found["whatreach_heartbeat_age_seconds", "worker"] == pytest.approx(0, abs=30)
    assert found["whatreach_heartbeat_age_seconds", "web"] == pytest.approx(0, abs=30)
    assert found["whatreach_events_waiting",] == 1
    assert found["whatreach_events_backlog_seconds",] == pytest.approx(90, abs=30)
    assert found["whatreach_events_parked",] == 2
    assert found["whatreach_queue_tasks",] == 0


def test_requests_are_counted_by_door(client, api, make_install, scrape):
    row = make_install()
    before = scrape()
    client.post("/app/webhook/", b"{}", content_type="application/json")
    api().get(f"/app/get-token/{row.pk}/")
    api().get("/ghl/list/")
    after = scrape()

    def more(*name: str) -> float:
        return after.get(name, 0) - before.get(name, 0)

    assert more("whatreach_http_requests_total", "401", "webhook") == 1
    assert more("whatreach_http_requests_total", "200", "get_token") == 1
    assert more("whatreach_http_requests_total", "200", "api") == 1
    assert more("whatreach_http_request_seconds_count", "webhook") == 1


def test_it_makes_the_same_queries_for_any_number_of_rows(make_install, prometheus):
    prometheus.get("/metrics")

    def queries() -> int:
        metrics._STATES.forget()
        with CaptureQueriesContext(
            connection,
        ) as captured:
            assert prometheus.get("/metrics").status_code == 200
        return len(captured)

    few = queries()
    for _ in range(12):
        make_attempt(make_install())
    # States, nearest expiry, due, counters and the journal's last minutes, the same of hand-outs
    # with the counters once more, events and those parked, heartbeats, queue.
    assert queries() == few == 12


def test_the_states_are_counted_at_most_every_15_seconds(make_install, prometheus, scrape):
    make_install()
    assert scrape()["whatreach_accounts", "healthy"] == 1
    make_install()
    assert scrape()["whatreach_accounts", "healthy"] == 1


# --- Counters never go back ---


def later(minutes: float) -> Any:
    return timezone.now() + timedelta(minutes=minutes)


def total() -> int:
    return sum(tally.number for tally in renewal_counts.read().values())


def test_counting_begins_with_the_first_look(make_install):
    make_attempt(make_install(), ago_s=3 * 3600)
    assert total() == 0


def test_what_was_added_up_is_counted_once(make_install):
    row = make_install()
    renewal_counts.read()
    for _ in range(3):
        make_attempt(row)
    before = renewal_counts.read()
    assert renewal_counts.read(later(30)) == before
    assert Counter.objects.count() > 1  # it was added up indeed
    assert renewal_counts.read(later(60)) == before


def test_a_count_stays_when_the_journal_is_cleaned(make_install):
    row = make_install()
    renewal_counts.read()
    make_attempt(row)
    renewal_counts.read(later(30))
    RefreshAttempt.objects.all().delete()
    assert total() == 1


def test_a_renewal_that_still_runs_is_not_passed_over(make_install):
    row = make_install()
    renewal_counts.read()
    running = make_attempt(row, outcome=RefreshAttempt.RUNNING)
    make_attempt(row, ago_s=30)
    renewal_counts.read(later(30))
    running.outcome, running.ended_at = RefreshAttempt.CUT_OFF, timezone.now()
    running.save()
    assert total() == 2
    renewal_counts.read(later(60))
    assert total() == 2


def test_of_two_that_add_up_at_the_same_moment_one_counts(make_install):
    row = make_install()
    renewal_counts.read()
    make_attempt(row)
    stored = dict(Counter.objects.values_list("key", "value"))
    renewal_counts._add_up(stored, later(30))
    renewal_counts._add_up(stored, later(30))
    assert total() == 1


# --- Hand-outs ---


def handed_out(tokens: int, *, hours_ago: int = 0, calls: int = 0, row: Any, key: Any) -> None:
    now = timezone.now() - timedelta(hours=hours_ago)
    HandOut.objects.create(
        integration=row,
        key=key,
        hour=now.replace(minute=0, second=0, microsecond=0),
        tokens=tokens,
        calls=calls,
        first_at=now,
        last_at=now,
    )


def test_hand_outs_are_exactly_those_that_were_recorded(api, install_location, scrape):
    row, caller = install_location(), api()
    for _ in range(3):
        caller.get(f"/app/get-token/{row.pk}/")
    caller.get(f"/app/api/{row.pk}/locations/{row.resource_id}")
    api("proxy").get(f"/app/get-token/{row.pk}/")  # refused: nothing left the house
    caller.get("/app/get-token/6a1f0c52-6f0e-4d0b-9a53-0d7c1f6f2f11/")
    found = scrape()
    assert found["whatreach_hand_outs_total", "token"] == 3
    assert found["whatreach_hand_outs_total", "call"] == 1


def test_no_process_shows_fewer_hand_outs_than_another_one_just_did(api, make_install, scrape):
    row, caller = make_install(), api()
    for number in (1, 2):  # what a process keeps from its last look is behind the others
        caller.get(f"/app/get-token/{row.pk}/")
        assert scrape()["whatreach_hand_outs_total", "token"] == number


def test_hand_outs_do_not_go_back_while_an_account_is_forgotten(make_install, monkeypatch):
    key, _text = create_api_key("billing", scopes=["tokens:read"])
    row = make_install()
    hand_out_counts.read()
    handed_out(5, row=row, key=key)
    count = hand_out_counts._sum

    def forget_it_first(rows):
        monkeypatch.setattr(hand_out_counts, "_sum", count)
        hand_out_counts.keep([row.pk])
        HandOut.objects.all().delete()
        return count(rows)

    monkeypatch.setattr(hand_out_counts, "_sum", forget_it_first)
    assert hand_out_counts.read() == (5, 0)


def test_hand_outs_of_hours_that_are_over_are_counted_once_and_stay(make_install):
    key, _text = create_api_key("billing", scopes=["tokens:read"])
    row = make_install()
    with time_machine.travel(timezone.now().replace(minute=30), tick=False):
        handed_out(100, hours_ago=2, row=row, key=key)  # before the first look
        assert hand_out_counts.read() == (0, 0)
        handed_out(5, calls=1, row=row, key=key)
        assert hand_out_counts.read() == (5, 1)
    with time_machine.travel(timezone.now().replace(minute=30) + timedelta(hours=1), tick=False):
        handed_out(2, row=row, key=key)
        assert hand_out_counts.read() == hand_out_counts.read() == (7, 1)
        HandOut.objects.filter(tokens=5).delete()  # as the nightly clean-up does
        assert hand_out_counts.read() == (7, 1)
