"""Taking back what was just done: offered once, on the next page that the person sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest

from access import people
from access.audit import record
from access.models import User
from access.roles import Permission
from access.sudo import is_confirmed
from alerts import incidents
from alerts.models import Snooze
from dashboard.htmx import HtmxRequest, installs_of
from integrations import ending
from integrations.deadlocks import atomically

_SESSION_KEY = "undo"


@dataclass(frozen=True)
class Offer:
    text: str


@atomically
def _reactivate(request: HtmxRequest, ids: list[str]) -> str:
    rows = installs_of(request).filter(pk__in=ids)
    n = ending.reactivate(rows, caller=request.user.get_username())
    record(request, "install.reactivate", count=n, ids=ids)
    return f"{n} switched on again." if n != 1 else "Switched on again."


@atomically
def _end_snoozes(request: HtmxRequest, moments: list[str]) -> str:
    """Those that this person began at these moments."""
    mine = Snooze.objects.visible_to(request.user).filter(by=request.user.get_username())
    n = incidents.end_snoozes(mine.filter(created_at__in=moments))
    record(request, "alert.unsnooze", count=n)
    return f"Alerts about {n} accounts come again." if n != 1 else "Its alerts come again."


@atomically
def _switch_person_on(request: HtmxRequest, ids: list[str]) -> str:
    # Roles may have changed since; and whoever comes back later has to confirm who they are.
    if not request.user.has_perm(Permission.PEOPLE) or not is_confirmed(request):
        return "That was a while ago. Switch them on again in the list of people."
    person = User.objects.filter(pk=ids[0]).first()
    if person is None:
        return "Somebody has deleted that person meanwhile."
    people.reactivate(person)
    record(request, "person.reactivate", target=person)
    return f"{person} can sign in again."


UNDO: dict[str, Callable[[HtmxRequest, list[str]], str]] = {
    "deactivate": _reactivate,
    "snooze": _end_snoozes,
    "person": _switch_person_on,
}


def offer_undo(request: HttpRequest, text: str, action: str, ids: list[str]) -> None:
    """Say what was done, with a button that takes it back. `action`: a key of UNDO; `ids`: what
    its function needs to know of what was done."""
    request.session[_SESSION_KEY] = {"text": text, "action": action, "ids": ids, "shown": False}


def shown_offer(request: HttpRequest) -> Offer | None:
    """The offer for the page that is being drawn; the page after it has none."""
    if not hasattr(request, "session") or _SESSION_KEY not in request.session:
        return None
    offer = request.session[_SESSION_KEY]
    if offer["shown"]:
        return None
    offer["shown"] = True
    request.session.modified = True
    return Offer(offer["text"])


def take_back(request: HtmxRequest) -> str | None:
    """Undo what was offered last; None when there is nothing."""
    offer: dict[str, Any] | None = request.session.pop(_SESSION_KEY, None)
    return UNDO[offer["action"]](request, offer["ids"]) if offer else None
