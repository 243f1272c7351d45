"""How installs begin and end: by a code that was exchanged, by events, by an agency's list."""

from __future__ import annotations

import logging
import uuid
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone
from django_q.tasks import async_task

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
from integrations.models import COMPANY, LOCATION, GoHighLevelIntegration
from integrations.refresh import call_with_token
from integrations.storing import token_columns

logger = logging.getLogger(__name__)

PAGE_SIZE = 100
FINISH_AGAIN_AFTER = timedelta(minutes=5)


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
    return store_install(tokens, client_id=client.client_id, asked_at=asked_at)


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
        row, _created = GoHighLevelIntegration.objects.get_or_create(
            user_type=user_type, resource_id=resource_id, defaults={"status": Status.WAITING}
        )
        columns = token_columns(row, tokens, client_id=client_id, sent_at=asked_at)
        GoHighLevelIntegration.objects.filter(pk=row.pk).update(
            **columns,
            installed_at=columns["renewed_at"],
            finish_at=columns["renewed_at"],
            is_bulk_installation=tokens.is_bulk_installation,
        )
        row.refresh_from_db()
        async_task("integrations.tasks.finish_install", str(row.pk))
    return row


def finish_install(pk: uuid.UUID) -> int:
    """After the tokens: fetch names, and take in an agency's sub-accounts. Safe to run twice.

    Returns how many sub-accounts were found waiting for their token. A name that cannot be had is
    not a failed install. When HighLevel is not there, the tick comes back to it.
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
    except HighLevelError as error:
        again = _may_pass(error)
        logger.warning("No name for install %s: %s %s", pk, error.cause, error.detail)
    try:
        found = adopt_locations(row) if row.is_agency else 0
    except HighLevelError as error:
        again = again or _may_pass(error)
        logger.warning("No list of sub-accounts of %s: %s %s", pk, error.cause, error.detail)
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

    The tick then mints each one's token. Errors: HighLevelError.
    """
    client = HighLevel.from_settings()
    found = skip = 0
    while True:
        page = call_with_token(
            agency,
            partial(
                client.installed_locations,
                company_id=agency.resource_id,
                skip=skip,
                limit=PAGE_SIZE,
            ),
        )
        if page.install_to_future_locations is not None:
            GoHighLevelIntegration.objects.filter(pk=agency.pk).update(
                install_to_future_locations=page.install_to_future_locations
            )
        found += _note_waiting(agency, page.locations)
        skip += len(page.locations)
        if len(page.locations) < PAGE_SIZE:
            break
    # Also those that an INSTALL event announced before the agency's own sign-in arrived, and those
    # that were refused while the agency could not help.
    GoHighLevelIntegration.objects.wake_sub_accounts(agency.resource_id, timezone.now())
    async_task("integrations.tasks.tick")
    return found


def _may_pass(error: HighLevelError) -> bool:
    return isinstance(error, NotSent | Unknown | RateLimited)


def note_installed(
    *, company_id: str, location_id: str, occurred_at: datetime, details: dict[str, Any]
) -> str:
    """Apply an INSTALL event; return what it did, in words.

    A sub-account that has no token yet waits: for its own callback, or for its agency's token.
    An agency gets its token by the callback alone, so its event only tells names.
    """
    if not location_id:
        _update_agency_details(company_id, details)
        woken = GoHighLevelIntegration.objects.wake_sub_accounts(company_id, timezone.now())
        return f"{woken} sub-accounts woken" if woken else "noted"
    known = {name: value for name, value in details.items() if value}
    if company_id:
        known["company_id"] = company_id
    with transaction.atomic():
        row, created = GoHighLevelIntegration.objects.get_or_create(
            user_type=LOCATION,
            resource_id=location_id,
            defaults={
                "status": Status.WAITING,
                "cause": "waiting_for_agency",
                "cause_since": timezone.now(),
                "installed_at": occurred_at,
                "renew_at": timezone.now(),
                **known,
            },
        )
        if created:
            async_task("integrations.tasks.tick")
            return "waiting for its token"
        if row.status in OFF and _is_newer_than_end(row, occurred_at):
            _begin_again(row, occurred_at, known)
            async_task("integrations.tasks.tick")
            return "installed again, waiting for its token"
        same = GoHighLevelIntegration.objects.filter(pk=row.pk)
        same.update(**known)
        # A reinstall whose UNINSTALL is still on its way: that one must find a newer install.
        same.filter(installed_at__lt=occurred_at).update(installed_at=occurred_at)
    return "already known"


def note_uninstalled(*, company_id: str, location_id: str, occurred_at: datetime) -> str:
    """Apply an UNINSTALL event; an agency's ends its sub-accounts too. Return what it did.

    One that is older than the present install is of an earlier one, and changes nothing.
    """
    if location_id:
        concerned = Q(user_type=LOCATION, resource_id=location_id)
        cause = "uninstalled"
    else:
        concerned = Q(company_id=company_id) | Q(user_type=COMPANY, resource_id=company_id)
        cause = "agency_uninstalled"
    rows = GoHighLevelIntegration.objects.renewable().filter(concerned)
    older = rows.filter(Q(installed_at=None) | Q(installed_at__lte=occurred_at))
    ended = older.update(**_ended(Status.UNINSTALLED, cause, occurred_at))
    if ended:
        return f"{ended} ended"
    return "ignored: older than the present install" if rows.exists() else "not connected here"


def deactivate(rows: Any) -> int:
    """Switch installs off here, softly: tokens stay, nothing is renewed or handed out."""
    now = timezone.now()
    return int(rows.renewable().update(**_ended(Status.DEACTIVATED, "deactivated", now)))


def _ended(status: Status, cause: str, since: datetime) -> dict[str, Any]:
    return {
        "status": status,
        "cause": cause,
        "cause_since": since,
        "renew_at": None,
        "requested_at": None,
        "lease_id": None,
        "lease_until": None,
        # A renewal in flight must not bring it back to life.
        "generation": F("generation") + 1,
    }


def _is_newer_than_end(row: GoHighLevelIntegration, occurred_at: datetime) -> bool:
    return row.cause_since is None or occurred_at > row.cause_since


def _begin_again(row: GoHighLevelIntegration, occurred_at: datetime, known: dict[str, Any]) -> None:
    GoHighLevelIntegration.objects.filter(pk=row.pk).update(
        status=Status.WAITING,
        cause="waiting_for_agency",
        cause_since=timezone.now(),
        installed_at=occurred_at,
        renew_at=timezone.now(),
        failures=0,
        # What belonged to the ended install is of no use any more.
        access_token_encrypted=b"",
        refresh_token_encrypted=b"",
        expires_at=None,
        sent_at=None,
        **known,
    )


def _update_agency_details(company_id: str, details: dict[str, Any]) -> None:
    known = {name: value for name, value in details.items() if value}
    if "company_name" in known:
        known["name"] = known["company_name"]
    if known:
        GoHighLevelIntegration.objects.filter(user_type=COMPANY, resource_id=company_id).update(
            **known
        )


def _note_waiting(agency: GoHighLevelIntegration, locations: tuple[InstalledLocation, ...]) -> int:
    """Add the unknown ones, begin again those that ended; return how many now wait."""
    now = timezone.now()
    by_id = {location.location_id: location for location in locations}
    known = {
        row.resource_id: row
        for row in GoHighLevelIntegration.objects.without_secrets().filter(
            user_type=LOCATION, resource_id__in=by_id
        )
    }
    new = [
        GoHighLevelIntegration(
            user_type=LOCATION,
            resource_id=location.location_id,
            company_id=agency.resource_id,
            company_name=agency.name,
            name=location.name,
            version_id=location.version_id,
            status=Status.WAITING,
            cause="waiting_for_agency",
            cause_since=now,
            installed_at=now,
            renew_at=now,
        )
        for location in locations
        if location.location_id not in known
    ]
    GoHighLevelIntegration.objects.bulk_create(new, ignore_conflicts=True)
    # An INSTALL event need not name the agency.
    GoHighLevelIntegration.objects.filter(
        user_type=LOCATION, resource_id__in=by_id, company_id=""
    ).update(company_id=agency.resource_id)
    again = [row for row in known.values() if row.status == Status.UNINSTALLED]
    for row in again:
        _begin_again(row, now, {"company_id": agency.resource_id})
    return len(new) + len(again)


def _fetch_names(client: HighLevel, row: GoHighLevelIntegration) -> None:
    if row.is_agency:
        details = call_with_token(row, client.installation_details)
        name, email = details.get("companyName"), details.get("companyEmail")
    else:
        details = call_with_token(row, lambda token: client.location(token, row.resource_id))
        name, email = details.get("name"), details.get("email")
    fetched = {"name": name, "user_email": email}
    known = {field: value for field, value in fetched.items() if isinstance(value, str) and value}
    if row.is_agency and "name" in known:
        known["company_name"] = known["name"]
        GoHighLevelIntegration.objects.filter(company_id=row.resource_id).update(
            company_name=known["name"]
        )
    if known:
        GoHighLevelIntegration.objects.filter(pk=row.pk).update(verified_at=timezone.now(), **known)
