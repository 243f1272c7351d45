"""Taking over installs that another program held until now."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from cryptography.fernet import Fernet, InvalidToken
from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from integrations import journal
from integrations.health import Status
from integrations.highlevel import HighLevel, HighLevelError, TokenRejected, TokenSet
from integrations.models import GoHighLevelIntegration
from integrations.storing import token_columns
from operations.old_data import BadRow, OldInstall, Row, read_event, read_install
from webhooks.models import GoHighLevelWebhook

# The earlier product sealed tokens with Fernet, whose texts all begin so.
_FERNET_BEGINS = "gAAAA"
# An access token lives about a day; when the old data does not say since when, we assume it.
_USUAL_LIFE = timedelta(days=1)


class Result(StrEnum):
    CREATED = "created"
    UPDATED = "updated"
    KEPT = "kept"  # ours is newer
    SKIPPED = "skipped"  # it had ended there
    FAILED = "failed"


@dataclass(frozen=True)
class Report:
    """What became of one row. `account`: HighLevel's id; `id`: ours; never a token."""

    row: int
    old_id: str
    account: str
    result: Result
    id: str = ""
    note: str = ""


class Importer:
    """`verify`: ask HighLevel whether it accepts each access token. `dry_run`: change nothing.
    `fernet_key`: opens tokens that the earlier product sealed."""

    def __init__(self, *, dry_run: bool, verify: bool, fernet_key: str = "") -> None:
        self.dry_run = dry_run
        self.verify = verify
        self.fernet = Fernet(fernet_key) if fernet_key else None

    def installs(self, rows: Iterable[Row]) -> Iterator[Report]:
        for number, row in enumerate(rows, start=1):
            yield self._install(number, row)

    def events(self, rows: Iterable[Row]) -> int:
        """Keep the events, as a record and so that HighLevel's late repeats are known; return how
        many rows there were. None of them is processed again."""
        now = timezone.now()
        count = 0
        for row in rows:
            count += 1
            if not self.dry_run:
                _keep_event(row, now)
        return count

    def _install(self, number: int, row: Row) -> Report:
        try:
            old = read_install(row, timezone.now())
            access_token, refresh_token = map(self._opened, (old.access_token, old.refresh_token))
        except BadRow as error:
            return Report(number, _old_id(row), "", Result.FAILED, note=str(error))

        def report(result: Result, pk: uuid.UUID | str = "", note: str = "") -> Report:
            return Report(number, old.old_id, old.resource_id, result, str(pk), note)

        if not old.is_active:
            return report(Result.SKIPPED, note="it was not active there")
        present = _present(old)
        if present is not None and _is_newer(present, old):
            return report(Result.KEPT, present.pk, "what is stored here is newer")
        note = self._ask_highlevel(old, access_token) if self.verify else ""
        result = Result.UPDATED if present else Result.CREATED
        if self.dry_run:
            return report(result, present.pk if present else "", note)
        pk = _store(old, access_token, refresh_token, verdict=note)
        if pk is None:
            return report(Result.KEPT, note="it was renewed here at this very moment")
        return report(result, pk, note)

    def _opened(self, token: str) -> str:
        """Return the token itself. Errors: BadRow."""
        if not token.startswith(_FERNET_BEGINS):
            return token
        if self.fernet is None:
            raise BadRow("its token is encrypted: give the key with --fernet-key-file")
        try:
            return self.fernet.decrypt(token.encode()).decode()
        except InvalidToken:
            raise BadRow("its token is encrypted with another key") from None

    def _ask_highlevel(self, old: OldInstall, access_token: str) -> str:
        """Return in words what HighLevel says of the token; the refresh token is not touched."""
        if not access_token or old.expires_at <= timezone.now():
            return "not verified: the access token has ended, a renewal will tell"
        client = HighLevel.from_settings()
        try:
            if old.user_type == "Location":
                client.location(access_token, old.location_id)
            else:
                client.installation_details(access_token)
        except TokenRejected:
            return _REJECTED
        except HighLevelError as error:
            return f"not verified: {error.cause}"
        return _ACCEPTED


_ACCEPTED = "HighLevel accepts it"
_REJECTED = "HighLevel does not accept the access token; a renewal is tried at once"


def _present(old: OldInstall) -> GoHighLevelIntegration | None:
    rows = GoHighLevelIntegration.objects.without_secrets()
    return rows.filter(user_type=old.user_type, resource_id=old.resource_id).first()


def _is_newer(present: GoHighLevelIntegration, old: OldInstall) -> bool:
    """Whether ours must stay. A row that never had a token, or only waits for one, has nothing to
    lose; of two tokens the one that ends later was given later."""
    if present.status == Status.WAITING or not present.generation or present.expires_at is None:
        return False
    return present.expires_at >= old.expires_at


def _store(
    old: OldInstall, access_token: str, refresh_token: str, *, verdict: str
) -> uuid.UUID | None:
    """Store the pair; None when a renewal or a reinstall was quicker."""
    now = timezone.now()
    with transaction.atomic():
        row, created = GoHighLevelIntegration.objects.get_or_create(
            user_type=old.user_type,
            resource_id=old.resource_id,
            defaults={"status": Status.WAITING, **_same_id(old)},
        )
        before = journal.UNKNOWN if created else journal.Condition(row.status, row.cause)
        columns = token_columns(
            row, _tokens(old, access_token, refresh_token, now), client_id="", sent_at=now
        )
        is_due = old.expires_at <= now or not access_token or verdict == _REJECTED
        columns |= {
            # Counted from when it was given, not from today.
            "expires_at": old.expires_at,
            "renewed_at": min(now, old.expires_at - _USUAL_LIFE),
            "verified_at": now if verdict == _ACCEPTED else None,
            "client_id": old.client_id or settings.GHL_CLIENT_ID,
            "installed_at": old.installed_at or row.installed_at or now,
            "last_used_at": old.last_used_at or row.last_used_at,
            "finish_at": now if not old.name or old.user_type == "Company" else None,
            **_names(old),
        }
        if is_due:
            columns["renew_at"] = now
        same = GoHighLevelIntegration.objects.filter(pk=row.pk, generation=row.generation)
        if not same.filter(Q(lease_until=None) | Q(lease_until__lt=Now())).update(**columns):
            return None
        journal.note_change({row.pk: before}, status=Status.ACTIVE, trigger="import")
    return row.pk


def _same_id(old: OldInstall) -> dict[str, uuid.UUID]:
    """Callers know the install by the id it had; it stays if it is one of our form and is free."""
    try:
        pk = uuid.UUID(old.old_id)
    except ValueError:
        return {}
    return {} if GoHighLevelIntegration.objects.filter(pk=pk).exists() else {"id": pk}


def _names(old: OldInstall) -> dict[str, str]:
    told = {
        "name": old.name or (old.company_name if old.user_type == "Company" else ""),
        "company_name": old.company_name,
        "user_email": old.user_email,
    }
    return {name: value for name, value in told.items() if value}


def _tokens(old: OldInstall, access_token: str, refresh_token: str, now: datetime) -> TokenSet:
    return TokenSet(
        access_token=access_token,
        refresh_token=refresh_token,
        expires_in_s=max(0, int((old.expires_at - now).total_seconds())),
        token_type=old.token_type,
        scope=old.scope,
        user_type=old.user_type,
        company_id=old.company_id,
        location_id=old.location_id,
        user_id=old.user_id,
        plan_id=old.plan_id,
        refresh_token_id="",
        trace_id="",
        is_bulk_installation=False,
        install_to_future_locations=None,
        approve_all_locations=None,
        approved_locations=(),
    )


def _keep_event(row: Row, now: datetime) -> None:
    try:
        old = read_event(row, now)
    except BadRow:
        return
    status = GoHighLevelWebhook.PROCESSED if old.was_processed else GoHighLevelWebhook.IGNORED
    GoHighLevelWebhook.objects.get_or_create(
        webhook_id=old.webhook_id,
        defaults={
            "type": old.type,
            "body": old.body,
            "company_id": old.company_id,
            "location_id": old.location_id,
            "occurred_at": old.occurred_at,
            "received_at": old.received_at,
            "status": status,
            "process_at": None,
            "processed_at": now,
            "result": "taken over from the earlier database",
        },
    )


def _old_id(row: Row) -> str:
    return str(row.get("id") or "")
