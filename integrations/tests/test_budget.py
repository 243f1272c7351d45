"""HighLevel allows 100 calls in 10 s and 200,000 a day, for each app and account."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import time_machine
from django.db import connection
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from integrations import budget
from integrations.budget import BURST, DAY
from integrations.highlevel import RateLimited
from integrations.install import finish_install
from integrations.models import CallBudget, GoHighLevelIntegration
from integrations.tasks import tick

SECOND_US = 1_000_000


@given(pauses=st.lists(st.integers(0, 15 * SECOND_US), max_size=400))
def test_no_ten_seconds_see_more_than_a_hundred_calls(pauses):
    asked_at = used_until = 0
    made_at = []
    for pause in pauses:
        asked_at += pause
        made_at.append(asked_at + BURST.wait_us(used_until, asked_at))
        used_until = BURST.used_until(used_until, asked_at)
    for first, hundred_later in zip(made_at, made_at[100:], strict=False):
        assert hundred_later - first >= 10 * SECOND_US


def test_a_day_of_calls_without_a_pause_keeps_within_the_limit():
    day_us = 86_400 * SECOND_US
    assert DAY.at_once + day_us / DAY.pace_us <= 200_000


@pytest.fixture
def sleeps(monkeypatch):
    slept: list[float] = []
    monkeypatch.setattr(budget.time, "sleep", slept.append)
    return slept


@pytest.mark.django_db
def test_a_large_agency_is_taken_in_at_the_pace_that_highlevel_allows(
    world, install_agency, sleeps
):
    with time_machine.travel(timezone.now() + timedelta(hours=1), tick=False):
        finish_install(install_agency(locations=40).pk)
        tick()
    assert GoHighLevelIntegration.objects.filter(status="active").count() == 41
    waited = [s for s in sleeps if s]
    assert len(waited) >= 40 - BURST.at_once
    assert max(waited) < budget.LONGEST_WAIT_S


@pytest.mark.django_db
def test_a_budget_that_is_used_up_is_said_and_not_waited_for(sleeps):
    budget.reserve("agency")
    used_up = CallBudget.objects.get().day_used_until + 2 * DAY.at_once * DAY.pace_us
    CallBudget.objects.update(day_used_until=used_up)
    with pytest.raises(RateLimited) as caught:
        budget.wait_for_turn("agency")
    assert caught.value.retry_after_s > budget.LONGEST_WAIT_S
    assert CallBudget.objects.get().day_used_until == used_up
    assert sleeps == []


@pytest.mark.django_db(transaction=True)
def test_processes_that_call_at_once_are_all_counted():
    def reserve_some(_):
        try:
            for _ in range(10):
                budget.reserve("agency")
        finally:
            connection.close()

    budget.reserve("agency")
    before = CallBudget.objects.get().day_used_until
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(reserve_some, range(4)))
    assert CallBudget.objects.get().day_used_until - before >= 40 * DAY.pace_us
