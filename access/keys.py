"""API keys: `wr_<prefix>_<secret>`, shown once, stored as a SHA-256."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.utils import timezone

from access.models import ApiKey

LAST_USED_EVERY = timedelta(minutes=1)


def create_api_key(
    name: str,
    *,
    scopes: Iterable[str],
    installs: Iterable[str] = (),
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """Store a new key and return it with its full text, which cannot be had again."""
    prefix = secrets.token_hex(4)
    text = f"wr_{prefix}_{secrets.token_urlsafe(32)}"
    key = ApiKey.objects.create(
        name=name,
        prefix=prefix,
        digest=_digest(text),
        scopes=sorted(set(scopes)),
        installs=sorted(set(installs)),
        expires_at=expires_at,
    )
    return key, text


def find_api_key(text: str) -> ApiKey | None:
    """Return the usable key with this text: known, not disabled, not expired."""
    prefix = text.removeprefix("wr_").partition("_")[0]
    key = ApiKey.objects.usable(timezone.now()).filter(prefix=prefix).first()
    if key is None or not secrets.compare_digest(key.digest, _digest(text)):
        return None
    return key


def note_use(key: ApiKey, address: str | None) -> None:
    """Remember when and from where the key was last used, exact to a minute."""
    now = timezone.now()
    recent = key.last_used_at is not None and now - key.last_used_at < LAST_USED_EVERY
    if recent and key.last_used_address == address:
        return
    ApiKey.objects.filter(pk=key.pk).update(last_used_at=now, last_used_address=address)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
