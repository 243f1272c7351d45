"""Where alerts may go: mail addresses and apprise URLs, and how they are shown.

An apprise plugin opens connections of its own, follows redirects and resolves names itself. So
the connection is judged where it is made: Python reports each one before it begins, with the
address that the name stands for at that moment.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from alerts.models import Channel
from integrations.crypto import keyring
from webhooks.guarded_http import is_public

if TYPE_CHECKING:
    import apprise

# These do not send, they act on the machine that WhatReach runs on.
_LOCAL = frozenset({"blink1", "dbus", "glib", "gnome", "kde", "macosx", "qt", "syslog", "windows"})
# Their host is no secret: it is the address of the server.
_SELF_HOSTED = frozenset(
    {"form", "forms", "gotify", "gotifys", "json", "jsons", "mmost", "mmosts", "ntfy", "ntfys"}
    | {"rocket", "rockets", "xml", "xmls", "matrix", "matrixs"}
)
# They make a plugin read a file of this machine, and send it.
_READS_FILES = ("template", "keyfile", "subfile", "attach", "pgpkey", "smime", "cert")


class ConnectionRefused(OSError):
    """The connection would lead into a private network."""


_guarded: ContextVar[list[str] | None] = ContextVar("guarded_connections", default=None)


def check(address: str) -> str:
    """Return the way (Channel.MAIL, Channel.APPRISE) of an address. Errors: ValidationError."""
    if "://" not in address:
        validate_email(address)
        return Channel.MAIL
    service = _service(address)
    schema = address.partition("://")[0].lower()
    if service is None or schema in _LOCAL:
        raise ValidationError(
            "This is neither a mail address nor an apprise URL. "
            "Each service's form is shown at https://github.com/caronc/apprise/wiki"
        )
    if any(name.lower().startswith(_READS_FILES) for name, _value in _parameters(address)):
        raise ValidationError("Parameters that name a file are not allowed.")
    return Channel.APPRISE


def label_of(address: str) -> str:
    """Return what may be shown of an address: its service, and the host where it is no secret.

    Two addresses of one service are told apart by a keyed digest."""
    if "://" not in address:
        return address
    service = _service(address)
    name = str(service.service_name) if service else "Apprise"
    schema = address.partition("://")[0].lower()
    host = urlsplit(address).hostname if schema in _SELF_HOSTED else None
    return f"{name} {host or '#' + keyring().fingerprint(address)[:4]}"[:120]


def secrets_of(address: str) -> list[str]:
    """Return the parts of an apprise URL that may be secret, the longest first."""
    parts = urlsplit(address)
    pieces = [parts.username, parts.password, *parts.path.split("/"), parts.netloc, parts.query]
    pieces += [value for _name, value in _parameters(address)]
    if parts.scheme not in _SELF_HOSTED:
        pieces.append(parts.hostname)
    return sorted({piece for piece in pieces if piece and len(piece) >= 4}, key=len, reverse=True)


def notifier(address: str) -> apprise.Apprise | None:
    """Return what sends to an apprise URL; None when it is none."""
    service = _service(address)
    if service is None:
        return None
    sender = _apprise().Apprise(asset=_asset())
    sender.add(service)
    return sender


@contextmanager
def only_public() -> Iterator[list[str]]:
    """Within, no connection is made to a private address, unless the operator allows it; those
    that were refused are listed."""
    refused: list[str] = []
    if settings.ALERTS_ALLOW_PRIVATE_ADDRESSES:
        yield refused
        return
    token = _guarded.set(refused)
    try:
        yield refused
    finally:
        _guarded.reset(token)


def _judge_connection(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in ("socket.connect", "socket.sendto"):
        return
    refused = _guarded.get()
    if refused is None:
        return
    handle, target = arguments[0], arguments[1]
    if handle.family not in (socket.AF_INET, socket.AF_INET6) or not _is_public(target[0]):
        refused.append(str(target))
        raise ConnectionRefused("It leads into a private network, which is not allowed.")


def _is_public(host: str) -> bool:
    try:
        return is_public(ip_address(host.partition("%")[0]))
    except ValueError:
        return False  # a name that the system would resolve where nobody sees it


sys.addaudithook(_judge_connection)


def _apprise() -> Any:
    """Its plugins take a second and 25 MB: only who needs it loads it."""
    import apprise

    return apprise


def _asset() -> apprise.AppriseAsset:
    """No threads, no files, no redirects, and no time-out that leaves a thread behind."""
    asset: apprise.AppriseAsset = _apprise().AppriseAsset(
        app_id="WhatReach",
        app_desc="WhatReach",
        app_url="",
        async_mode=False,
        http_redirects=False,
        storage_mode="memory",
        service_timeout=0,
        allow_templates=False,
    )
    return asset


def _service(address: str) -> Any:
    return _apprise().Apprise.instantiate(address, asset=_asset(), suppress_exceptions=True)


def _parameters(address: str) -> list[tuple[str, str]]:
    return parse_qsl(urlsplit(address).query, keep_blank_values=True)
