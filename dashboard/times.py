"""Points in time as people say them; `now` is passed in, clocks show the active time zone."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.utils import timezone

JUST_NOW = timedelta(seconds=10)


def span(delta: timedelta) -> str:
    """Return a length of time in its one fitting unit: "40 s", "25 min", "21 h", "364 days".

    Below a minute in steps of ten seconds: a page that is read again every few seconds should
    change when something happened, not because time passes.
    """
    seconds = abs(int(delta.total_seconds()))
    if seconds < 60:
        return f"{max(seconds // 10 * 10, 10)} s"
    if seconds < 90 * 60:
        return f"{seconds // 60} min"
    if seconds < 48 * 3600:
        return f"{seconds // 3600} h"
    return f"{seconds // 86400} days"


def relative(moment: datetime, now: datetime) -> str:
    """Return "just now", "in a moment", "4 min ago" or "in 21 h"."""
    delta = moment - now
    if abs(delta) < JUST_NOW:
        return "in a moment" if delta > timedelta() else "just now"
    return f"in {span(delta)}" if delta > timedelta() else f"{span(delta)} ago"


def absolute(moment: datetime) -> str:
    """Return "3 May 2026, 14:02:09 UTC", in the zone of the person who looks."""
    local = timezone.localtime(moment)
    return f"{local.day} {local:%B %Y, %H:%M:%S %Z}"


def clock(moment: datetime, now: datetime) -> str:
    """Return the time of day, "14:02 UTC", or with its day where that is not today's."""
    local = timezone.localtime(moment)
    if local.date() == timezone.localtime(now).date():
        return f"{local:%H:%M %Z}"
    return f"{local:%H:%M %Z} on {day(moment)}"


def day(moment: datetime) -> str:
    """Return "3 May 2026"."""
    local = timezone.localtime(moment)
    return f"{local.day} {local:%B %Y}"
