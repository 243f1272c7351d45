"""What events mean: one idempotent function for each type. Add one here and in HANDLERS.

A handler gets the stored event, changes the database and returns in a few words what it did. It
runs in the transaction that marks the event processed, so it must not call anybody outside.
"""

from __future__ import annotations

from collections.abc import Callable

from django.db.models import Q

from integrations.install import note_installed, note_uninstalled
from webhooks.models import MOST_AHEAD, GoHighLevelWebhook

Handler = Callable[[GoHighLevelWebhook], str]


def on_install(event: GoHighLevelWebhook) -> str:
    if _uninstalled_since(event):
        return "ignored: uninstalled since"
    payload = event.payload
    told = {
        "company_name": payload.get("companyName"),
        "user_id": payload.get("userId"),
        "plan_id": payload.get("planId"),
        "version_id": payload.get("versionId"),
    }
    return note_installed(
        company_id=event.company_id or _agency_of(event.location_id),
        location_id=event.location_id,
        occurred_at=event.occurred_at,
        details={name: value for name, value in told.items() if isinstance(value, str)},
    )


def on_uninstall(event: GoHighLevelWebhook) -> str:
    if not (event.location_id or event.company_id):
        return "ignored: names no account"
    return note_uninstalled(
        company_id=event.company_id,
        location_id=event.location_id,
        occurred_at=event.occurred_at,
    )


def _agency_of(location_id: str) -> str:
    """Return the agency that an earlier LocationCreate named: the INSTALL of a location that came
    after its agency's install may leave it out."""
    created = GoHighLevelWebhook.objects.filter(location_id=location_id, type="LocationCreate")
    return created.values_list("company_id", flat=True).first() or "" if location_id else ""


def _uninstalled_since(event: GoHighLevelWebhook) -> bool:
    """Whether an UNINSTALL that happened after this INSTALL is here already: HighLevel promises no
    order, and the account may have been unknown when it came."""
    itself = Q(location_id=event.location_id) & ~Q(location_id="")
    agency = Q(location_id="", company_id=event.company_id) & ~Q(company_id="")
    return GoHighLevelWebhook.objects.filter(
        itself | agency,
        type__in=UNINSTALLS,
        occurred_at__gt=event.occurred_at,
        # Says nothing new, but lets the indexes leave out an account's whole past.
        received_at__gt=event.occurred_at - MOST_AHEAD,
    ).exists()


UNINSTALLS = ("UNINSTALL", "app.uninstalled")
HANDLERS: dict[str, Handler] = {
    "INSTALL": on_install,
    "UNINSTALL": on_uninstall,
    # Names that earlier deployments received.
    "app.installed": on_install,
    "app.uninstalled": on_uninstall,
}
