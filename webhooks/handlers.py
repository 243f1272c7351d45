"""What events mean: one idempotent function for each type. Add one here and in HANDLERS.

A handler gets the stored event, changes the database and returns in a few words what it did. It
runs in a transaction, so it must not call anybody outside.

HighLevel promises no order. What happened when is told by `occurred_at`, and the events that are
here already are asked for what happened later, or came before there was an install to note it on:
the end is the same in whatever order they come.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q, QuerySet

from integrations.ending import note_uninstalled
from integrations.install import fill_in, hold, note_created, note_details, note_installed
from integrations.states import Expected
from webhooks.models import MOST_AHEAD, GoHighLevelWebhook

Handler = Callable[[GoHighLevelWebhook], str]
Events = QuerySet[GoHighLevelWebhook]

INSTALLS = ("INSTALL", "app.installed")
UNINSTALLS = ("UNINSTALL", "app.uninstalled")
NOBODY = "ignored: names no account"
UNINSTALLED_SINCE = "ignored: uninstalled since"
NO_EFFECT = "No effect here: events of this type are only kept."


@dataclass(frozen=True)
class EventType:
    """What to do for events of one type, and in a sentence what doing it again may change.

    The event is marked processed in the transaction of `handle`; of `complete`, where there is one,
    which begins when `handle` is committed and returns what became of it, if that is another thing.
    `may_begin`: after it an install may wait for its token.
    """

    handle: Handler
    effect: str
    complete: Handler | None = None
    may_begin: bool = False


def on_install(event: GoHighLevelWebhook) -> str:
    if not _names_somebody(event):
        return NOBODY
    return note_installed(
        company_id=event.company_id or _agency_of(event.location_id),
        location_id=event.location_id,
        occurred_at=event.occurred_at,
    )


def on_uninstall(event: GoHighLevelWebhook) -> str:
    if not _names_somebody(event):
        return NOBODY
    return note_uninstalled(
        company_id=event.company_id,
        location_id=event.location_id,
        occurred_at=event.occurred_at,
    )


def on_update(event: GoHighLevelWebhook) -> str:
    """The app got a new version or plan there, or the agency a new name. What the app may do now
    shows at the next renewal."""
    return _note(event, "version_id", "plan_id", "company_name")


def on_plan_change(event: GoHighLevelWebhook) -> str:
    return _note(event, "plan_id")


def on_location_created(event: GoHighLevelWebhook) -> str:
    if not (event.location_id and event.company_id):
        return NOBODY
    return note_created(
        company_id=event.company_id, location_id=event.location_id, occurred_at=event.occurred_at
    )


def on_location_updated(event: GoHighLevelWebhook) -> str:
    return _note(event, "name", "user_email")


def _names_somebody(event: GoHighLevelWebhook) -> bool:
    return bool(event.location_id or event.company_id)


def _note(event: GoHighLevelWebhook, *columns: str) -> str:
    """Note what the event tells, without what one that happened later tells better."""
    if not _names_somebody(event):
        return NOBODY
    company_id = hold(company_id=event.company_id, location_id=event.location_id)
    happened_since = _since(event.occurred_at).filter(_about(company_id, event.location_id))
    newest = _newest(happened_since, columns)
    told = _told(event)
    details = {name: told[name] for name in newest if newest[name] == told.get(name)}
    if event.location_id and "company_name" in details:
        details |= _agency_name(company_id)
    return note_details(company_id=company_id, location_id=event.location_id, details=details)


def _complete(event: GoHighLevelWebhook) -> str:
    """Note what other events tell of the account, and end it when it was uninstalled since.

    They may have come before there was an install to note it on, or to end. So the install is
    committed by now: an event that is processed from here on finds it.
    """
    company_id = hold(company_id=event.company_id, location_id=event.location_id)
    details = _newest(_kept_about(company_id, event.location_id))
    names = {column: details.pop(column) for column in NAMES if column in details}
    if event.location_id:
        details |= _agency_name(company_id)
        fill_in(location_id=event.location_id, details=names)
    note_details(company_id=company_id, location_id=event.location_id, details=details)
    return _end_if_uninstalled_since(event, company_id)


def _agency_name(company_id: str) -> dict[str, str]:
    """Return what an agency's own events tell, which its sub-accounts' do not overrule: it is to
    have one name, whatever comes first."""
    return _newest(_kept_about(company_id, ""), ("company_name",)) if company_id else {}


@dataclass(frozen=True)
class Detail:
    """Which fields of a body hold it, which types of events tell it, and how long it may be."""

    fields: tuple[str, ...]
    tellers: tuple[str, ...]
    longest: int


_LOCATIONS = ("LocationCreate", "LocationUpdate")
# The details of an account that HighLevel is asked for too.
NAMES = ("name", "user_email")
DETAILS = {
    "name": Detail(("name",), _LOCATIONS, 200),
    "user_email": Detail(("email",), _LOCATIONS, 254),
    "company_name": Detail(("companyName",), (*INSTALLS, "UPDATE"), 200),
    "user_id": Detail(("userId",), INSTALLS, 64),
    "plan_id": Detail(("newPlanId", "planId"), (*INSTALLS, "UPDATE", "PLAN_CHANGE"), 64),
    "version_id": Detail(("versionId",), (*INSTALLS, "UPDATE"), 64),
}


def _told(event: GoHighLevelWebhook) -> dict[str, str]:
    """Return what the event tells, by the column of an install that holds it."""
    payload = event.payload
    told = {}
    for column, detail in DETAILS.items():
        values = (payload.get(field) for field in detail.fields)
        value = next((value for value in values if isinstance(value, str) and value), "")
        if event.type in detail.tellers and (text := keepable(value)):
            told[column] = text[: detail.longest]
    return told


def keepable(text: str) -> str:
    """Leave out what JSON can spell and no database keeps: zeros, and halves of characters."""
    return text.replace("\x00", "").encode(errors="ignore").decode()


def _newest(events: Events, columns: Collection[str] = DETAILS.keys()) -> dict[str, str]:
    """Return, by column, what the newest of these events that tells it says."""
    types = {kind for column in columns for kind in DETAILS[column].tellers}
    # Of several at the same moment it must not matter which one came first.
    newest_first = events.filter(type__in=types).order_by("-occurred_at", "-webhook_id")
    told: dict[str, str] = {}
    for event in newest_first.only("type", "body").iterator(chunk_size=100):
        told = _told(event) | told
        if told.keys() >= set(columns):
            break
    return {column: told[column] for column in columns if column in told}


def _end_if_uninstalled_since(event: GoHighLevelWebhook, company_id: str) -> str:
    """Apply the newest UNINSTALL, the account's own or its agency's, that is here already and
    happened after this event; return what that means for the event, nothing without any."""
    concerns = _about(company_id, event.location_id)
    if event.location_id and company_id:
        concerns |= _about(company_id, "")
    later = _since(event.occurred_at).filter(concerns, type__in=UNINSTALLS)
    newest = later.order_by("-occurred_at").first()
    if newest is None:
        return ""
    did = note_uninstalled(
        company_id=company_id,
        location_id=event.location_id,
        occurred_at=newest.occurred_at,
        by_agency=not newest.location_id,
    )
    return "" if did.startswith("ignored") else UNINSTALLED_SINCE


def _about(company_id: str, location_id: str) -> Q:
    if location_id:
        return Q(location_id=location_id)
    # The events of its sub-accounts name it, too, and are many: SQLite is to leave them out first.
    return Q(Expected(0.1, company_id=company_id), location_id="")


def _kept_about(company_id: str, location_id: str) -> Events:
    return GoHighLevelWebhook.objects.filter(_about(company_id, location_id))


def _since(moment: datetime) -> Events:
    """Return what happened then or later."""
    # When it came says nothing new, but lets the indexes leave out an account's whole past.
    return GoHighLevelWebhook.objects.filter(
        occurred_at__gte=moment, received_at__gte=moment - MOST_AHEAD
    )


def _agency_of(location_id: str) -> str:
    """Return the agency that an earlier LocationCreate named: the INSTALL of a location that came
    after its agency's install may leave it out."""
    created = GoHighLevelWebhook.objects.filter(location_id=location_id, type="LocationCreate")
    return created.values_list("company_id", flat=True).first() or "" if location_id else ""


INSTALL = EventType(
    on_install,
    "Notes the account as installed and fetches its token, unless it was removed since.",
    _complete,
    may_begin=True,
)
UNINSTALL = EventType(
    on_uninstall,
    "Ends the account's install, unless it was installed again since.",
    may_begin=True,  # what was installed since gets tokens that are newer
)
HANDLERS: dict[str, EventType] = {
    "INSTALL": INSTALL,
    "UNINSTALL": UNINSTALL,
    "UPDATE": EventType(on_update, "Notes the app's version and plan, and its agency's name."),
    "PLAN_CHANGE": EventType(on_plan_change, "Notes the account's plan."),
    "LocationCreate": EventType(
        on_location_created,
        "Fetches a token for the new sub-account, if its agency installs to future ones.",
        _complete,
        may_begin=True,
    ),
    "LocationUpdate": EventType(on_location_updated, "Notes the sub-account's name and contact."),
    # Names that earlier deployments received.
    "app.installed": INSTALL,
    "app.uninstalled": UNINSTALL,
}


def effect_of(kind: str) -> str:
    """Return in a sentence what processing an event of this type once more may change."""
    return HANDLERS[kind].effect if kind in HANDLERS else NO_EFFECT
