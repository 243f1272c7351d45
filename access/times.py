from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError


def hour_of(moment: datetime) -> datetime:
    """Return when the hour began that the moment is in."""
    return moment.replace(minute=0, second=0, microsecond=0)


def zone_of(name: str) -> ZoneInfo:
    """Return the zone of this name; UTC for one that this machine no longer knows."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")
