"""API keys: `wr_<prefix>_<secret>`, shown once, stored as a SHA-256."""

from __future__ import annotations

import hashlib
import secrets
import threading
import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from access.models import ApiKey, KeyAddress, KeyAlert

LAST_USED_EVERY = timedelta(minutes=1)
# What is not used for so long is probably not needed.
UNUSED_AFTER = timedelta(days=60)


class KeyExists(Exception):
    """A key with this id was made before: the form was sent twice."""


def create_api_key(
    name: str,
    *,
    scopes: Iterable[str],
    installs: Iterable[str] = (),
    agencies: Iterable[str] = (),
    expires_at: datetime | None = None,
    created_by: str = "",
    pk: uuid.UUID | None = None,
) -> tuple[ApiKey, str]:
    """Store a new key and return it with its full text, which cannot be had again.

    Errors: KeyExists, when there is one with this `pk`.
    """
    prefix = secrets.token_hex(4)
    text = _text(prefix)
    key = ApiKey(
        pk=pk or uuid.uuid4(),
        name=name,
        prefix=prefix,
        digest=_digest(text),
        scopes=sorted(set(scopes)),
        installs=sorted(set(installs)),
        agencies=sorted(set(agencies)),
        expires_at=expires_at,
        created_by=created_by,
    )
    try:
        with transaction.atomic():
            key.save(force_insert=True)
    except IntegrityError:
        raise KeyExists from None
    return key, text


def find_api_key(text: str) -> ApiKey | None:
    """Return the usable key with this text: known, not disabled, not expired."""
    now = timezone.now()
    prefix = text.removeprefix("wr_").partition("_")[0]
    # PostgreSQL refuses a NUL in a string, and no key has one.
    if not prefix.isalnum():
        return None
    key = ApiKey.objects.usable(now).filter(prefix=prefix).first()
    if key is None:
        return None
    digest = _digest(text)
    if secrets.compare_digest(key.digest, digest):
        return key
    if key.old_secret_works(now) and secrets.compare_digest(key.old_digest, digest):
        key.sent_old_secret = True
        return key
    return None


def rotate_api_key(key: ApiKey, *, old_works_until: datetime | None) -> str:
    """Give the key a new secret and return its full text, which cannot be had again.

    The secret until now works on until `old_works_until` (None: it ends at once), the one before
    it ends in any case.
    """
    text = _text(key.prefix)
    key.old_digest = key.digest if old_works_until else ""
    key.old_digest_until = old_works_until
    key.old_used_at = None
    key.digest = _digest(text)
    key.rotated_at = timezone.now()
    key.save(
        update_fields=["digest", "old_digest", "old_digest_until", "old_used_at", "rotated_at"]
    )
    return text


def end_old_secret(key: ApiKey) -> None:
    """End the overlap of a rotation at once."""
    key.old_digest, key.old_digest_until = "", None
    key.save(update_fields=["old_digest", "old_digest_until"])


def change_api_key(
    key: ApiKey,
    *,
    name: str,
    scopes: Iterable[str],
    installs: Iterable[str],
    agencies: Iterable[str],
    expires_at: datetime | None,
) -> dict[str, Any]:
    """Change what a key is called, may do and reaches, from its next call on. Its secret stays.

    Returns {field: [before, after]} of what is different, as the audit trail keeps it.
    """
    new = {
        "name": name,
        "scopes": sorted(set(scopes)),
        "installs": sorted(set(installs)),
        "agencies": sorted(set(agencies)),
        "expires_at": expires_at,
    }
    changes = {}
    for field, value in new.items():
        before = getattr(key, field)
        if before != value:
            changes[field] = [_plain(before), _plain(value)]
            setattr(key, field, value)
    key.save(update_fields=list(changes))
    return changes


def _plain(value: Any) -> Any:
    return value.isoformat(timespec="seconds") if isinstance(value, datetime) else value


def disable_api_key(key: ApiKey) -> None:
    """Let the key open nothing, from the next call on; `enable_api_key` undoes it."""
    key.disabled_at = timezone.now()
    key.save(update_fields=["disabled_at"])


def enable_api_key(key: ApiKey) -> None:
    key.disabled_at = None
    key.save(update_fields=["disabled_at"])


def note_use(key: ApiKey, address: str | None, scope: str) -> None:
    """Remember when, from where and for what the key was last used, exact to a minute.

    An address that the key never came from before is an alert, but for its first one.
    """
    now = timezone.now()
    recent = key.last_used_at is not None and now - key.last_used_at < LAST_USED_EVERY
    is_noted = key.scopes_used.get(scope) == _day(now) and not key.sent_old_secret
    if recent and is_noted and key.last_used_address == address:
        return
    if not _notes.is_due((key.pk, address, scope, key.sent_old_secret), now):
        return
    columns = {"last_used_at": now, "last_used_address": address}
    if not is_noted:
        columns["scopes_used"] = key.scopes_used | {scope: _day(now)}
    if key.sent_old_secret:
        columns["old_used_at"] = now
    ApiKey.objects.filter(pk=key.pk).update(**columns)
    if address:
        _note_address(key, address, now)


def lint(key: ApiKey, now: datetime) -> list[str]:
    """Return what is doubtful about a key that works, each as a sentence."""
    if not key.is_usable(now):
        return []
    long_ago = now - UNUSED_AFTER
    if (key.last_used_at or key.created_at) < long_ago:
        return [f"Not used for {UNUSED_AFTER.days} days: disable it if nobody needs it."]
    found = []
    unused = [s for s in key.scopes if key.scopes_used.get(s, "") < _day(long_ago)]
    if unused and len(unused) < len(key.scopes) and key.created_at < long_ago:
        found.append(
            f"Wider than what it used: {', '.join(unused)} not for {UNUSED_AFTER.days} days."
        )
    if key.expires_at is None and not key.is_limited and key.created_at < long_ago:
        found.append("Reaches all accounts and never expires.")
    if key.old_secret_works(now) and key.old_used_at is None and _is_used_since_rotation(key):
        found.append("The secret before the rotation is no longer used: end it.")
    return found


def _is_used_since_rotation(key: ApiKey) -> bool:
    used, rotated = key.last_used_at, key.rotated_at
    return used is not None and rotated is not None and used > rotated


class _Notes:
    """What this process wrote within the last minute: a key that is used from two addresses in
    turns must not cost a write for each call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._noted: dict[tuple[object, ...], datetime] = {}

    def is_due(self, what: tuple[object, ...], now: datetime) -> bool:
        with self._lock:
            noted = self._noted.get(what)
            if noted is not None and now - noted < LAST_USED_EVERY:
                return False
            if len(self._noted) > 10_000:
                self._noted.clear()
            self._noted[what] = now
            return True


_notes = _Notes()


def _note_address(key: ApiKey, address: str, now: datetime) -> None:
    if KeyAddress.objects.filter(key=key, address=address).update(last_at=now):
        return
    try:
        with transaction.atomic():
            is_first = not KeyAddress.objects.filter(key=key).exists()
            KeyAddress.objects.create(key=key, address=address, first_at=now, last_at=now)
            if not is_first:
                _alert_of_address(key, address, now)
    except IntegrityError:
        return  # another call came from there at the same moment


def _alert_of_address(key: ApiKey, address: str, now: datetime) -> None:
    """Raise one alert for all new addresses until somebody looks: a key may come from thousands."""
    seen = key.alerts.filter(kind=KeyAlert.NEW_ADDRESS, accepted_at=None).order_by("-at").first()
    if seen is None:
        seen = KeyAlert(key=key, kind=KeyAlert.NEW_ADDRESS, at=now)
    else:
        seen.details["others"] = seen.details.get("others", 0) + 1
    seen.details["address"] = address
    seen.save()


def _day(moment: datetime) -> str:
    return moment.date().isoformat()


def _text(prefix: str) -> str:
    return f"wr_{prefix}_{secrets.token_urlsafe(32)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
