"""Links in messages: to pages, and signed ones that act without a sign-in.

A signed link opens a page that says what it would do; only the button on it does something, so
that a mail scanner which follows links changes nothing.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from urllib.parse import urlsplit

from django.conf import settings
from django.core import signing
from django.urls import reverse

from alerts.kinds import Kind
from alerts.models import Channel, Incident

# Where to look, besides an account's own page.
_PAGES: dict[str, str] = {
    Kind.OUTAGE: "dashboard:overview",
    Kind.CREDENTIALS: "dashboard:setup",
    Kind.WORKER: "dashboard:system",
    Kind.SCHEDULER: "dashboard:system",
    Kind.RENEWALS: "dashboard:system",
    Kind.EVENTS_PARKED: "dashboard:event-list",
    Kind.ANSWERS: "dashboard:event-figures",
    Kind.ENDPOINT: "dashboard:endpoint-list",
    Kind.KEY_USE: "dashboard:key-list",
    Kind.DISK: "dashboard:system",
}
_SALT = "alerts.links"
LIFE = timedelta(days=60)


class Act(StrEnum):
    UNSUBSCRIBE = "unsubscribe"
    SNOOZE = "snooze"
    ACKNOWLEDGE = "acknowledge"


@dataclass(frozen=True)
class SignedLink:
    act: Act
    channel_id: uuid.UUID
    incident_id: uuid.UUID | None


def page(name: str, *arguments: object) -> str:
    """Return the whole address of a page, for where no request tells the host."""
    return whole(reverse(name, args=arguments))


def whole(path: str) -> str:
    return _origin() + path


def path_of(incident: Incident) -> str:
    """Return where one sees what the incident is about; empty where no page shows more."""
    if incident.integration_id:
        return reverse("dashboard:install-detail", args=[incident.integration_id])
    return reverse(_PAGES[incident.kind]) if incident.kind in _PAGES else ""


def signed(act: Act, channel: Channel, incident: Incident | None = None) -> str:
    about = [act.value, str(channel.pk), str(incident.pk) if incident else ""]
    return page("dashboard:alert-link", signing.dumps(about, salt=_SALT))


def read(token: str) -> SignedLink | None:
    """Return what a signed link is for; None when it is too old, or not ours."""
    try:
        act, channel_id, incident_id = signing.loads(token, salt=_SALT, max_age=LIFE)
    except signing.BadSignature:
        return None
    return SignedLink(
        Act(act), uuid.UUID(channel_id), uuid.UUID(incident_id) if incident_id else None
    )


def _origin() -> str:
    """Where browsers find us: HighLevel sends them to the same host."""
    parts = urlsplit(settings.GHL_REDIRECT_URI)
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else "http://localhost:8000"
