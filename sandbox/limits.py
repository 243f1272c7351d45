"""HighLevel's rate limits: a burst and a day, for each agency or sub-account."""

from __future__ import annotations

from dataclasses import dataclass

from sandbox.knobs import Knobs

_DAY = 86400


@dataclass
class _Usage:
    burst_start: float
    burst: int
    day: int
    today: int


class RateLimiter:
    """Counts calls per resource in memory; a restart forgets them."""

    def __init__(self) -> None:
        self._usage: dict[str, _Usage] = {}

    def take(self, resource_id: str, now: float, knobs: Knobs) -> tuple[bool, dict[str, str]]:
        """Count one call; returns whether it is within both limits, and the headers to send."""
        day = int(now // _DAY)
        usage = self._usage.setdefault(resource_id, _Usage(now, 0, day, 0))
        if not 0 <= now - usage.burst_start < knobs.burst_window_seconds:
            usage.burst_start, usage.burst = now, 0
        if usage.day != day:
            usage.day, usage.today = day, 0
        allowed = usage.burst < knobs.burst_limit and usage.today < knobs.daily_limit
        if allowed:
            usage.burst += 1
            usage.today += 1
        return allowed, _headers(usage, now, knobs)

    def clear(self) -> None:
        self._usage.clear()


def _headers(usage: _Usage, now: float, knobs: Knobs) -> dict[str, str]:
    return {
        "X-RateLimit-Limit-Daily": str(knobs.daily_limit),
        "X-RateLimit-Daily-Remaining": str(max(0, knobs.daily_limit - usage.today)),
        "X-RateLimit-Daily-Reset": str(int((_DAY - now % _DAY) * 1000)),
        "X-RateLimit-Interval-Milliseconds": str(knobs.burst_window_seconds * 1000),
        "X-RateLimit-Max": str(knobs.burst_limit),
        "X-RateLimit-Remaining": str(max(0, knobs.burst_limit - usage.burst)),
    }
