"""The record of what was done: one row for each action that changes or reveals something.

Call `record` in the transaction of the action itself, so that neither exists without the other.
"""

from __future__ import annotations

from typing import Any

from django.db.models import Model
from django.http import HttpRequest
from structlog.contextvars import get_contextvars

from access.actions import ACTIONS
from access.models import ApiKey, AuditEvent


def record(
    request: HttpRequest,
    action: str,
    *,
    target: Model | None = None,
    outcome: str = AuditEvent.DONE,
    **details: Any,
) -> AuditEvent:
    """Record what the person or the API key of this request did.

    `action`: a code of access/actions.py. `details`: small JSON values, no secrets.
    """
    key = _key_of(request)
    request._audited = True  # type: ignore[attr-defined]
    return _write(
        actor_kind=AuditEvent.KEY if key else AuditEvent.PERSON,
        actor_id=str(key.pk if key else request.user.pk or ""),
        actor_name=key.name if key else request.user.get_username() or "anonymous",
        address=request.META.get("REMOTE_ADDR") or None,
        action=action,
        outcome=outcome,
        target=target,
        details=details,
    )


def record_system(
    action: str,
    *,
    by: str,
    target: Model | None = None,
    outcome: str = AuditEvent.DONE,
    **details: Any,
) -> AuditEvent:
    """Record what a command or a schedule did. `by`: its name."""
    return _write(
        actor_kind=AuditEvent.SYSTEM,
        actor_name=by,
        action=action,
        outcome=outcome,
        target=target,
        details=details,
    )


def is_recorded(request: HttpRequest) -> bool:
    return getattr(request, "_audited", False)


def _write(*, action: str, target: Model | None, **columns: Any) -> AuditEvent:
    if action not in ACTIONS:
        raise ValueError(f"access/actions.py has no words for {action}.")
    return AuditEvent.objects.create(
        **columns,
        action=action,
        request_id=get_contextvars().get("request_id", ""),
        target_id="" if target is None else str(target.pk),
        target_name="" if target is None else str(target)[:200],
        company_id=getattr(target, "company_id", ""),
    )


def _key_of(request: HttpRequest) -> ApiKey | None:
    return getattr(getattr(request, "auth", None), "key", None)
