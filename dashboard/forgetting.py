"""Erase a client: its installs with all that hangs on them, every event and alert about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db.models import Q

from alerts.models import Delivery, Notice
from integrations import ending
from integrations.cleanup import delete_in_batches
from integrations.deadlocks import atomically
from integrations.health import Status
from integrations.models import (
    COMPANY,
    LOCATION,
    CallBudget,
    Comparison,
    GoHighLevelIntegration,
    IntegrationQuerySet,
    ListedLocation,
)
from integrations.reconcile import missing_here
from operations import hand_out_counts
from webhooks.models import EventRhythm, GoHighLevelWebhook


@dataclass(frozen=True)
class Erased:
    installs: int
    events: int


def events_of(rows: IntegrationQuerySet) -> Any:
    """The events about these installs: a sub-account's own, an agency's that name no other."""
    locations = rows.filter(user_type=LOCATION).values("resource_id")
    agencies = rows.filter(user_type=COMPANY).values("resource_id")
    return GoHighLevelWebhook.objects.filter(
        Q(location_id__in=locations) | Q(location_id="", company_id__in=agencies)
    )


def may_come_back(install: GoHighLevelIntegration) -> bool:
    """Whether the next comparison of its agency may fetch a forgotten sub-account again: nobody
    told HighLevel that it ended, or HighLevel has listed it since."""
    agencies = GoHighLevelIntegration.objects.filter(user_type=COMPANY, status=Status.ACTIVE)
    agency = agencies.without_secrets().filter(resource_id=install.company_id).first()
    if install.is_agency or agency is None:
        return False
    listed = missing_here(*Comparison.objects.filter(agency=agency))
    return (
        install.cause in ("deactivated", "ended_here")
        or listed.filter(resource_id=install.resource_id).exists()
    )


def forget(install: GoHighLevelIntegration, record: Callable[[int], object]) -> Erased:
    """Erase an ended install; an agency's ended sub-accounts with it.

    `record` gets the number of installs, and writes it into the audit trail in the transaction
    that deletes them. Events go first, a few at a time: after a crash it may be done again.
    """
    rows = ending.forgettable(install)
    ids = list(rows.values_list("pk", flat=True))
    accounts = list(rows.values_list("resource_id", flat=True))
    events = delete_in_batches(events_of(rows))

    @atomically
    def erase() -> int:
        told = Notice.objects.filter(incident__integration__in=ids).values("delivery_id")
        Delivery.objects.filter(pk__in=told).update(subject="")
        EventRhythm.objects.filter(account_id__in=accounts).delete()
        # A sub-account also stands in its agency's comparison.
        ListedLocation.objects.filter(resource_id__in=accounts).delete()
        CallBudget.objects.filter(pk__in=accounts).delete()
        hand_out_counts.keep(ids)
        erased = ending.forget(ids)
        record(erased)
        return erased

    return Erased(erase(), events)
