"""Where events may be sent: not into the operator's own network, whatever a name resolves to.

The name is resolved when the connection is made, each of its addresses is checked, and the
connection goes to a checked address. There is no second look-up that could answer otherwise.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from http.cookiejar import DefaultCookiePolicy
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any
from urllib.parse import urlsplit

import requests
from django.conf import settings
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

MOST_ADDRESSES = 3
_NEVER = (
    IPv4Network("224.0.0.0/4"),
    # Python older than 3.11.9 has only parts of it; Oracle's metadata service is in there.
    IPv4Network("192.0.0.0/24"),
    # Azure's machines reach their platform's agent, secrets included, at this public address.
    IPv4Network("168.63.129.16/32"),
)
# What translates to an IPv4 address: the last 32 bits are that address.
_TRANSLATED = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))
_GLOBAL_UNICAST = IPv6Network("2000::/3")

IpAddress = IPv4Address | IPv6Address


class AddressRefused(Exception):
    """Events may not be sent there. The text says why."""


class BadUrl(ValueError):
    """Not an address that events can be sent to. The text says why."""


def is_public(address: IpAddress) -> bool:
    """Whether an address is on the public internet: not private, loopback, link-local, shared
    (CGNAT), multicast, reserved, or a cloud's metadata service, in whatever form it is written."""
    if isinstance(address, IPv6Address):
        if any(address in network for network in _TRANSLATED):
            return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
        # 6to4 carries an IPv4 address that nobody here would check.
        return address in _GLOBAL_UNICAST and address.is_global and address.sixtofour is None
    return address.is_global and not any(address in network for network in _NEVER)


def check_url(url: str) -> None:
    """Errors: BadUrl, for what can be told without asking the network."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise BadUrl("This is not an address.") from None
    private = settings.FORWARD_ALLOW_PRIVATE_ADDRESSES
    if parts.scheme not in ("https", "http") or not parts.hostname or port == 0:
        raise BadUrl("Give a whole address, as https://back-end.example.com/events.")
    if parts.scheme == "http" and not private:
        raise BadUrl("Events hold personal data: only https:// addresses are allowed.")
    if parts.username is not None or parts.password is not None:
        raise BadUrl("Leave out name and password: the signature says who sends.")
    if parts.fragment:
        raise BadUrl("Leave out what follows the #: it is never sent.")
    if not url.isascii() or any(character.isspace() for character in url):
        raise BadUrl("Write the address without spaces, and in ASCII.")
    if not private and (_is_private_literal(parts.hostname) or _is_local_name(parts.hostname)):
        raise BadUrl(
            "This address is in a private network. Whoever runs WhatReach can allow that with "
            "FORWARD_ALLOW_PRIVATE_ADDRESSES."
        )


def make_session(*, connections: int) -> requests.Session:
    """Return a session whose every connection goes to a checked address, or fails with
    `AddressRefused` somewhere in its chain of errors. Nothing from the environment counts: a proxy
    would look the name up itself."""
    session = requests.Session()
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    adapter = GuardedAdapter(pool_connections=connections, pool_maxsize=connections)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


class Cut:
    """Breaks off the connection that its thread is using. `socket.shutdown` ends whatever waits
    for it, the handshake, the headers or the body: time-outs of single reads bound none of them."""

    _of_thread = threading.local()

    def __init__(self, after_s: float) -> None:
        self.is_made = False
        self._handle: socket.socket | None = None
        self._timer = threading.Timer(after_s, self._break_off)
        self._timer.daemon = True

    def __enter__(self) -> Cut:
        Cut._of_thread.value = self
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        Cut._of_thread.value = None

    def _break_off(self) -> None:
        self.is_made = True
        if self._handle is not None:
            with suppress(OSError):
                self._handle.shutdown(socket.SHUT_RDWR)

    @classmethod
    def watch(cls, handle: socket.socket) -> None:
        cut: Cut | None = getattr(cls._of_thread, "value", None)
        if cut is not None:
            cut._handle = handle
            if cut.is_made:
                cut._break_off()


class _Guarded(HTTPConnection):
    _handle: socket.socket | None = None

    def _new_conn(self) -> socket.socket:
        sock = self._connect(self._checked())
        # TLS takes the socket over; the copy stays good for breaking the connection off.
        self._handle = sock.dup()
        Cut.watch(self._handle)
        return sock

    def request(self, *args: Any, **options: Any) -> None:
        if self._handle is not None:
            Cut.watch(self._handle)
        super().request(*args, **options)

    def close(self) -> None:
        super().close()
        if self._handle is not None:
            self._handle.close()
            self._handle = None

    def _checked(self) -> list[tuple[Any, ...]]:
        try:
            found = socket.getaddrinfo(self._dns_host, self.port, type=socket.SOCK_STREAM)
        except (socket.gaierror, UnicodeError) as error:
            failure = error if isinstance(error, socket.gaierror) else socket.gaierror(str(error))
            raise NameResolutionError(self.host, self, failure) from error
        public = [entry for entry in found if is_public(ip_address(_bare(entry[4][0])))]
        if not settings.FORWARD_ALLOW_PRIVATE_ADDRESSES:
            if not public:
                raise AddressRefused("It leads into a private network, which is not allowed.")
            return public
        if public and not isinstance(self, HTTPSConnection):
            raise AddressRefused("It is not in a private network: use https, which is encrypted.")
        return found

    def _connect(self, addresses: list[tuple[Any, ...]]) -> socket.socket:
        failure: OSError = OSError("no address")
        for family, kind, protocol, _name, target in addresses[:MOST_ADDRESSES]:
            sock = socket.socket(family, kind, protocol)
            try:
                for option in self.socket_options or ():
                    sock.setsockopt(*option)
                sock.settimeout(self.timeout)
                sock.connect(target)
                return sock
            except OSError as error:
                sock.close()
                failure = error
        if isinstance(failure, TimeoutError):
            raise ConnectTimeoutError(self, "timed out") from failure
        raise NewConnectionError(self, str(failure)) from failure


class _GuardedTls(_Guarded, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Guarded


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _GuardedTls


class GuardedAdapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        manager: PoolManager = self.poolmanager
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}


def _is_private_literal(host: str) -> bool:
    try:
        return not is_public(ip_address(_bare(host)))
    except ValueError:
        return False


def _is_local_name(host: str) -> bool:
    name = host.rstrip(".").lower()
    return "." not in name and ":" not in name or name.endswith((".localhost", ".local"))


def _bare(address: Any) -> str:
    """Leave out the interface of a link-local address: "fe80::1%eth0"."""
    return str(address).partition("%")[0]
