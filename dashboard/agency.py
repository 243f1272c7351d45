"""What the pages of agencies show: how their sub-accounts are, and both lists beside each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Max, Q
from django.http import Http404

from access.models import User
from dashboard.htmx import HtmxRequest, installs_of
from dashboard.summary import Summary, summarise
from integrations import reconcile, snapshots
from integrations.models import (
    COMPANY,
    LOCATION,
    Comparison,
    GoHighLevelIntegration,
    IntegrationQuerySet,
)

# Of each column of a comparison; what is left is told as a number.
MOST_SHOWN = 200
# More agencies than anybody ticks one by one. A key for others is limited to accounts, or made by
# the command; people are limited to others by their ids.
MOST_CHOICES = 300


@dataclass(frozen=True)
class Agency:
    """One agency, whether or not it is connected itself. `install` is its own row."""

    company_id: str
    name: str
    install: GoHighLevelIntegration | None


@dataclass(frozen=True)
class Compared:
    """An agency's comparisons: `done` is the newest finished one, `latest` may be running."""

    agency: GoHighLevelIntegration
    done: Comparison | None
    latest: Comparison | None
    columns: reconcile.Columns | None

    @property
    def is_running(self) -> bool:
        return self.latest is not None and self.latest.is_running

    @property
    def failed(self) -> Comparison | None:
        """The last try, if it came to nothing."""
        latest = self.latest
        return latest if latest is not None and not latest.is_running and latest.cause else None

    @property
    def differs(self) -> bool:
        columns = self.columns
        return columns is not None and bool(columns.missing_here or columns.missing_there)


def rows_of(request: HtmxRequest, company_id: str) -> IntegrationQuerySet:
    """The agency and its sub-accounts, as far as this person may see them."""
    mine = Q(company_id=company_id) | Q(user_type=COMPANY, resource_id=company_id)
    return installs_of(request).filter(mine)


def get_agency(request: HtmxRequest, company_id: str) -> Agency:
    """Errors: Http404 when no account of it is known, or none that this person may see."""
    rows = rows_of(request, company_id)
    install = rows.filter(user_type=COMPANY, resource_id=company_id).first()
    any_one = install or rows.order_by("name").first()
    if any_one is None:
        raise Http404
    name = (install.name if install else any_one.company_name) or company_id
    return Agency(company_id, name, install)


def get_connected(request: HtmxRequest, company_id: str) -> GoHighLevelIntegration:
    """The agency's own install. Errors: Http404 when it has none, or not for this person."""
    agency = get_agency(request, company_id)
    if agency.install is None:
        raise Http404
    return agency.install


def agencies_of(user: User) -> IntegrationQuerySet:
    rows = GoHighLevelIntegration.objects.visible_to(user).without_secrets()
    return rows.filter(user_type=COMPANY).order_by("name", "pk")


def unconnected(user: User, now: datetime) -> list[Agency] | None:
    """Those that only their sub-accounts tell of, by name. None: there are so many accounts that
    nobody looks for them (snapshots.LIVE_UP_TO)."""
    if sum(snapshots.counts(user, now).values()) > snapshots.LIVE_UP_TO:
        return None
    connected = GoHighLevelIntegration.objects.filter(user_type=COMPANY).values("resource_id")
    rows = GoHighLevelIntegration.objects.visible_to(user).filter(user_type=LOCATION)
    rows = rows.exclude(company_id="").exclude(company_id__in=connected).order_by()
    names = rows.values("company_id").annotate(name=Max("company_name"))
    found = names.order_by("name", "company_id").values_list("company_id", "name")
    return [Agency(company_id, name or company_id, None) for company_id, name in found]


def health(user: User, ids: Sequence[str], now: datetime) -> list[Summary]:
    """How the accounts of each of these agencies are, its own among them; one query."""
    rows = GoHighLevelIntegration.objects.visible_to(user).filter(company_id__in=ids)
    counts = snapshots.count_by_agency(rows, now)
    return [summarise(counts.get(company_id, {})) for company_id in ids]


def compared(agencies: Sequence[GoHighLevelIntegration]) -> list[Compared]:
    """Five queries, however many agencies these are."""
    done, latest = reconcile.newest(agencies), reconcile.latest_tries(agencies)
    counted = reconcile.count(list(done.values()))
    return [
        Compared(
            agency,
            done.get(agency.pk),
            latest.get(agency.pk),
            counted[done[agency.pk].pk] if agency.pk in done else None,
        )
        for agency in agencies
    ]


def side_by_side(one: Compared) -> dict[str, Any]:
    """The rows of the two columns in which something is missing."""
    if one.done is None:
        return {"missing_here": [], "missing_there": []}
    here = reconcile.missing_here(one.done).order_by("name", "pk")[:MOST_SHOWN]
    there = reconcile.missing_there(one.done).order_by("name", "pk")[:MOST_SHOWN]
    return {"missing_here": list(here), "missing_there": list(there)}


def agency_choices(person: User, chosen: Iterable[str]) -> list[tuple[str, str]]:
    """What the person can tick in a form: the installed agencies that they may see, their own, and
    those chosen before, whose own install may be missing or have ended."""
    rows = GoHighLevelIntegration.objects.visible_to(person).filter(user_type=COMPANY)
    known = dict(rows.order_by("name").values_list("resource_id", "name")[:MOST_CHOICES])
    known |= {agency: known.get(agency, "") for agency in [*person.agencies, *chosen]}
    return [(agency, f"{name} ({agency})" if name else agency) for agency, name in known.items()]
