"""Who may open each address, and what it leaves in the audit trail.

Our own views declare it beside themselves (access/audience.py); for those that come from libraries
it stands here, by the beginning of their names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from django.urls import URLPattern, URLResolver, get_resolver

from access.audience import ONLY_SHOWS, Audience, Who

_OWN_SIGN_IN = "It concerns the person's own sign-in; what changes it leaves a record by itself."

FOREIGN = {
    # access/signals.py records what allauth does.
    "account_login": Audience(Who.ANYONE, audit="person.sign_in"),
    "account_reset_password": Audience(Who.ANYONE, audit="person.password"),
    "account_change_password": Audience(Who.STAFF, "their own", audit="person.password"),
    "account_set_password": Audience(Who.STAFF, "their own", audit="person.password"),
    "account_": Audience(Who.ANYONE, no_audit=_OWN_SIGN_IN),
    "mfa_login_webauthn": Audience(Who.ANYONE, audit="person.sign_in"),
    "mfa_authenticate": Audience(Who.ANYONE, audit="person.sign_in"),
    "mfa_": Audience(Who.STAFF, "their own", audit="person.add_factor"),
    "usersessions_list": Audience(Who.STAFF, "their own", no_audit=_OWN_SIGN_IN),
    # access/admin_site.py records what is changed there.
    "admin:login": Audience(Who.ANYONE, audit="person.sign_in"),
    "admin:jsi18n": Audience(Who.STAFF, "the admin", no_audit=ONLY_SHOWS),
    "admin:": Audience(Who.STAFF, "the admin", audit="admin.change"),
}


@dataclass(frozen=True)
class Address:
    """One entry of the URLconf. `path` still has its parameters as <type:name>."""

    path: str
    name: str
    pattern: URLPattern
    audience: Audience | None


def addresses() -> list[Address]:
    return list(_walk(get_resolver().url_patterns, "/", ""))


def _walk(
    patterns: Iterable[URLPattern | URLResolver], prefix: str, namespace: str
) -> Iterator[Address]:
    for entry in patterns:
        path = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            inner = f"{namespace}{entry.namespace}:" if entry.namespace else namespace
            yield from _walk(entry.url_patterns, path, inner)
        else:
            name = f"{namespace}{entry.name or ''}"
            yield Address(path, name, entry, _audience(entry, name))


def _audience(entry: URLPattern, name: str) -> Audience | None:
    declared: Audience | None = getattr(entry.callback, "audience", None)
    if declared is not None:
        return declared
    fitting = [begin for begin in FOREIGN if name.startswith(begin)]
    return FOREIGN[max(fitting, key=len)] if fitting else None
