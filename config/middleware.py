from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

from django.conf import settings
from django.core.exceptions import MiddlewareNotUsed
from django.http import HttpRequest, HttpResponse


class ProxyMiddleware:
    """Put the client's address into REMOTE_ADDR, as the TLS proxy in front reports it.

    Only the last entry of X-Forwarded-For was written by our own proxy; the ones before it are
    whatever the client sent. Without DJANGO_TRUST_PROXY the header is not believed at all.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        if not settings.TRUST_PROXY:
            raise MiddlewareNotUsed
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        forwarded = _address(request.META.get("HTTP_X_FORWARDED_FOR", "").rpartition(",")[2])
        if forwarded:
            request.META["REMOTE_ADDR"] = forwarded
        return self.get_response(request)


def _address(text: str) -> str | None:
    """Read "192.0.2.7", "192.0.2.7:4711", "2001:db8::7" and "[2001:db8::7]:4711"; else None."""
    text = text.strip()
    for candidate in (text, text.partition("]")[0].removeprefix("["), text.rpartition(":")[0]):
        try:
            return str(ip_address(candidate))
        except ValueError:
            continue
    return None
