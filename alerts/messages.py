"""The words of a message, made when it is sent. Plain text: it has to read well in a mail, a chat
and on a telephone alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.conf import settings

from access.roles import Permission
from alerts import digest, links
from alerts.kinds import STANDSTILL
from alerts.links import Act
from alerts.models import Channel, Delivery, Incident, Notice
from integrations.causes import CAUSES

# More are counted.
MOST = 20


@dataclass(frozen=True)
class Message:
    """`unsubscribe_url`: of mails to people."""

    subject: str
    text: str
    is_red: bool = False
    unsubscribe_url: str = ""


def compose(delivery: Delivery, now: datetime) -> Message:
    if delivery.about == Delivery.DIGEST:
        return _message(delivery.channel, *digest.words(delivery.channel, now))
    notices = _latest(delivery)
    parts = [_paragraph(notice, delivery.channel, now) for notice in notices[:MOST]]
    if more := len(notices) - MOST:
        parts += [f"… and {more} more: {links.page('dashboard:alert-list')}"] if more > 0 else []
    text = "\n\n".join(parts)
    is_red = any(n.incident.about.is_red and n.incident.is_open for n in notices)
    return _message(delivery.channel, _subject(notices), text, is_red=is_red)


def test_message(channel: Channel, now: datetime) -> Message:
    text = f"This is a test. Alerts for “{channel.name}” arrive here. Sent at {clock(now)}."
    return _message(channel, "Test of alerts", text)


def standstill_message(title: str, text: str) -> Message:
    """For whoever runs WhatReach, when no channel can be read from the database."""
    return Message(title, text, is_red=True)


def clock(moment: datetime) -> str:
    """Return "14:02 UTC on 3 May"."""
    utc = moment.astimezone(UTC)
    return f"{utc:%H:%M} UTC on {utc.day} {utc:%B}"


def span(delta: timedelta) -> str:
    """Return a length of time in its two largest units: "45 s", "2 h 5 min", "3 days 4 h"."""
    seconds = max(int(delta.total_seconds()), 0)
    days, hours, minutes = seconds // 86400, seconds % 86400 // 3600, seconds % 3600 // 60
    if days:
        return f"{days} day{'s' if days > 1 else ''}" + (f" {hours} h" if hours else "")
    if hours:
        return f"{hours} h" + (f" {minutes} min" if minutes else "")
    return f"{minutes} min" if minutes else f"{seconds} s"


def _message(channel: Channel, subject: str, text: str, *, is_red: bool = False) -> Message:
    alerts_page = links.page("dashboard:alert-list")
    subject = " ".join(subject.split())  # names come from outside; a header has one line
    if channel.way != Channel.MAIL:
        return Message(subject[:180], f"{text}\n\n{alerts_page}", is_red)
    unsubscribe_url = links.signed(Act.UNSUBSCRIBE, channel)
    footer = f"--\nAll alerts: {alerts_page}\nNo more of these mails: {unsubscribe_url}\n"
    return Message(subject[:180], f"{text}\n\n{footer}", is_red, unsubscribe_url)


def _latest(delivery: Delivery) -> list[Notice]:
    """The notices, one for each incident: what ended is told as ended, whatever was noted first.
    The worst come first."""
    rows = delivery.notices.select_related("incident__integration").order_by("pk")
    by_incident = {notice.incident_id: notice for notice in rows}
    return sorted(
        by_incident.values(),
        key=lambda notice: (not notice.incident.is_open, not notice.incident.about.is_red),
    )


def _subject(notices: Sequence[Notice]) -> str:
    if len(notices) == 1:
        return _headline(notices[0])
    counts = {
        "began": sum(n.incident.is_open and n.what != Notice.STILL for n in notices),
        "go on": sum(n.incident.is_open and n.what == Notice.STILL for n in notices),
        "ended": sum(not n.incident.is_open for n in notices),
    }
    return "Incidents: " + ", ".join(f"{n} {what}" for what, n in counts.items() if n)


def _headline(notice: Notice) -> str:
    incident = notice.incident
    if not incident.is_open:
        ending = incident.ending or incident.about.recovered
        return f"{incident.subject} {ending}"
    still = "Still: " if notice.what == Notice.STILL else ""
    return f"{still}{incident.subject} {_title(incident)}"


def _title(incident: Incident) -> str:
    # "Harbour Dental: its token ended", but "Harbour Dental needs reconnect"
    title = incident.about.title
    return f"– {title}" if title.startswith(("its ", "the ")) else title


def _paragraph(notice: Notice, channel: Channel, now: datetime) -> str:
    incident = notice.incident
    lines = [_headline(notice)]
    if not incident.is_open and incident.closed_at:
        lasted = span(incident.lasted(now))
        lines.append(f"It lasted {lasted}, from {clock(incident.opened_at)}.")
        return "\n".join(lines)
    lines += _facts(incident, now)
    if path := links.path_of(incident):
        lines.append(links.whole(path))
    if channel.way == Channel.MAIL and may_act(channel):
        lines.append(f"I look after it: {links.signed(Act.ACKNOWLEDGE, channel, incident)}")
        lines.append(f"Snooze alerts: {links.signed(Act.SNOOZE, channel, incident)}")
    return "\n".join(lines)


def may_act(channel: Channel) -> bool:
    """Whether whoever reads the channel may snooze: its owner by their role; a team's reader by
    whoever added it."""
    owner = channel.owner
    return owner is None or owner.has_perm(Permission.OPERATE)


def _facts(incident: Incident, now: datetime) -> list[str]:
    cause = CAUSES.get(incident.cause)
    first = " ".join(filter(None, [cause.sentence if cause else "", incident.detail]))
    since = f"Since {clock(incident.opened_at)} ({span(now - incident.opened_at)})."
    about = incident.about
    lines = [first] if first else []
    lines += [f"{since} {about.effect}", about.who]
    if incident.kind in STANDSTILL:
        lines.append(f"Start it again: {settings.WORKER_RESTART_COMMAND}")
    return lines
