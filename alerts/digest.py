"""The weekly digest: sent also when all is well, so that silence means something."""

from __future__ import annotations

from datetime import datetime, time, timedelta

from access.times import zone_of
from alerts import links
from alerts.models import Channel, Delivery, Incident
from integrations.health import State
from integrations.models import GoHighLevelIntegration

WEEKDAY, HOUR = 0, time(8)  # Mondays at eight, where the reader is
WEEK = timedelta(days=7)
MOST = 10

_WORDS = [
    ("healthy", (State.HEALTHY, State.REFRESHING)),
    ("recovering by themselves", (State.RETRYING, State.EXPIRING, State.WAITING)),
    ("in need of somebody", (State.NEEDS_RECONNECT, State.DAMAGED, State.EXPIRED)),
    ("paused by HighLevel", (State.PAUSED,)),
]


def next_time(now: datetime, zone: str) -> datetime:
    """Return the next Monday, eight o'clock, in that time zone."""
    local = now.astimezone(zone_of(zone))
    day = local.date() + timedelta(days=(WEEKDAY - local.weekday()) % 7)
    moment = datetime.combine(day, HOUR, tzinfo=local.tzinfo)
    return moment if moment > local else moment + WEEK


def queue(now: datetime) -> None:
    """Note the digests whose time has come."""
    due = list(Channel.objects.working().filter(wants_digest=True, digest_at__lte=now))
    for channel in due:
        channel.digest_at = next_time(now, channel.zone)
    Channel.objects.bulk_update(due, ["digest_at"])
    Delivery.objects.bulk_create(
        Delivery(
            channel=channel,
            about=Delivery.DIGEST,
            created_at=now,
            due_at=channel.quiet_ends(now) or now,
        )
        for channel in due
    )


def words(channel: Channel, now: datetime) -> tuple[str, str]:
    """Return subject and text."""
    installs, incidents = GoHighLevelIntegration.objects.all(), Incident.objects.all()
    for limit in (channel.agencies, channel.owner.agencies if channel.owner else []):
        if limit:
            installs = installs.filter(company_id__in=limit)
            incidents = incidents.filter(company_id__in=limit)
    counted = installs.count_by_state(now)
    groups = [(label, sum(counted[state] for state in states)) for label, states in _WORDS]
    live = sum(n for _label, n in groups)
    open_ones = list(incidents.open().order_by("opened_at")[: MOST + 1])
    ended = incidents.filter(closed_at__gt=now - WEEK).count()
    is_well = groups[0][1] == live and not open_ones
    subject = "Your week: all is well" if is_well else "Your week"
    lines = [f"{live} accounts are looked after."]
    lines += [f"  {n} {label}" for label, n in groups if n]
    lines += ["", f"{ended} incidents began and ended, or only ended, within seven days."]
    lines += [f"Open now: {len(open_ones[:MOST])}" + (" or more" if len(open_ones) > MOST else "")]
    lines += [f"  {incident}" for incident in open_ones[:MOST]]
    lines += ["", links.page("dashboard:overview")]
    return subject, "\n".join(lines)
