"""How a token answer gets into an install's row."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, TypeVar

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection
from django.db.models import F
from django.utils import timezone

from integrations import pacing
from integrations.crypto import DecryptError, keyring
from integrations.health import Status
from integrations.highlevel import TokenSet
from integrations.models import GoHighLevelIntegration

logger = logging.getLogger(__name__)
T = TypeVar("T")

# How long a write that holds the only copy of a token is tried while the database is away.
PERSIST_FOR_S = 60


def token_columns(
    row: GoHighLevelIntegration, tokens: TokenSet, *, client_id: str, sent_at: datetime
) -> dict[str, Any]:
    """Return the columns that a token answer sets, ready for update(): the new pair, the end of
    every fault, and the next renewal.

    `sent_at`: when the call began; the token's life is counted from there.
    """
    now = timezone.now()
    expires_at = sent_at + timedelta(seconds=tokens.expires_in_s)
    told = {
        "company_id": tokens.company_id,
        "user_id": tokens.user_id,
        "scope": tokens.scope,
        "plan_id": tokens.plan_id,
        "refresh_token_id": tokens.refresh_token_id,
        "trace_id": tokens.trace_id,
        "token_type": tokens.token_type,
        "install_to_future_locations": tokens.install_to_future_locations,
        "approve_all_locations": tokens.approve_all_locations,
        "approved_locations": list(tokens.approved_locations),
    }
    return {
        # An answer often leaves things out that an earlier one said, and says little that is new.
        **{
            name: value
            for name, value in told.items()
            if value not in ("", None, []) and value != getattr(row, name)
        },
        "client_id": client_id,
        "access_token_encrypted": row.seal("access_token", tokens.access_token),
        "refresh_token_encrypted": _sealed_refresh_token(row, tokens),
        "key_id": keyring().present_id,
        "expires_at": expires_at,
        "generation": F("generation") + 1,
        "status": Status.ACTIVE,
        "cause": "",
        "cause_since": None,
        "failures": 0,
        "renew_at": pacing.next_renewal(
            now, expires_at, margin=settings.REFRESH_MARGIN, jitter=settings.REFRESH_JITTER
        ),
        "requested_at": None,
        "lease_id": None,
        "lease_until": None,
        "sent_at": None,
        "renewed_at": now,
        "verified_at": now,
        "verify_at": pacing.next_check(now, settings.VERIFY_EVERY),
        "verify_cause": "",
        "tried_at": now,
    }


def _sealed_refresh_token(row: GoHighLevelIntegration, tokens: TokenSet) -> bytes:
    """Encrypt the new refresh token; where the answer has none, the old one anew: HighLevel's
    description of minting leaves it out."""
    if tokens.refresh_token:
        return row.seal("refresh_token", tokens.refresh_token)
    if not row.refresh_token_encrypted:
        return b""
    try:
        return row.seal("refresh_token", row.open_refresh_token())
    except DecryptError:
        return b""


def persistently(write: Callable[[], T]) -> T:
    """Run a write that must not be lost, again and again while the database is away: it holds a
    token that exists nowhere else."""
    give_up_at = time.monotonic() + PERSIST_FOR_S
    pause_s = 0.05
    while True:
        try:
            return write()
        except (OperationalError, InterfaceError):
            if time.monotonic() + pause_s > give_up_at or connection.in_atomic_block:
                raise
            logger.warning("The database does not take a renewed token; trying again.")
            connection.close()
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, 5)
