"""`make bench`: each measurement reaches its goal, on SQLite."""

from __future__ import annotations

from bench import get_token, ingest
from bench.harness import GOAL, Plan


def test_hand_outs_keep_up_with_a_bare_view():
    result = get_token.measure(Plan())
    print(f"\n{result}")
    assert result.ratio >= GOAL


def test_the_receiver_keeps_up_with_a_bare_view():
    result = ingest.measure(Plan())
    print(f"\n{result}")
    assert result.ratio >= GOAL
