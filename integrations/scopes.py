"""What the app asks for now beside what each account allowed when it was installed.

HighLevel adds scopes of its own to some tokens, so an account is behind when one that we ask for
is missing, never because it has more.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db.models import Count, Q
from django.utils import timezone
from django_q.tasks import async_task

from integrations.bulk import guarded, side_by_side
from integrations.health import Status
from integrations.models import COMPANY, LOCATION, GoHighLevelIntegration, IntegrationQuerySet
from integrations.refresh import MINT_FIRST, Outcome, refresh_integration

BATCH = 200
# Those that have tokens, whose scopes are therefore known, and that somebody may reconnect.
_HAVE_TOKENS = (Status.ACTIVE, Status.PAUSED, Status.REFUSED, Status.DAMAGED)


def wanted() -> tuple[str, ...]:
    return tuple(settings.GHL_SCOPES.split())


def missing(granted: str) -> list[str]:
    """Return which of the scopes that the app asks for are not among the granted ones."""
    has = set(granted.split())
    return [scope for scope in wanted() if scope not in has]


@dataclass(frozen=True)
class Progress:
    """How many accounts allow all that the app asks for, of those whose scopes are known."""

    complete: int
    total: int

    @property
    def behind(self) -> int:
        return self.total - self.complete


def known(rows: IntegrationQuerySet) -> IntegrationQuerySet:
    return rows.filter(status__in=_HAVE_TOKENS).exclude(scope="")


def behind(rows: IntegrationQuerySet) -> IntegrationQuerySet:
    """Those of them that lack a scope. Many accounts share few different texts of scopes."""
    texts = known(rows).order_by().values_list("scope", flat=True).distinct()
    lacking = [text for text in texts if missing(text)]
    return known(rows).filter(scope__in=lacking)


def progress(rows: IntegrationQuerySet) -> Progress:
    counted = known(rows).order_by().values_list("scope").annotate(n=Count("pk"))
    total = complete = 0
    for text, n in counted:
        total += n
        complete += 0 if missing(text) else n
    return Progress(complete, total)


# --- What an agency allows, its sub-accounts get with a new token ---


def able_agencies(rows: Sequence[GoHighLevelIntegration]) -> dict[str, GoHighLevelIntegration]:
    """Return, by agency id, the connected agencies of these sub-accounts that allow all: a new
    token from such a one is enough, and nobody has to reconnect."""
    agencies = GoHighLevelIntegration.objects.without_secrets().filter(
        user_type=COMPANY,
        status=Status.ACTIVE,
        resource_id__in={row.company_id for row in rows if not row.is_agency},
    )
    return {agency.resource_id: agency for agency in agencies if not missing(agency.scope)}


def catch_up(agency_pk: str, asked_at: str) -> int:
    """Get new tokens from the agency for its sub-accounts that are behind it; the queue's entry.

    Returns how many were tried. Each is tried once for one asking: HighLevel may give no more.
    """
    agency = GoHighLevelIntegration.objects.without_secrets().filter(pk=agency_pk).first()
    if agency is None or agency.status != Status.ACTIVE or missing(agency.scope):
        return 0
    since = datetime.fromisoformat(asked_at)
    subs = GoHighLevelIntegration.objects.filter(
        user_type=LOCATION, company_id=agency.resource_id, status=Status.ACTIVE
    )
    todo = behind(subs).filter(Q(tried_at=None) | Q(tried_at__lt=since))
    ids = list(todo.order_by("pk").values_list("pk", flat=True)[:BATCH])

    def renew(pk: uuid.UUID) -> Outcome:
        return refresh_integration(pk, trigger=MINT_FIRST, asked_at=since).outcome

    side_by_side(guarded(renew, Outcome.FAILED), ids)
    if len(ids) == BATCH:
        async_task("integrations.scopes.catch_up", agency_pk, asked_at)
    return len(ids)


def ask_to_catch_up(agency: GoHighLevelIntegration) -> None:
    async_task("integrations.scopes.catch_up", str(agency.pk), timezone.now().isoformat())
