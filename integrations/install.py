"""How installs begin: by a code that was exchanged, by events, by an agency's list.

Whichever of them comes first, the end is the same (docs/installs.md): each is told when it
happened at HighLevel, and what is older than the row's last beginning or end changes nothing.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone
from django_q.tasks import async_task

from integrations import listing, outage, scopes
from integrations.crypto import DecryptError
from integrations.health import OFF, Status
from integrations.highlevel import (
    HighLevel,
    HighLevelError,
    InstalledLocation,
    NotSent,
    RateLimited,
    TokenSet,
    Unknown,
    Unreadable,
)
from integrations.journal import UNKNOWN, Condition, conditions, note_change
from integrations.models import (
    COMPANY,
    LOCATION,
    UNFINISHED,
    GoHighLevelIntegration,
)
from integrations.refresh import call_with_token
from integrations.storing import token_columns

logger = logging.getLogger(__name__)

FINISH_AGAIN_AFTER = timedelta(minutes=5)
# People sign in within minutes, and a bulk install of thousands is through in less than this.
WAIT_AT_MOST = timedelta(minutes=30)
# Why an install waits that only a sign-in, its own or its agency's, helps.
NOT_YET = ("waiting_for_agency", "waiting_for_sign_in")
AGENCY_CANNOT_HELP = ("agency_not_usable", "mint_refused")


def missing_settings() -> list[str]:
    """Return the names of the settings without which nobody can install the app."""
    needed = ("GHL_CLIENT_ID", "GHL_CLIENT_SECRET", "GHL_REDIRECT_URI")
    return [name for name in needed if not getattr(settings, name)]


def install_from_code(code: str) -> GoHighLevelIntegration:
    """Exchange an authorization code and store the install that it stands for.

    What was installed is decided by the answer, never by what was asked for.
    Errors: those of HighLevel.exchange_code; then nothing is stored.
    """
    client = HighLevel.from_settings()
    asked_at = timezone.now()
    tokens = client.exchange_code(code, redirect_uri=settings.GHL_REDIRECT_URI)
    row = store_install(tokens, client_id=client.client_id, asked_at=asked_at)
    outage.end(begun_at=asked_at)
    return row


def store_install(
    tokens: TokenSet, *, client_id: str, asked_at: datetime
) -> GoHighLevelIntegration:
    """Create the install, or put a reinstall's tokens over the old ones; its UUID stays.

    Errors: Unreadable when the answer does not say which account it is for.
    """
    user_type = LOCATION if tokens.user_type == LOCATION else COMPANY
    resource_id = tokens.location_id if user_type == LOCATION else tokens.company_id
    if not resource_id:
        raise Unreadable("the answer does not name the account")
    with transaction.atomic():
        row, created = GoHighLevelIntegration.objects.select_for_update().get_or_create(
            user_type=user_type, resource_id=resource_id, defaults={"status": Status.WAITING}
        )
        before = UNKNOWN if created else Condition(row.status, row.cause)
        columns = token_columns(row, tokens, client_id=client_id, sent_at=asked_at)
        GoHighLevelIntegration.objects.filter(pk=row.pk).update(
            **columns,
            # Not when the answer came: an UNINSTALL that happened in between is of this install.
            installed_at=max(asked_at, row.installed_at or asked_at),
            finish_at=columns["renewed_at"],
            is_bulk_installation=tokens.is_bulk_installation,
        )
        note_change({row.pk: before}, status=Status.ACTIVE, trigger="install")
        row.refresh_from_db()
        async_task("integrations.tasks.finish_install", str(row.pk))
    return row


def finish_install(pk: uuid.UUID) -> int:
    """After the tokens: fetch names, and take in an agency's sub-accounts. Safe to run twice.

    Returns how many sub-accounts were found waiting for their token. A name that cannot be had is
    not a failed install. When HighLevel is not there, or no key opens the token before its renewal,
    the tick comes back to it.
    """
    now = timezone.now()
    rows = GoHighLevelIntegration.objects.filter(pk=pk)
    if not rows.filter(finish_at__lte=now).update(finish_at=now + FINISH_AGAIN_AFTER):
        return 0
    row = rows.get()
    client = HighLevel.from_settings()
    found, again = 0, False
    try:
        _fetch_names(client, row)
    except (HighLevelError, DecryptError) as error:
        again = _may_pass(error)
        logger.warning("No name for install %s: %s %s", pk, type(error).__name__, error)
    try:
        found = adopt_locations(row) if row.is_agency else 0
    except (HighLevelError, DecryptError) as error:
        again = again or _may_pass(error)
        logger.warning("No list of sub-accounts of %s: %s %s", pk, type(error).__name__, error)
    if not again:
        rows.update(finish_at=None)
    return found


def unfinished(limit: int) -> list[uuid.UUID]:
    """Return which installs are to be finished (again), the longest waiting first."""
    due = GoHighLevelIntegration.objects.filter(
        finish_at__lte=timezone.now(), status=Status.ACTIVE
    ).order_by("finish_at")
    return list(due.values_list("pk", flat=True)[:limit])


def adopt_locations(agency: GoHighLevelIntegration) -> int:
    """Note every location of the agency that has the app and is not connected here as waiting.

    The tick then mints each one's token. Returns how many there are.
    Errors: HighLevelError, DecryptError.
    """
    found = 0
    asked_at = timezone.now()
    for page in listing.pages(agency):
        if page.install_to_future_locations is not None:
            GoHighLevelIntegration.objects.filter(pk=agency.pk).update(
                install_to_future_locations=page.install_to_future_locations
            )
        found += note_listed(agency, page.locations, asked_at)
    # Also those that an INSTALL event announced before the agency's own sign-in arrived, and those
    # that were refused while the agency could not help.
    GoHighLevelIntegration.objects.wake_sub_accounts(agency.resource_id, timezone.now())
    async_task("integrations.tasks.tick")
    # What the agency may do now, its sub-accounts may only do with tokens that are newer.
    scopes.ask_to_catch_up(agency)
    return found


def note_listed(
    agency: GoHighLevelIntegration,
    locations: Sequence[InstalledLocation],
    asked_at: datetime,
    *,
    ended_too: bool = False,
) -> int:
    """Take in what HighLevel listed at `asked_at`; return how many of it now wait for a token.

    One that ended here begins again if it was installed since, or in any case with `ended_too`.
    """
    by_id = {location.location_id: location for location in locations}
    rows = GoHighLevelIntegration.objects.filter(user_type=LOCATION, resource_id__in=by_id)
    known = {row.resource_id: row for row in rows.without_secrets()}
    new = [
        _waiting_row(agency, location, asked_at)
        for location in locations
        if location.location_id not in known
    ]
    with transaction.atomic():
        GoHighLevelIntegration.objects.bulk_create(new, ignore_conflicts=True)
        added = GoHighLevelIntegration.objects.filter(pk__in=[row.pk for row in new])
        note_change(
            dict.fromkeys(conditions(added), UNKNOWN),
            status=Status.WAITING,
            cause="waiting_for_agency",
            trigger="agency",
        )
    # An INSTALL event need not name the agency.
    rows.filter(company_id="").update(company_id=agency.resource_id)
    again = 0
    for row in known.values():
        installed_at = by_id[row.resource_id].installed_at or asked_at
        if row.status == Status.UNINSTALLED:
            if ended_too or _is_newer_than_end(row, installed_at):
                again += begin_again(row, installed_at, trigger="agency")
        elif row.installed_at is None or row.installed_at < installed_at <= asked_at:
            rows.filter(pk=row.pk).update(installed_at=installed_at)
    return len(new) + again


def _waiting_row(
    agency: GoHighLevelIntegration, location: InstalledLocation, asked_at: datetime
) -> GoHighLevelIntegration:
    return GoHighLevelIntegration(
        user_type=LOCATION,
        resource_id=location.location_id,
        company_id=agency.resource_id,
        company_name=agency.name,
        name=location.name,
        version_id=location.version_id,
        status=Status.WAITING,
        cause="waiting_for_agency",
        cause_since=asked_at,
        installed_at=location.installed_at or asked_at,
        renew_at=asked_at,
    )


def _may_pass(error: HighLevelError | DecryptError) -> bool:
    return isinstance(error, NotSent | Unknown | RateLimited | DecryptError)


def ring_if_waiting() -> None:
    """Ask the worker for the tokens that are due for installs that wait for one. Once for many
    events: a bulk install brings thousands, and as many ticks would hold up all other tasks."""
    due = GoHighLevelIntegration.objects.filter(status=Status.WAITING, renew_at__lte=timezone.now())
    if due.exists():
        async_task("integrations.tasks.tick")


def note_installed(*, company_id: str, location_id: str, occurred_at: datetime) -> str:
    """Apply an INSTALL event; return what it did, in words.

    A sub-account that has no token yet waits: for its own callback, or for its agency's token, for
    which `ring_if_waiting` asks. An agency waits for its own callback, which alone brings one.
    """
    user_type = LOCATION if location_id else COMPANY
    with transaction.atomic():
        row, created = GoHighLevelIntegration.objects.select_for_update().get_or_create(
            user_type=user_type,
            resource_id=location_id or company_id,
            defaults={
                "status": Status.WAITING,
                "cause": waits_for(user_type),
                "cause_since": timezone.now(),
                "installed_at": occurred_at,
                "renew_at": timezone.now() if user_type == LOCATION else None,
                "company_id": company_id,
                "company_name": _name_of_agency(company_id),
            },
        )
        if created:
            note_change({row.pk: UNKNOWN}, status=row.status, cause=row.cause, trigger="event")
            return "waiting for its token"
        same = GoHighLevelIntegration.objects.filter(pk=row.pk)
        if company_id:
            same.update(company_id=company_id)
        if row.status in OFF and _is_newer_than_end(row, occurred_at):
            begin_again(row, occurred_at, trigger="event")
            return "installed again, waiting for its token"
        # A reinstall whose UNINSTALL is still on its way: that one must find a newer install.
        if row.installed_at is None or row.installed_at < occurred_at:
            same.update(installed_at=occurred_at)
    return "already known"


def note_created(*, company_id: str, location_id: str, occurred_at: datetime) -> str:
    """Apply a LocationCreate event; return what it did, in words.

    The agency's choice "install to future sub-accounts" makes it an install that waits for its
    token; otherwise an INSTALL event will say so, and only who it belongs to is of use.
    """
    rows = GoHighLevelIntegration.objects.filter(user_type=LOCATION, resource_id=location_id)
    rows.filter(company_id="").update(company_id=company_id, renew_at=timezone.now())
    agency = (
        GoHighLevelIntegration.objects.filter(user_type=COMPANY, resource_id=company_id)
        .without_secrets()
        .exclude(status__in=OFF)
        .first()
    )
    if agency is None:
        return "noted: its agency is not connected here"
    if not agency.install_to_future_locations:
        return "noted: its agency does not install to future sub-accounts"
    if agency.installed_at is not None and occurred_at < agency.installed_at:
        return "noted: it is older than its agency's install"
    return note_installed(company_id=company_id, location_id=location_id, occurred_at=occurred_at)


def of_agency(company_id: str) -> Q:
    """The agency itself and its sub-accounts."""
    return Q(company_id=company_id) | Q(user_type=COMPANY, resource_id=company_id)


def of_account(company_id: str, location_id: str) -> Q:
    """The sub-account, or the agency with its sub-accounts."""
    if location_id:
        return Q(user_type=LOCATION, resource_id=location_id)
    return of_agency(company_id)


def hold(*, company_id: str, location_id: str) -> str:
    """Keep others from changing what is known of the account until the transaction ends. Return
    its agency's id, which not every event names."""
    rows = GoHighLevelIntegration.objects.filter(of_account(company_id, location_id))
    agencies = list(rows.order_by("pk").select_for_update().values_list("company_id", flat=True))
    return company_id or next(iter(agencies), "")


def fill_in(*, location_id: str, details: dict[str, str]) -> None:
    """Put these into a sub-account's row where there is nothing: what is there was asked of
    HighLevel, or told by a newer event."""
    rows = GoHighLevelIntegration.objects.filter(user_type=LOCATION, resource_id=location_id)
    for column, value in details.items():
        rows.filter(**{column: ""}).update(**{column: value})


def note_details(*, company_id: str, location_id: str, details: dict[str, str]) -> str:
    """Put what an event tells about an account into its row; return what that did, in words."""
    known = dict(details)
    rows = GoHighLevelIntegration.objects.filter(
        user_type=LOCATION if location_id else COMPANY, resource_id=location_id or company_id
    )
    if not known:
        return "ignored: it tells nothing new"
    if not location_id and "company_name" in known:
        known["name"] = known["company_name"]
        _note_agency_name(company_id, known["name"])
    return "noted" if rows.update(**known) else "not connected here"


def begin_again(row: GoHighLevelIntegration, installed_at: datetime, *, trigger: str) -> int:
    """Let an install whose tokens are void wait for new ones; returns 1, or 0 if it has changed
    since the row was read."""
    now = timezone.now()
    cause = waits_for(row.user_type)
    same = GoHighLevelIntegration.objects.filter(pk=row.pk, generation=row.generation)
    with transaction.atomic():
        begun = same.update(
            status=Status.WAITING,
            cause=cause,
            cause_since=now,
            installed_at=installed_at,
            renew_at=None if row.is_agency else now,
            failures=0,
            # What belonged to the ended install is of no use any more.
            access_token_encrypted=b"",
            refresh_token_encrypted=b"",
            expires_at=None,
            sent_at=None,
            requested_at=None,
            lease_id=None,
            lease_until=None,
            generation=F("generation") + 1,
        )
        if begun:
            note_change(
                {row.pk: Condition(row.status, row.cause)},
                status=Status.WAITING,
                cause=cause,
                trigger=trigger,
            )
    return begun


def give_up_waiting(now: datetime) -> int:
    """Name those whose sign-in has not come for WAIT_AT_MOST, so that somebody asks for it; also
    those whose agency is here and cannot help. While HighLevel has a fault it is too early to say.

    They stay on the watch: the sign-in, or the agency's, still finishes them. Returns how many.
    """
    rows = GoHighLevelIntegration.objects.filter(
        status=Status.WAITING,
        cause__in=(*NOT_YET, *AGENCY_CANNOT_HELP),
        cause_since__lte=now - WAIT_AT_MOST,
        lease_id=None,
    )
    if not rows.exists():
        return 0
    with transaction.atomic():
        before = conditions(rows)
        named = GoHighLevelIntegration.objects.filter(pk__in=before)
        # To try again is of use only where there is an agency.
        named.filter(cause__in=NOT_YET).update(renew_at=None)
        named.update(cause=UNFINISHED, cause_since=now)
        note_change(before, status=Status.WAITING, cause=UNFINISHED, trigger="schedule")
    return len(before)


def waits_for(user_type: str) -> str:
    """Return the cause of an install that has no tokens yet."""
    return "waiting_for_agency" if user_type == LOCATION else "waiting_for_sign_in"


def _is_newer_than_end(row: GoHighLevelIntegration, occurred_at: datetime) -> bool:
    return row.cause_since is None or occurred_at > row.cause_since


def _fetch_names(client: HighLevel, row: GoHighLevelIntegration) -> None:
    if row.is_agency:
        contact = call_with_token(row, client.installation_details)
    else:
        contact = call_with_token(row, lambda token: client.location(token, row.resource_id))
    fetched = {"name": contact.name, "user_email": contact.email}
    known = {column: value for column, value in fetched.items() if value}
    if row.is_agency and "name" in known:
        row.name = known["company_name"] = known["name"]  # its sub-accounts are noted with it next
        _note_agency_name(row.resource_id, known["name"])
    if known:
        GoHighLevelIntegration.objects.filter(pk=row.pk).update(verified_at=timezone.now(), **known)


def _name_of_agency(company_id: str) -> str:
    agency = GoHighLevelIntegration.objects.filter(user_type=COMPANY, resource_id=company_id)
    return agency.values_list("name", flat=True).first() or ""


def _note_agency_name(company_id: str, name: str) -> None:
    """Where it is new: an event may tell it again and again, and an agency has thousands."""
    rows = GoHighLevelIntegration.objects.filter(company_id=company_id)
    rows.exclude(company_name=name).update(company_name=name)
