"""Ids and tokens in HighLevel's shapes."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import string
import uuid
from datetime import UTC, datetime

_ALPHABET = string.ascii_letters + string.digits


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


_JWT_HEADER = _base64url(b'{"alg":"RS256","typ":"JWT"}')


def place_id() -> str:
    """An id of an agency, sub-account or user, such as HjiMUOsCCHCjtxzEf8PR."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(20))


def object_id() -> str:
    """24 hex characters, as refreshTokenId and planId have."""
    return os.urandom(12).hex()


def authorization_code() -> str:
    return os.urandom(20).hex()


def trace_id() -> str:
    return str(uuid.UUID(bytes=os.urandom(16), version=4))


def webhook_id() -> str:
    return trace_id()


def jwt(claims: dict[str, object]) -> str:
    """A token that looks like HighLevel's JWT; its signature is random, so nothing verifies it."""
    payload = json.dumps(claims, separators=(",", ":")).encode()
    return f"{_JWT_HEADER}.{_base64url(payload)}.{_base64url(os.urandom(256))}"


def fingerprint(token: str) -> str:
    """A short name for a token that is safe to show."""
    return hashlib.sha256(token.encode()).hexdigest()[:32]


def timestamp(seconds: float) -> str:
    """ISO 8601 in UTC with milliseconds, such as 2025-06-25T06:57:06.225Z."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def app_id(client_id: str) -> str:
    """The marketplace app behind a client id."""
    return client_id.split("-", 1)[0]
