"""Many fail at once: one incident, hardly any calls, nobody marked, and back by itself."""

from __future__ import annotations

import json
import os
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from io import StringIO
from threading import Event

import pytest
import time_machine
from django.core.management import call_command
from django.utils import timezone

from integrations import bulk, highlevel, install, outage, tasks
from integrations.health import State, Status
from integrations.models import GoHighLevelIntegration, Outage, RefreshAttempt, RenewalJobItem
from integrations.refresh import Outcome, refresh_integration
from integrations.tokens import Source, get_access_token
from sandbox.transport import SandboxAdapter

pytestmark = pytest.mark.django_db
INSTALLS = int(os.environ.get("OUTAGE_INSTALLS", "60"))
MINUTE = timedelta(minutes=1)


class Counter(SandboxAdapter):
    """Counts the calls that leave the app."""

    calls = 0

    def send(self, request, *args, **kwargs):
        self.calls += 1
        return super().send(request, *args, **kwargs)


@pytest.fixture
def counter(world):
    counter = Counter(world)
    highlevel.SESSION.mount("https://", counter)
    return counter


@pytest.fixture
def clock():
    # The database's clock, which leases are compared with, goes on; it must not be ahead.
    with time_machine.travel(timezone.now() + timedelta(hours=1), tick=False) as clock:
        yield clock


def renew(row, trigger="api"):
    return refresh_integration(row.pk, trigger=trigger)


def fail(world, *rows):
    world.fault("503", route="/oauth/token", times=None)
    for row in rows:
        assert renew(row).outcome is Outcome.FAILED


def all_due():
    GoHighLevelIntegration.objects.update(renew_at=timezone.now())


@pytest.mark.one_database
def test_six_hours_of_503_are_one_incident_few_calls_and_nobodys_end(
    world, install_location, counter, clock, monkeypatch
):
    """Stated bound: each renewal makes at most two calls. Those that are begun within a second of
    the third failure fail too, then there is one try at growing distance, up to ten minutes."""
    monkeypatch.setattr(bulk, "LOOK_EVERY_S", 0)
    for _ in range(INSTALLS):
        install_location()
    while install.unfinished(1):
        tasks.tick()  # fetches their names
    clock.shift(timedelta(hours=19))
    all_due()
    world.fault("503", route="/oauth/token", times=None)
    counter.calls = 0
    for _ in range(6 * 60):
        tasks.tick()
        clock.shift(MINUTE)
    tries = 6 * 60 / (outage.LONGEST_PAUSE / MINUTE) + 5
    assert counter.calls <= 2 * (outage.FEW_INSTALLS + tries)
    assert Outage.objects.count() == 1
    assert set(GoHighLevelIntegration.objects.values_list("status", flat=True)) == {Status.ACTIVE}

    world.clear_faults()
    for _ in range(int(outage.LONGEST_PAUSE / MINUTE) + 2):
        tasks.tick()
        clock.shift(MINUTE)
    assert outage.current() is None
    states = [row.state(timezone.now()) for row in GoHighLevelIntegration.objects.all()]
    assert states.count(State.HEALTHY) == INSTALLS
    assert world.max_uses() <= 2 * tries


def test_a_few_failures_among_many_successes_are_no_outage(world, install_location):
    fine, failing = ([install_location() for _ in range(n)] for n in (13, 3))
    for row in fine:
        renew(row)
    fail(world, *failing)
    assert outage.current() is None


def test_three_failures_and_no_success_are_an_outage(world, install_location):
    rows = [install_location() for _ in range(3)]
    fail(world, *rows[:2])
    assert outage.current() is None
    fail(world, rows[2])
    assert outage.current().cause == "server_error"


def test_five_of_twenty_that_fail_are_an_outage(world, install_location):
    rows = [install_location() for _ in range(20)]
    for row in rows[5:]:
        renew(row)
    fail(world, *rows[:5])
    assert outage.current()


def test_failures_of_an_hour_ago_do_not_count(world, install_location):
    rows = [install_location() for _ in range(3)]
    fail(world, *rows[:2])
    RefreshAttempt.objects.update(started_at=timezone.now() - timedelta(hours=1))
    fail(world, rows[2])
    assert outage.current() is None


@pytest.fixture
def in_outage(world, install_location):
    """Return four installs, three of which have just failed."""
    rows = [install_location() for _ in range(4)]
    fail(world, *rows[:3])
    assert outage.current()
    return rows


def can_try_now():
    Outage.objects.update(try_at=timezone.now())


def test_a_caller_gets_the_valid_token_and_starts_no_call(in_outage, counter):
    soon = timezone.now() + timedelta(minutes=30)
    long_ago = timezone.now() - timedelta(hours=20)
    GoHighLevelIntegration.objects.update(expires_at=soon, renewed_at=long_ago)
    token = get_access_token(in_outage[3].pk, min_valid_for=timedelta())
    assert (token.source, token.access_token) == (Source.STALE, in_outage[3].open_access_token())
    assert counter.calls == 0


def test_one_of_many_callers_tries_when_it_is_time(in_outage, counter):
    can_try_now()
    results = [renew(row) for row in in_outage]
    assert {result.cause for result in results} == {"server_error"}
    assert counter.calls == 2  # the call and its repeat


def test_a_person_who_asks_is_always_obeyed_and_a_success_ends_it(world, in_outage):
    world.clear_faults()
    assert renew(in_outage[3], trigger="dashboard").outcome is Outcome.RENEWED
    assert outage.current() is None
    assert Outage.objects.get().ended_at is not None


def test_its_end_calls_back_those_that_failed(world, in_outage, clock):
    world.clear_faults()
    clock.shift(timedelta(hours=1))
    can_try_now()
    tasks.tick()
    assert outage.current() is None
    tasks.tick()
    assert GoHighLevelIntegration.objects.filter(failures=0, generation=2).count() >= 3


def test_a_refusal_in_an_outage_marks_nobody_until_it_is_over(world, in_outage, clock):
    refused = in_outage[3]
    world.clear_faults()
    world.refuse(refused.resource_id)
    assert renew(refused, trigger="dashboard").cause == "refused_in_outage"
    refused.refresh_from_db()
    assert refused.status == Status.ACTIVE
    clock.shift(timedelta(hours=1))
    can_try_now()
    assert renew(in_outage[0]).outcome is Outcome.RENEWED
    tasks.tick()
    refused.refresh_from_db()
    assert (refused.status, refused.cause) == (Status.REFUSED, "refused")


def test_wrong_credentials_are_one_incident_of_the_operators(world, install_location, settings):
    rows = [install_location() for _ in range(4)]
    settings.GHL_CLIENT_SECRET = "5eed5eed-0000-4000-8000-00000000bad0"
    for row in rows:
        renew(row)
    assert outage.current().cause == "our_credentials"
    assert outage.current().cause_info.who_acts == "operator"


def not_yet():
    """The outage is open, and its next try comes only in ten minutes."""
    Outage.objects.update(try_at=timezone.now() + timedelta(minutes=10))


def bulk_refresh(client):
    return client.post("/app/bulk-refresh/", {"force": True}, content_type="application/json")


def test_a_bulk_renewal_in_an_outage_asks_nothing_and_says_so(in_outage, counter, api):
    not_yet()
    told = bulk_refresh(api()).json()
    assert counter.calls == 0
    assert (told["success"], told["failed_count"], told["held_back_count"]) == (False, 4, 4)
    assert set(RenewalJobItem.objects.values_list("outcome", "cause")) == {("failed", "held_back")}


def test_a_bulk_renewal_tries_one_when_it_is_time_and_with_its_success_all(world, in_outage, api):
    can_try_now()
    world.clear_faults()
    told = bulk_refresh(api()).json()
    assert (told["refreshed_count"], told["held_back_count"]) == (4, 0)
    assert outage.current() is None


def test_a_bulk_renewal_tries_one_when_it_is_time_and_holds_back_the_others(
    in_outage, counter, api
):
    can_try_now()
    told = bulk_refresh(api()).json()
    assert counter.calls == 2  # the call and its repeat
    assert (told["failed_count"], told["held_back_count"]) == (4, 3)


def test_a_renewal_by_force_sends_all_even_in_an_outage_and_its_success_ends_it(world, in_outage):
    not_yet()
    world.clear_faults()
    out = StringIO()
    call_command("refresh_ghl_tokens", "--force", "--json", stdout=out)
    told = json.loads(out.getvalue())
    assert (told["renewed"], told["failed"], told["held_back"]) == (4, 0, 0)
    assert outage.current() is None


def test_one_that_a_caller_names_is_tried_even_in_an_outage(world, in_outage, api):
    not_yet()
    world.clear_faults()
    assert api().post(f"/app/refresh/{in_outage[3].pk}/").status_code == 200
    assert outage.current() is None


def test_one_that_a_caller_names_and_fails_says_when_the_outage_is_tried_next(in_outage, api):
    not_yet()
    response = api().post(f"/app/refresh/{in_outage[3].pk}/")
    assert (response.status_code, response.json()["error"]) == (503, "server_error")
    assert 590 < response.json()["retry_after"] <= 600


def test_an_install_ends_an_outage(world, in_outage, install_location):
    world.clear_faults()
    install_location()
    assert outage.current() is None


def test_a_success_of_the_tick_ends_an_outage_that_began_just_before(world, in_outage):
    """The tick looks for outages once a second; another process's may be younger than that."""
    world.clear_faults()
    row = GoHighLevelIntegration.objects.get(pk=in_outage[3].pk)
    assert refresh_integration(row.pk, trigger="schedule", row=row).success
    assert outage.current() is None


def test_a_success_that_was_begun_before_an_outage_does_not_end_it(in_outage):
    outage.end(begun_at=timezone.now() - timedelta(minutes=1))
    assert outage.current()


def test_no_thread_goes_on_before_the_first_one_has_looked():
    looking, may_see = Event(), Event()

    def look():
        looking.set()
        return may_see.wait(10)

    is_outage = bulk.seen_lately(look)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(is_outage)
        looking.wait(10)
        second = pool.submit(is_outage)
        futures.wait([second], timeout=0.2)
        may_see.set()
        assert first.result() and second.result()


def test_an_outage_that_comes_back_soon_is_the_same_one(world, in_outage, clock):
    world.clear_faults()
    clock.shift(timedelta(minutes=6))
    assert renew(in_outage[3], trigger="dashboard").outcome is Outcome.RENEWED
    clock.shift(timedelta(minutes=6))
    fail(world, *in_outage[:3])
    assert outage.current()
    assert Outage.objects.count() == 1
    world.clear_faults()
    renew(in_outage[3], trigger="dashboard")
    clock.shift(timedelta(minutes=30))
    fail(world, *in_outage[:3])
    assert Outage.objects.count() == 2


def test_only_one_of_two_that_see_it_begins_it(in_outage):
    outage._begin("server_error", timezone.now())
    assert Outage.objects.filter(is_open=True).count() == 1
