"""HighLevel's list of installed sub-accounts beside ours: events are no full record, so both are
compared each night, by click, and by command.

HighLevel's list is read page by page into rows of our own, by the worker. What is missing on
which side is then a question to the database, answered as of now: what was installed or removed
after the reading began is left out.
"""

from __future__ import annotations

import logging
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Count, Exists, F, OuterRef, Q, Subquery
from django.utils import timezone
from django_q.models import Schedule
from django_q.tasks import async_task, schedule

from integrations import listing, pacing
from integrations.bulk import batches, deadline
from integrations.crypto import DecryptError
from integrations.ending import end
from integrations.health import Status
from integrations.highlevel import (
    HighLevelError,
    InstalledLocation,
    InstalledPage,
    NotSent,
    RateLimited,
    Unknown,
)
from integrations.install import note_listed
from integrations.models import (
    COMPANY,
    LOCATION,
    Comparison,
    GoHighLevelIntegration,
    IntegrationQuerySet,
    ListedLocation,
)

logger = logging.getLogger(__name__)

# After this long a task hands the rest to the next one: the queue has other work too.
BUDGET_S = 25
# Longer than the budget and one call: a task that died is followed by another.
TURN = timedelta(minutes=2)
MOST_TRIES = 5
# When so many could not be found out, HighLevel is the cause, not they.
MOST_FAILED = 3
# A sweep rings for so many at most.
BATCH = 500
_SECRETS = ("agency__access_token_encrypted", "agency__refresh_token_encrypted")

# --- The comparison ---


def begin(agency: GoHighLevelIntegration, *, caller: str, fetches: bool = False) -> Comparison:
    """Have the worker read the agency's list; return the comparison, which may be one that is
    being made already. `fetches`: get the tokens that are missing here, too."""
    now = timezone.now()
    with transaction.atomic():
        # Two clicks at once: the second waits here, and finds the first one's.
        GoHighLevelIntegration.objects.select_for_update().without_secrets().get(pk=agency.pk)
        running = Comparison.objects.filter(agency=agency, ended_at=None).first()
        if running is not None:
            return running
        comparison = Comparison.objects.create(
            agency=agency, caller=caller, fetches=fetches, begun_at=now, continue_at=now
        )
        async_task("integrations.reconcile.go_on", str(comparison.pk))
    return comparison


def begin_all(agencies: IntegrationQuerySet, *, caller: str, fetches: bool = False) -> int:
    """Have the lists of all these agencies read that have a connection; return how many."""
    connected = agencies.filter(user_type=COMPANY, status=Status.ACTIVE)
    ids = list(connected.values_list("pk", flat=True))
    for pk in ids:
        begin(GoHighLevelIntegration(pk=pk), caller=caller, fetches=fetches)
    return len(ids)


def nightly() -> int:
    """The schedule's comparison of all agencies; tokens that are missing here are fetched."""
    return begin_all(GoHighLevelIntegration.objects.all(), caller="schedule", fetches=True)


def sweep() -> int:
    """Go on with those whose worker died, or whose next try has come; return how many."""
    due = Comparison.objects.filter(continue_at__lte=timezone.now())
    ids = list(due.order_by("continue_at").values_list("pk", flat=True)[:BATCH])
    for pk in ids:
        async_task("integrations.reconcile.go_on", str(pk))
    return len(ids)


def go_on(pk: str) -> str:
    """Read on, for at most BUDGET_S; the queue's entry. Returns how it stands."""
    comparison = _take_turn(uuid.UUID(pk))
    if comparison is None:
        return "nothing to do"
    read(comparison, must_stop=deadline(BUDGET_S))
    if comparison.is_running and not comparison.tries:
        async_task("integrations.reconcile.go_on", pk)
    return "running" if comparison.is_running else comparison.cause or "done"


def read(comparison: Comparison, *, must_stop: Callable[[], bool] = lambda: False) -> None:
    """Read the list from where the reading stopped until its end, or until `must_stop` says so.

    A fault that may pass leaves it to be tried again; another one ends it with its cause.
    """
    try:
        for page in listing.pages(comparison.agency, skip=comparison.position):
            _keep(comparison, page)
            if must_stop():
                _save(comparison, continue_at=timezone.now(), tries=0)
                return
    except DecryptError:
        _end(comparison, "token_damaged")
    except (NotSent, Unknown, RateLimited) as error:
        _try_later(comparison, error)
    except HighLevelError as error:
        _end(comparison, error.cause)
    else:
        _end(comparison, "")
        if comparison.fetches:
            fetch(comparison)


def give_up(comparison: Comparison) -> None:
    """End one that cannot be finished now; its cause stays."""
    _end(comparison, comparison.cause or "no_answer")


def _take_turn(pk: uuid.UUID) -> Comparison | None:
    now = timezone.now()
    due = Comparison.objects.filter(pk=pk, continue_at__lte=now)
    if not due.update(continue_at=now + TURN):
        return None
    return Comparison.objects.select_related("agency").get(pk=pk)


def _keep(comparison: Comparison, page: InstalledPage) -> None:
    rows = [
        ListedLocation(
            comparison=comparison,
            resource_id=one.location_id,
            name=one.name,
            version_id=one.version_id,
            installed_at=one.installed_at,
        )
        for one in page.locations
    ]
    with transaction.atomic():
        ListedLocation.objects.bulk_create(rows, ignore_conflicts=True)
        _save(comparison, position=comparison.position + len(rows), tries=0)
        if page.install_to_future_locations is not None:
            GoHighLevelIntegration.objects.filter(pk=comparison.agency_id).update(
                install_to_future_locations=page.install_to_future_locations
            )


def _try_later(comparison: Comparison, error: HighLevelError) -> None:
    tries = comparison.tries + 1
    if tries >= MOST_TRIES:
        _end(comparison, error.cause)
        return
    now = timezone.now()
    _save(
        comparison,
        tries=tries,
        cause=error.cause,
        continue_at=pacing.next_try(now, None, tries, asked_for_s=error.retry_after_s or 0),
    )


def _end(comparison: Comparison, cause: str) -> None:
    with transaction.atomic():
        _save(comparison, ended_at=timezone.now(), continue_at=None, cause=cause)
        older = Comparison.objects.filter(agency_id=comparison.agency_id).exclude(pk=comparison.pk)
        if cause:  # what was found out before still tells something
            older = older.exclude(cause="")
        ListedLocation.objects.filter(comparison__in=older).delete()
        older.delete()


def _save(comparison: Comparison, **columns: Any) -> None:
    for name, value in columns.items():
        setattr(comparison, name, value)
    comparison.save(update_fields=list(columns))


# --- What it shows ---


@dataclass(frozen=True)
class Columns:
    """How many sub-accounts of an agency are missing here, missing there, and the same."""

    missing_here: int
    missing_there: int
    same: int


def newest(agencies: Sequence[GoHighLevelIntegration]) -> dict[uuid.UUID, Comparison]:
    """The newest comparison of each agency that came to its end, by the agency's primary key."""
    ended = Comparison.objects.filter(agency__in=agencies, cause="").exclude(ended_at=None)
    rows = ended.select_related("agency").order_by("begun_at")
    return {row.agency_id: row for row in rows.defer(*_SECRETS)}


def latest_tries(agencies: Sequence[GoHighLevelIntegration]) -> dict[uuid.UUID, Comparison]:
    """The newest comparison of each, even if it is running or failed."""
    rows = Comparison.objects.filter(agency__in=agencies).order_by("begun_at")
    return {row.agency_id: row for row in rows}


def missing_here(*comparisons: Comparison) -> Any:
    """What HighLevel lists and we do not have, or ended before the reading began."""
    ours = GoHighLevelIntegration.objects.filter(
        user_type=LOCATION, resource_id=OuterRef("resource_id")
    ).filter(~Q(status=Status.UNINSTALLED) | Q(cause_since__gt=OuterRef("comparison__begun_at")))
    return ListedLocation.objects.filter(~Exists(ours), comparison__in=comparisons)


def missing_there(*comparisons: Comparison) -> IntegrationQuerySet:
    """What we have and HighLevel does not list, unless it was installed after the reading began."""
    mine = Comparison.objects.filter(
        pk__in=[one.pk for one in comparisons], agency__resource_id=OuterRef("company_id")
    )
    listed = ListedLocation.objects.filter(
        comparison__in=comparisons,
        comparison__agency__resource_id=OuterRef("company_id"),
        resource_id=OuterRef("resource_id"),
    )
    return (
        _ours(comparisons)
        .annotate(begun_at=Subquery(mine.values("begun_at")[:1]))
        .filter(~Exists(listed), Q(installed_at=None) | Q(installed_at__lte=F("begun_at")))
    )


def count(comparisons: Sequence[Comparison]) -> dict[uuid.UUID, Columns]:
    """The three numbers of each comparison, by its primary key; three queries."""
    here = _counted(missing_here(*comparisons), "comparison_id")
    there = _counted(missing_there(*comparisons), "company_id")
    ours = _counted(_ours(comparisons), "company_id")
    counted = {}
    for one in comparisons:
        company_id = one.agency.resource_id
        n = there.get(company_id, 0)
        counted[one.pk] = Columns(here.get(one.pk, 0), n, ours.get(company_id, 0) - n)
    return counted


def _ours(comparisons: Sequence[Comparison]) -> IntegrationQuerySet:
    rows = GoHighLevelIntegration.objects.exclude(status=Status.UNINSTALLED).without_secrets()
    ids = [one.agency.resource_id for one in comparisons]
    return rows.filter(user_type=LOCATION, company_id__in=ids)


def _counted(rows: Any, by: str) -> dict[Any, int]:
    return dict(rows.order_by().values_list(by).annotate(n=Count("pk")))


# --- What is done about it ---


def fetch(
    comparison: Comparison, ids: Iterable[str] | None = None, *, ended_too: bool = False
) -> int:
    """Have the tokens of these fetched that are missing here (None: all); return how many wait.

    `ended_too`: begin again what was ended here on purpose, too; for that somebody has to ask.
    """
    chosen = missing_here(comparison).order_by("pk")
    if ids is not None:
        chosen = chosen.filter(resource_id__in=list(ids))
    found = 0
    for batch in batches(chosen.iterator()):
        locations = [
            InstalledLocation(one.resource_id, one.name, one.version_id, one.installed_at)
            for one in batch
        ]
        found += note_listed(comparison.agency, locations, comparison.begun_at, ended_too=ended_too)
    if found:
        async_task("integrations.tasks.tick")
    return found


def ask_to_fetch(comparison: Comparison) -> int:
    """Have the worker fetch all that are missing here, which may be thousands; return how many."""
    found: int = missing_here(comparison).count()
    if found:
        async_task("integrations.reconcile.fetch_all", str(comparison.pk))
    return found


def fetch_all(comparison_pk: str) -> int:
    """The queue's entry."""
    comparison = Comparison.objects.select_related("agency").filter(pk=comparison_pk).first()
    if comparison is None:
        return 0
    return fetch(comparison, ended_too=True)


def end_missing(comparison: Comparison, ids: Iterable[uuid.UUID], *, caller: str) -> int:
    """Have the worker mark these as uninstalled that are missing there; return how many."""
    chosen = missing_there(comparison).filter(pk__in=list(ids)).order_by("pk")
    pks = [str(pk) for pk in chosen.values_list("pk", flat=True)]
    if pks:
        async_task("integrations.reconcile.end_unlisted", str(comparison.pk), pks, caller)
    return len(pks)


def end_unlisted(comparison_pk: str, pks: list[str], caller: str, tries: int = 0) -> int:
    """End these if HighLevel, asked about each once more, still does not list it; return how many
    ended. The queue's entry.

    `tries`: how often in a row nothing could be found out about any of them. One that HighLevel
    does not tell of goes behind the others; what is left at last stays as it is, and among those
    that are missing there.
    """
    comparison = Comparison.objects.select_related("agency").filter(pk=comparison_pk).first()
    if comparison is None:
        return 0
    must_stop = deadline(BUDGET_S)
    left: deque[str] = deque(pks)
    failed: list[str] = []
    error: HighLevelError | DecryptError | None = None
    asked = ended = 0
    while left and not must_stop() and len(failed) < MOST_FAILED:
        pk = left.popleft()
        row = missing_there(comparison).filter(pk=pk).first()
        if row is None:
            continue
        try:
            ended += end_if_unlisted(comparison.agency, row, caller=caller)
            asked += 1
        except (HighLevelError, DecryptError) as fault:
            failed.append(pk)
            error = fault
    rest = [*left, *failed]
    if error is not None:
        _end_later(comparison, rest, caller, 1 if asked else tries + 1, error)
    elif rest:
        async_task("integrations.reconcile.end_unlisted", comparison_pk, rest, caller)
    return ended


def _end_later(
    comparison: Comparison,
    pks: list[str],
    caller: str,
    tries: int,
    error: HighLevelError | DecryptError,
) -> None:
    if tries >= MOST_TRIES:
        logger.warning(
            "Not found out whether %d sub-accounts of %s are gone: %s",
            len(pks),
            comparison.agency_id,
            type(error).__name__,
        )
        return
    asked_for_s = error.retry_after_s if isinstance(error, HighLevelError) else None
    schedule(
        "integrations.reconcile.end_unlisted",
        str(comparison.pk),
        pks,
        caller,
        tries,
        schedule_type=Schedule.ONCE,
        next_run=pacing.next_try(timezone.now(), None, tries, asked_for_s=asked_for_s or 0),
    )


def end_if_unlisted(
    agency: GoHighLevelIntegration, row: GoHighLevelIntegration, *, caller: str
) -> int:
    """Ask HighLevel about one sub-account, and end its install if it is not there; 1 or 0.

    Errors: HighLevelError, DecryptError.
    """
    asked_at = timezone.now()
    if listing.find(agency, row.resource_id) is not None:
        return 0
    rows = GoHighLevelIntegration.objects.filter(pk=row.pk, installed_at__lte=asked_at)
    return end(
        rows.exclude(status=Status.UNINSTALLED),
        Status.UNINSTALLED,
        "not_listed",
        since=asked_at,
        trigger="staff",
        caller=caller,
    )
