"""Keeps below HighLevel's limits: 100 calls in 10 s and 200,000 a day, for each app and account.

Shared by all processes and hosts through one row for each account that we call about. Each call
uses up the limits a little further in time, and waits when they are used up too far ahead.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from integrations.highlevel import RateLimited
from integrations.models import CallBudget

# Longer waits are given back to the caller.
LONGEST_WAIT_S = 10.0


@dataclass(frozen=True)
class Limit:
    """So many calls at once, and then one every `pace_us` microseconds."""

    at_once: int
    pace_us: int

    def wait_us(self, used_until: int, now_us: int) -> int:
        """How long the next call waits. `used_until`: the calls so far, at this pace."""
        return max(0, used_until - self.at_once * self.pace_us - now_us)

    def used_until(self, used_until: int, now_us: int) -> int:
        """After one more call."""
        return max(used_until, now_us) + self.pace_us


# At most 20 + 80 in any ten seconds, at most 20,000 + 180,000 on any day.
BURST = Limit(at_once=20, pace_us=125_000)
DAY = Limit(at_once=20_000, pace_us=480_000)


def wait_for_turn(resource_id: str) -> None:
    """Wait until one more call about this account keeps within the limits.

    Errors: RateLimited when that would take longer than LONGEST_WAIT_S.
    """
    wait_s = reserve(resource_id)
    if wait_s > LONGEST_WAIT_S:
        error = RateLimited("our own share of HighLevel's limit is used up")
        error.retry_after_s = wait_s
        raise error
    time.sleep(wait_s)


def reserve(resource_id: str) -> float:
    """Count one call, unless it would wait too long; return the seconds to wait before it."""
    while True:
        row, _created = CallBudget.objects.get_or_create(pk=resource_id)
        now_us = time.time_ns() // 1000
        wait_s = (
            max(
                BURST.wait_us(row.burst_used_until, now_us), DAY.wait_us(row.day_used_until, now_us)
            )
            / 1_000_000
        )
        if wait_s > LONGEST_WAIT_S:
            return wait_s
        as_read = CallBudget.objects.filter(
            pk=row.pk, burst_used_until=row.burst_used_until, day_used_until=row.day_used_until
        )
        if as_read.update(
            burst_used_until=BURST.used_until(row.burst_used_until, now_us),
            day_used_until=DAY.used_until(row.day_used_until, now_us),
        ):
            return wait_s
