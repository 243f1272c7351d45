from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from integrations.health import Status
from integrations.pacing import next_renewal, next_try

pytestmark = pytest.mark.one_database

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def renewals(life, **options):
    """Where a hundred renewals of a token of this life fall, counted back from its end."""
    return [NOW + life - next_renewal(NOW, NOW + life, **options) for _ in range(100)]


def test_a_days_token_is_renewed_before_the_margin_and_spread_over_the_jitter():
    before_end = renewals(timedelta(days=1), margin=HOUR, jitter=HOUR)
    assert min(before_end) >= HOUR + timedelta(minutes=2)
    assert max(before_end) <= 2 * HOUR
    assert max(before_end) - min(before_end) > HOUR / 2


def test_a_short_lived_token_is_left_alone_in_its_first_half():
    before_end = renewals(timedelta(minutes=5), margin=HOUR, jitter=HOUR)
    assert set(before_end) == {timedelta(minutes=5) / 2}


@pytest.mark.parametrize("jitter", [timedelta(), timedelta(seconds=30)])
def test_a_small_jitter_is_kept_to(jitter):
    assert set(renewals(timedelta(days=1), margin=HOUR, jitter=jitter)) == {HOUR + jitter}


def test_pauses_double_from_half_a_minute_to_an_hour():
    pauses = [next_try(NOW, None, n) - NOW for n in range(1, 20)]
    assert timedelta(seconds=24) <= pauses[0] <= timedelta(seconds=36)
    assert timedelta(seconds=48) <= pauses[1] <= timedelta(seconds=72)
    assert max(pauses) <= 1.2 * HOUR
    assert pauses[-1] >= 0.8 * HOUR


def test_the_wait_that_highlevel_asks_for_is_kept():
    assert next_try(NOW, None, 1, asked_for_s=900) == NOW + timedelta(seconds=900)


def test_a_paused_one_is_probed_after_an_hour_then_four_then_daily():
    probes = [next_try(NOW, Status.PAUSED, n) - NOW for n in (1, 2, 3, 4)]
    assert probes == [HOUR, 4 * HOUR, 24 * HOUR, 24 * HOUR]


@pytest.mark.parametrize("verdict", [Status.REFUSED, Status.DAMAGED])
def test_what_only_a_person_can_mend_is_not_tried_again(verdict):
    assert next_try(NOW, verdict, 1) is None
    assert next_try(NOW, verdict, 1, reconnect=True) == NOW + HOUR
