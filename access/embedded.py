"""Sessions of the embedded page. They open that page and nothing else."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction

from access.models import EmbeddedSession

LIFE = timedelta(minutes=30)


class ProofUsed(Exception):
    """This user data has begun a session before: it may be a copy."""


def begin(
    *, proof: str, company_id: str, user_id: str, user_name: str, now: datetime
) -> tuple[EmbeddedSession, str]:
    """Begin a session; return it and the cookie's text, which is stored nowhere.

    `proof`: the digest of the user data's ciphertext. Errors: ProofUsed.
    """
    text = secrets.token_urlsafe(32)
    session = EmbeddedSession(
        proof=proof,
        digest=_digest(text),
        company_id=company_id,
        user_id=user_id,
        user_name=user_name,
        ends_at=now + LIFE,
    )
    try:
        with transaction.atomic():
            session.save(force_insert=True)
    except IntegrityError:
        raise ProofUsed from None
    return session, text


def find(text: str, now: datetime) -> EmbeddedSession | None:
    return EmbeddedSession.objects.filter(digest=_digest(text), ends_at__gt=now).first()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
