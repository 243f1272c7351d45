from __future__ import annotations

from datetime import timedelta

import pytest
import time_machine
from django.utils import timezone

from integrations import highlevel
from integrations.health import State, Status
from integrations.highlevel import ASSUMED_LIFE_S, HighLevel, TokenRejected
from integrations.install import finish_install
from integrations.models import GoHighLevelIntegration, RefreshAttempt
from integrations.refresh import Outcome, call_with_token, refresh_integration
from integrations.tasks import tick

pytestmark = pytest.mark.django_db


def renew(row, **options):
    return refresh_integration(row.pk, trigger="test", **options)


def state(row):
    row.refresh_from_db()
    return row.state(timezone.now())


def test_it_stores_the_new_pair_and_spends_the_old_token_once(world, install_location):
    row = install_location()
    old_access, old_refresh = row.open_access_token(), row.open_refresh_token()
    result = renew(row)
    row.refresh_from_db()
    assert result.outcome is Outcome.RENEWED
    assert row.open_access_token() != old_access
    assert row.open_refresh_token() != old_refresh
    assert world.uses_of(old_refresh) == 1
    assert row.generation == 2
    assert state(row) is State.HEALTHY


def test_it_renews_again_and_again(world, install_location):
    row = install_location()
    assert [renew(row).outcome for _ in range(3)] == [Outcome.RENEWED] * 3
    assert world.max_uses() == 1


@pytest.mark.parametrize("casing", ["snake", "camel-v3", "mirror"])
def test_three_renewals_in_a_row_work_in_each_casing_of_the_answer(world, install_location, casing):
    world.set_knobs(token_casing=casing)
    row = install_location()
    assert [renew(row).outcome for _ in range(3)] == [Outcome.RENEWED] * 3


def test_a_renewal_that_ended_after_the_asking_is_taken_as_the_own_one(world, install_location):
    row = install_location()
    asked_at = timezone.now()
    renew(row)
    used = world.max_uses(), len(world.token_uses())
    assert renew(row, asked_at=asked_at).outcome is Outcome.RENEWED
    assert (world.max_uses(), len(world.token_uses())) == used


def test_a_caller_that_saw_older_tokens_takes_the_newer_ones(world, install_location):
    row = install_location()
    renew(row)
    later = timezone.now() + timedelta(seconds=1)
    seen = renew(row, asked_at=later, seen_generation=row.generation)
    assert seen.outcome is Outcome.RENEWED
    row.refresh_from_db()
    assert row.generation == 2


@pytest.mark.parametrize("why", ["refused", "ended"])
def test_a_call_takes_tokens_that_another_one_renewed_since_its_row_was_read(install_location, why):
    row = install_location()
    old = row.open_access_token()
    if why == "ended":
        row.expires_at = timezone.now()
    renew(row)

    def call(token):
        if token == old:
            raise TokenRejected("Invalid JWT")
        return token

    with time_machine.travel(timezone.now() + timedelta(seconds=1)):
        assert call_with_token(row, call) != old
    assert RefreshAttempt.objects.count() == 1


def test_a_claimed_install_is_left_to_its_holder(world, install_location):
    row = install_location()
    soon = timezone.now() + timedelta(minutes=1)
    GoHighLevelIntegration.objects.filter(pk=row.pk).update(lease_until=soon)
    assert renew(row).outcome is Outcome.BUSY
    assert world.uses_of(row.open_refresh_token()) == 0
    assert state(row) is State.REFRESHING


def test_the_lease_of_a_dead_holder_ends(world, install_location):
    row = install_location()
    GoHighLevelIntegration.objects.filter(pk=row.pk).update(
        lease_until=timezone.now() - timedelta(seconds=1)
    )
    assert renew(row).outcome is Outcome.RENEWED


@pytest.mark.parametrize("fault", ["drop_after_commit", "slow", "reset", "503"])
def test_a_lost_answer_is_repeated_at_once_and_saves_the_install(world, install_location, fault):
    world.set_knobs(refresh_grace_seconds=30)
    row = install_location()
    world.fault(fault, route="/oauth/token")
    assert renew(row).outcome is Outcome.RENEWED
    attempt = RefreshAttempt.objects.get()
    assert attempt.repeats == 1
    assert state(row) is State.HEALTHY


def test_a_lost_answer_without_grace_needs_a_reconnect_when_there_is_no_agency(
    world, install_location
):
    world.set_knobs(refresh_grace_seconds=0)
    row = install_location()
    world.fault("drop_after_commit", route="/oauth/token")
    result = renew(row)
    assert (result.outcome, result.cause) == (Outcome.FAILED, "answer_lost")
    assert state(row) is State.NEEDS_RECONNECT


def test_a_lost_answer_without_grace_is_healed_by_the_agency(world, install_agency):
    world.set_knobs(refresh_grace_seconds=0)
    row = minted(world, install_agency)
    world.fault("drop_after_commit", route="/oauth/token", resource_id=row.resource_id)
    assert renew(row).outcome is Outcome.RENEWED
    assert state(row) is State.HEALTHY
    ways = RefreshAttempt.objects.filter(integration=row).order_by("started_at")
    assert list(ways.values_list("way", "outcome")) == [
        ("mint", "renewed"),
        ("refresh", "refused"),
        ("mint", "renewed"),
    ]


def test_a_refused_sub_account_gets_a_new_pair_from_its_agency(world, install_agency):
    row = minted(world, install_agency)
    world.refuse(row.resource_id)
    assert renew(row).outcome is Outcome.RENEWED


def test_a_refused_one_that_only_an_outage_kept_from_healing_is_tried_again(world, install_agency):
    row = minted(world, install_agency)
    GoHighLevelIntegration.objects.filter(pk=row.pk).update(status=Status.REFUSED, cause="refused")
    world.fault("500", route="/oauth/locationToken", times=None)
    renew(row)
    row.refresh_from_db()
    assert (row.status, row.cause) == (Status.REFUSED, "refused")
    assert row.renew_at is not None
    world.clear_faults()
    assert renew(row).outcome is Outcome.RENEWED


@pytest.mark.parametrize("answer", ["401", "400"])
def test_a_clear_refusal_needs_a_reconnect(world, install_location, answer):
    world.set_knobs(revoked_error=answer)
    row = install_location()
    world.refuse(row.resource_id)
    result = renew(row)
    assert (result.outcome, result.cause) == (Outcome.FAILED, "refused")
    assert state(row) is State.NEEDS_RECONNECT
    row.refresh_from_db()
    assert row.renew_at is None


def test_reconnect_is_off_by_default(world, install_location):
    world.set_knobs(reconnect="works")
    row = install_location()
    world.refuse(row.resource_id)
    assert renew(row).outcome is Outcome.FAILED
    assert not RefreshAttempt.objects.filter(way="reconnect").exists()


def test_reconnect_heals_a_refused_install_where_it_is_switched_on(
    world, install_location, settings
):
    settings.GHL_RECONNECT = True
    world.set_knobs(reconnect="works")
    row = install_location()
    world.refuse(row.resource_id)
    assert renew(row).outcome is Outcome.RENEWED
    assert state(row) is State.HEALTHY


def test_a_removed_reconnect_call_is_tried_once_an_hour(world, install_location, settings):
    settings.GHL_RECONNECT = True
    row = install_location()
    world.refuse(row.resource_id)
    for _ in range(3):
        assert renew(row).cause == "refused"
    assert RefreshAttempt.objects.filter(way="reconnect").count() == 1
    row.refresh_from_db()
    assert row.renew_at - row.tried_at == timedelta(hours=1)


def test_wrong_credentials_mark_nobody_dead(world, install_location, settings):
    rows = [install_location(), install_location()]
    settings.GHL_CLIENT_SECRET = "5eed5eed-0000-4000-8000-00000000bad0"
    results = [renew(row) for row in rows]
    assert {result.cause for result in results} == {"our_credentials"}
    assert [state(row) for row in rows] == [State.RETRYING] * 2
    settings.GHL_CLIENT_SECRET = "5eed5eed-0000-4000-8000-000000005eed"
    assert [renew(row).outcome for row in rows] == [Outcome.RENEWED] * 2


def test_a_token_of_another_key_pair_is_the_operators_business(world, install_location, settings):
    row = install_location()
    settings.GHL_CLIENT_ID = "5eed5eed5eed5eed5eed5eed-otherkey"
    world.put_client(settings.GHL_CLIENT_ID, settings.GHL_CLIENT_SECRET)
    assert renew(row).cause == "our_credentials"
    assert state(row) is State.RETRYING


def test_an_inactive_location_is_paused_and_resumes_by_itself(world, install_location):
    row = install_location()
    world.pause(row.resource_id)
    assert renew(row).cause == "location_inactive"
    assert state(row) is State.PAUSED
    assert row.renew_at - timezone.now() > timedelta(minutes=59)
    world.resume(row.resource_id)
    assert renew(row).outcome is Outcome.RENEWED
    assert state(row) is State.HEALTHY


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        ("connect_timeout", "not_reached"),
        ("500", "server_error"),
        ("html_body", "server_error"),
        ("slow", "no_answer"),
        ("429", "rate_limited"),
    ],
)
def test_an_outage_is_retried_and_never_a_refusal(world, install_location, fault, cause):
    row = install_location()
    world.fault(fault, route="/oauth/token", times=2, after_commit=False)
    result = renew(row)
    assert (result.outcome, result.cause) == (Outcome.FAILED, cause)
    assert state(row) is State.RETRYING
    world.clear_faults()
    assert renew(row).outcome is Outcome.RENEWED


@pytest.mark.parametrize("cause", ["server_error", "our_credentials"])
def test_the_first_success_after_an_outage_calls_the_others_back(world, install_location, cause):
    first, other, paused = (install_location() for _ in range(3))
    now = timezone.now()
    later = {"renew_at": now + timedelta(hours=1), "tried_at": now - timedelta(minutes=5)}
    GoHighLevelIntegration.objects.update(cause=cause, failures=7, **later)
    GoHighLevelIntegration.objects.filter(pk=paused.pk).update(
        status=Status.PAUSED, cause="location_inactive"
    )
    assert renew(first).outcome is Outcome.RENEWED
    assert tick() == {"renewed": 1, "failed": 0, "skipped": 0}
    assert state(other) is State.HEALTHY
    assert state(paused) is State.PAUSED


def test_one_that_was_just_tried_is_left_to_its_pause(world, install_location):
    first, other = install_location(), install_location()
    now = timezone.now()
    GoHighLevelIntegration.objects.update(
        cause="no_answer", failures=7, renew_at=now + timedelta(hours=1), tried_at=now
    )
    renew(first)
    assert tick()["renewed"] == 0
    other.refresh_from_db()
    assert other.generation == 1


@pytest.mark.parametrize("fault", ["429", "503"])
def test_failures_back_off_and_obey_retry_after(world, install_location, fault):
    row = install_location()
    # A 503 may have lost an answer, so its call is repeated once.
    world.fault(fault, route="/oauth/token", retry_after=900, times=None)
    renew(row)
    row.refresh_from_db()
    assert row.renew_at >= row.tried_at + timedelta(seconds=900)


def test_the_pauses_grow_to_an_hour(world, install_location):
    row = install_location()
    world.fault("connect_timeout", route="/oauth/token", times=None)
    pauses = []
    for _ in range(9):
        renew(row)
        row.refresh_from_db()
        pauses.append((row.renew_at - row.tried_at).total_seconds())
    # Give or take a fifth, and what the try itself took.
    assert 24 <= pauses[0] <= 36 + 20
    assert pauses[-1] > 2800
    assert max(pauses) <= 3600 * 1.2 + 20


def test_a_holder_that_died_after_sending_is_found_by_the_tick(world, install_location):
    row = install_location()
    refresh_token = row.open_refresh_token()
    long_ago = timezone.now() - timedelta(minutes=5)
    GoHighLevelIntegration.objects.filter(pk=row.pk).update(
        lease_until=long_ago, sent_at=long_ago, renew_at=long_ago
    )
    assert tick() == {"renewed": 1, "failed": 0, "skipped": 0}
    assert world.uses_of(refresh_token) == 1
    assert state(row) is State.HEALTHY


def with_old_look(row, **options):
    """Renew an install that was read a while ago."""
    return refresh_integration(row.pk, trigger="test", row=row, **options)


def test_an_old_look_at_an_install_sends_no_token_that_another_one_sent_since(
    world, install_location
):
    old_look = install_location()
    long_ago = timezone.now() - timedelta(minutes=5)
    GoHighLevelIntegration.objects.update(lease_until=long_ago, sent_at=long_ago)
    assert with_old_look(old_look).outcome is Outcome.BUSY
    assert world.uses_of(old_look.open_refresh_token()) == 0


def test_an_old_look_does_not_renew_what_was_renewed_since(world, install_location):
    old_look = install_location()
    renew(old_look)
    asked_at = old_look.renewed_at - timedelta(minutes=1)
    assert with_old_look(old_look, asked_at=asked_at).outcome is Outcome.RENEWED
    assert world.max_uses() == 1
    old_look.refresh_from_db()
    assert old_look.generation == 2


def test_an_unknown_outcome_is_settled_by_the_agency_without_a_second_use(world, install_agency):
    row = minted(world, install_agency)
    refresh_token = row.open_refresh_token()
    GoHighLevelIntegration.objects.filter(pk=row.pk).update(
        sent_at=timezone.now() - timedelta(minutes=5)
    )
    assert renew(row).outcome is Outcome.RENEWED
    assert world.uses_of(refresh_token) == 0


def test_a_damaged_token_is_named_and_stops_nobody_else(world, install_location):
    damaged, fine = install_location(), install_location()
    broken = bytes(damaged.refresh_token_encrypted[:-1]) + b"x"
    GoHighLevelIntegration.objects.filter(pk=damaged.pk).update(refresh_token_encrypted=broken)
    assert renew(damaged).cause == "token_damaged"
    assert state(damaged) is State.DAMAGED
    assert renew(fine).outcome is Outcome.RENEWED


def test_an_answer_that_comes_after_a_reinstall_does_not_undo_it(
    world, install_location, monkeypatch
):
    row = install_location()
    reinstalled = b"tokens of the reinstall"

    refresh = HighLevel.refresh

    def reinstall_meanwhile(client, token, *, user_type):
        tokens = refresh(client, token, user_type=user_type)
        GoHighLevelIntegration.objects.filter(pk=row.pk).update(
            generation=9, access_token_encrypted=reinstalled, renewed_at=timezone.now()
        )
        return tokens

    monkeypatch.setattr("integrations.highlevel.HighLevel.refresh", reinstall_meanwhile)
    assert renew(row).outcome is Outcome.RENEWED
    row.refresh_from_db()
    assert bytes(row.access_token_encrypted) == reinstalled


def test_uninstalled_ones_are_left_alone(world, install_location):
    row = install_location()
    GoHighLevelIntegration.objects.filter(pk=row.pk).update(status=Status.UNINSTALLED)
    assert renew(row).outcome is Outcome.SKIPPED
    assert world.uses_of(row.open_refresh_token()) == 0


@pytest.mark.parametrize("life", [None, 0, -1, "soon", 10**12])
def test_a_life_that_cannot_be_costs_no_token(world, install_location, monkeypatch, life):
    row = install_location()
    answer_with(monkeypatch, expires_in=life)
    assert renew(row).outcome is Outcome.RENEWED
    row.refresh_from_db()
    life_s = (row.expires_at - RefreshAttempt.objects.get().started_at).total_seconds()
    assert life_s == ASSUMED_LIFE_S
    assert RefreshAttempt.objects.get().cause == "life_unclear"
    assert renew(row).outcome is Outcome.RENEWED


@pytest.mark.parametrize("odd", ["x" * 500, "a\0b", "\ud800", 7, None, ["x"]])
def test_odd_texts_beside_the_tokens_cost_none(world, install_location, monkeypatch, odd):
    row = install_location()
    names = ("token_type", "scope", "planId", "userId", "refreshTokenId", "traceId")
    answer_with(monkeypatch, approvedLocations=[odd], **dict.fromkeys(names, odd))
    assert renew(row).outcome is Outcome.RENEWED
    assert state(row) is State.HEALTHY


def test_an_answer_without_a_refresh_token_keeps_the_old_one(world, install_location, monkeypatch):
    row = install_location()
    old = row.open_refresh_token()
    with monkeypatch.context() as patch:
        answer_with(patch, refresh_token=None)
        assert renew(row).outcome is Outcome.RENEWED
    row.refresh_from_db()
    assert row.open_refresh_token() == old


def answer_with(monkeypatch, **fields):
    """Have HighLevel's token answers say this instead; None leaves the field out."""
    read = highlevel._json

    def odd(response):
        data = read(response)
        changed = data | fields
        return {name: value for name, value in changed.items() if value is not None}

    monkeypatch.setattr(highlevel, "_json", odd)


@pytest.mark.parametrize("ahead", [timedelta(minutes=5), -timedelta(minutes=5)])
def test_a_host_whose_clock_is_wrong_by_minutes_hands_out_no_ended_token(
    world, install_location, ahead
):
    """It renews; HighLevel and the database keep the right time. Until a host with the right clock
    renews again, what is stored is good for at least the margin less the error."""
    row = install_location()
    later = timezone.now() + timedelta(hours=22, minutes=50)
    world.advance((later - timezone.now()).total_seconds())
    with time_machine.travel(later + ahead, tick=False):
        tick()
        row.refresh_from_db()
        assert row.generation == 2
        believed = row.expires_at - (later + ahead)
    assert timedelta(hours=23) < believed <= timedelta(days=1)
    left = row.expires_at - row.renew_at
    assert left > timedelta(hours=1) > abs(ahead)
    assert world.max_uses() == 1


def test_the_journal_has_no_token_in_it(world, install_location):
    row = install_location()
    secrets = [row.open_access_token(), row.open_refresh_token()]
    renew(row)
    row.refresh_from_db()
    secrets += [row.open_access_token(), row.open_refresh_token()]
    written = str(list(RefreshAttempt.objects.values()))
    assert RefreshAttempt.objects.get().fingerprint
    # The head of a JWT is the same for all; what tells tokens apart is at the end.
    assert not any(secret[-12:] in written for secret in secrets)


def minted(world, install_agency) -> GoHighLevelIntegration:
    """A sub-account that got its pair from its agency."""
    agency = install_agency(locations=1)
    finish_install(agency.pk)
    tick()
    row = GoHighLevelIntegration.objects.get(user_type="Location")
    assert row.status == Status.ACTIVE
    return row
