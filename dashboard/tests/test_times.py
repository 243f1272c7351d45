from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dashboard.templatetags.product import ago, when
from dashboard.times import absolute, clock, relative, span

pytestmark = pytest.mark.one_database

NOW = datetime(2026, 5, 3, 14, 2, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("delta", "said"),
    [
        (timedelta(seconds=0), "just now"),
        (timedelta(seconds=-9), "just now"),
        (timedelta(seconds=9), "in a moment"),
        (timedelta(seconds=-10), "10 s ago"),
        (timedelta(seconds=45), "in 40 s"),
        (timedelta(minutes=-4, seconds=-30), "4 min ago"),
        (timedelta(minutes=89), "in 89 min"),
        (timedelta(hours=21, minutes=20), "in 21 h"),
        (timedelta(hours=47), "in 47 h"),
        (timedelta(days=-9), "9 days ago"),
    ],
)
def test_it_says_a_time_as_people_do(delta: timedelta, said: str) -> None:
    assert relative(NOW + delta, NOW) == said


def test_what_has_happened_is_never_said_to_come() -> None:
    written_meanwhile = NOW + timedelta(seconds=3)
    assert ">just now<" in ago(written_meanwhile, NOW)
    assert ">in a moment<" in when(written_meanwhile, NOW)
    assert "14:02:12" in ago(written_meanwhile, NOW)
    assert ">not yet<" in ago(None, NOW, "not yet")


def test_a_span_below_a_minute_goes_in_steps_of_ten_seconds() -> None:
    assert {span(timedelta(seconds=s)) for s in range(20, 30)} == {"20 s"}


def test_absolute_times_name_their_zone() -> None:
    assert absolute(NOW) == "3 May 2026, 14:02:09 UTC"


def test_a_clock_of_another_day_names_the_day() -> None:
    assert clock(NOW, NOW) == "14:02 UTC"
    assert clock(NOW, NOW + timedelta(days=1)) == "14:02 UTC on 3 May 2026"
