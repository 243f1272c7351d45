"""What allauth's own pages do to a person's sign-in, for the audit trail."""

from __future__ import annotations

from typing import Any

from allauth.account.signals import (
    password_changed,
    password_reset,
    password_set,
    user_logged_in,
)
from allauth.mfa.models import Authenticator
from allauth.mfa.signals import (
    authentication_failed,
    authenticator_added,
    authenticator_removed,
    authenticator_reset,
)
from django.contrib.auth.signals import user_login_failed
from django.db.models import Q
from django.dispatch import receiver
from django.http import HttpRequest

from access import audit
from access.models import AuditEvent, User


@receiver([password_changed, password_set, password_reset])
def on_new_password(request: HttpRequest, user: User, **kwargs: object) -> None:
    User.objects.filter(pk=user.pk).update(must_change_password=False)
    audit.record(request, "person.password", target=user)


@receiver(user_logged_in)
def on_sign_in(request: HttpRequest, user: User, **kwargs: object) -> None:
    audit.record(request, "person.sign_in", target=user)


@receiver(user_login_failed)
def on_failed_sign_in(
    credentials: dict[str, Any], request: HttpRequest | None = None, **kwargs: object
) -> None:
    """Of an unknown name or address nothing is kept but that it is unknown: what is typed there
    may be a password."""
    if request is None:
        return
    login = credentials.get("username") or credentials.get("email") or ""
    person = User.objects.filter(Q(username=login) | Q(email__iexact=login)).first()
    details = {} if person else {"name": "unknown"}
    outcome = AuditEvent.REFUSED
    audit.record(request, "person.sign_in", target=person, outcome=outcome, **details)


@receiver(authentication_failed)
def on_refused_factor(
    request: HttpRequest, user: User, authenticator: Authenticator, **kwargs: object
) -> None:
    """A wrong code, at the sign-in or where a page asks for proof again."""
    outcome = AuditEvent.REFUSED
    audit.record(request, "person.sign_in", target=user, outcome=outcome, factor=authenticator.type)


@receiver(authenticator_added)
def on_added_factor(
    request: HttpRequest, user: User, authenticator: Authenticator, **kwargs: object
) -> None:
    audit.record(request, "person.add_factor", target=user, kind=authenticator.type)


@receiver([authenticator_removed, authenticator_reset])
def on_removed_factor(
    request: HttpRequest, user: User, authenticator: Authenticator, **kwargs: object
) -> None:
    audit.record(request, "person.remove_factor", target=user, kind=authenticator.type)
