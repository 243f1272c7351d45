"""Everything that happened to one account, the newest first: renewals, changes of its state,
HighLevel's events, what staff did, and who had its token."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from heapq import nlargest
from typing import Any

from django.urls import reverse

from access.models import AuditEvent
from dashboard.sentences import Tone
from integrations.causes import CAUSES
from integrations.health import Status
from integrations.models import GoHighLevelIntegration, HandOut, RefreshAttempt
from webhooks.models import GoHighLevelWebhook

MOST = 60
KINDS = {
    "renewals": "Renewals",
    "changes": "Changes",
    "events": "Events",
    "people": "People",
    "hand-outs": "Hand-outs",
}


@dataclass(frozen=True)
class Entry:
    """`title` is what happened, `text` how and by whom, `url` the page that tells more, `trace_id`
    HighLevel's."""

    at: datetime
    kind: str
    icon: str
    tone: Tone
    title: str
    text: str = ""
    duration_ms: int | None = None
    url: str = ""
    trace_id: str = ""


def timeline(
    install: GoHighLevelIntegration, events: Any, kind: str = "", most: int = MOST
) -> list[Entry]:
    """Return the newest entries, one query for each kind. `kind`: a key of KINDS, else all."""
    sources = {
        "renewals": lambda: map(_attempt, install.attempts.order_by("-started_at")[:most]),
        "changes": lambda: map(_change, install.state_changes.order_by("-at")[:most]),
        "events": lambda: map(_event, events.defer("body").order_by("-received_at")[:most]),
        "people": lambda: map(_action, _actions(install)[:most]),
        "hand-outs": lambda: map(_hand_out, _hand_outs(install)[:most]),
    }
    chosen = [sources[kind]] if kind in sources else sources.values()
    entries: Iterator[Entry] = (entry for source in chosen for entry in source())
    return nlargest(most, entries, key=lambda entry: entry.at)


def _actions(install: GoHighLevelIntegration) -> Any:
    """What people did; what a key did shows as renewals and hand-outs."""
    rows = AuditEvent.objects.filter(target_id=str(install.pk), actor_kind=AuditEvent.PERSON)
    return rows.order_by("-at")


def _hand_outs(install: GoHighLevelIntegration) -> Any:
    rows = HandOut.objects.filter(integration=install).select_related("key")
    return rows.order_by("-hour", "-last_at")


_ATTEMPT_LOOKS = {
    RefreshAttempt.RENEWED: ("circle-check", Tone.GREEN),
    RefreshAttempt.RUNNING: ("refresh", Tone.BLUE),
    RefreshAttempt.REFUSED: ("alert-octagon", Tone.RED),
}
_EVENT_LOOKS = {
    GoHighLevelWebhook.PROCESSED: ("webhook", Tone.GREEN),
    GoHighLevelWebhook.PARKED: ("alert-octagon", Tone.RED),
}
_STATUS_LOOKS = {
    Status.ACTIVE: ("plug-connected", Tone.GREEN, "Connected"),
    Status.WAITING: ("circle-dotted", Tone.GREY, "Waiting for HighLevel"),
    Status.PAUSED: ("player-pause", Tone.GREY, "Paused by HighLevel"),
    Status.REFUSED: ("alert-octagon", Tone.RED, "Needs reconnect"),
    Status.DAMAGED: ("shield-x", Tone.RED, "Token damaged"),
    Status.UNINSTALLED: ("circle-minus", Tone.GREY, "Removed"),
    Status.DEACTIVATED: ("power", Tone.GREY, "Switched off"),
}


def _attempt(attempt: RefreshAttempt) -> Entry:
    icon, tone = _ATTEMPT_LOOKS.get(attempt.outcome, ("history", Tone.AMBER))
    title = attempt.get_outcome_display()
    if attempt.way == "mint":
        title += " from the agency"
    if attempt.cause_info:
        title += f": {attempt.cause_info.title}"
    text = _asked_by(attempt.trigger, attempt.caller)
    if attempt.repeats:
        text += ", repeated once"
    return Entry(
        attempt.started_at,
        "renewals",
        icon,
        tone,
        title,
        text,
        attempt.duration_ms,
        trace_id=attempt.trace_id,
    )


def _change(change: Any) -> Entry:
    if change.status == Status.ACTIVE and change.cause:
        icon, tone, title = "history", Tone.AMBER, "Renewal fails"
    elif change.status == change.status_before == Status.ACTIVE:
        icon, tone, title = "circle-check", Tone.GREEN, "Works again"
    else:
        icon, tone, title = _STATUS_LOOKS[Status(change.status)]
    cause = CAUSES.get(change.cause)
    text = f"{cause.sentence} " if cause else ""
    return Entry(change.at, "changes", icon, tone, title, text + _by(change.trigger, change.caller))


def _event(event: GoHighLevelWebhook) -> Entry:
    icon, tone = _EVENT_LOOKS.get(event.status, ("webhook", Tone.GREY))
    text = event.get_status_display() + (f": {event.result}" if event.result else "")
    page = reverse("dashboard:event-detail", args=[event.pk])
    title = event.type or "(no type)"
    return Entry(event.received_at, "events", icon, tone, title, text, event.took_ms, page)


def _action(done: AuditEvent) -> Entry:
    text = f"by {done.actor_name}" + (f", {done.outcome}" if done.outcome != done.DONE else "")
    return Entry(done.at, "people", "user", Tone.BLUE, done.words, text)


def _hand_out(use: HandOut) -> Entry:
    parts = []
    if use.tokens:
        parts.append("1 token" if use.tokens == 1 else f"{use.tokens} tokens")
    if use.calls:
        parts.append("1 call passed on" if use.calls == 1 else f"{use.calls} calls passed on")
    text = f"{' and '.join(parts)} in this hour, last from {use.last_address or 'unknown'}"
    return Entry(use.last_at, "hand-outs", "key", Tone.GREY, f"Used by {use.key.name}", text)


def _asked_by(trigger: str, caller: str) -> str:
    match trigger:
        case "dashboard":
            return f"asked for by {caller}"
        case "schedule":
            return "on schedule"
        case _:
            return f"by {trigger}" + (f" ({caller})" if caller else "")


def _by(trigger: str, caller: str) -> str:
    return f"({trigger}{': ' + caller if caller else ''})"
