"""`/app/api/{id}/{path}`: a caller's HTTP call to HighLevel, with the install's token put in.

The caller names a path, never a host; what goes out is built anew from allowed parts, so that no
cookie, key or routing header of the caller leaves, and nothing that hands tokens out is reachable.
"""

from __future__ import annotations

import errno
import logging
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import requests
from django.conf import settings
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods
from urllib3.exceptions import HTTPError

from access.audience import Who, audience
from access.models import Scope
from integrations import handouts, highlevel
from integrations.errors import ApiError, answer
from integrations.middleware import FreshTokenRequest, needs_fresh_token
from integrations.refresh import CALL_S, refresh_integration
from integrations.tokens import AccessToken, get_access_token
from integrations.uploads import CHUNK_BYTES, Upload

logger = logging.getLogger(__name__)

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
# A body up to this size is kept, so that the call can be repeated with a new token.
REPEAT_BYTES = 1_000_000
# HighLevel's refusals are short.
REFUSAL_BYTES = 65_536
RETRY_AFTER_S = 5
# The token is new already.
SEND_AGAIN_S = 1
# A token that was renewed so lately and is refused will not get better by another renewal.
JUST_RENEWED = timedelta(minutes=1)

_PASSED_ON = (
    "Accept",
    "Accept-Language",
    "Channel",
    "Content-Encoding",
    "Content-Language",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "If-Modified-Since",
    "If-None-Match",
    "If-Unmodified-Since",
    "Range",
    "Source",
    "User-Agent",
    "Version",
)
# Hop by hop, or about HighLevel's own site rather than the answer.
_NOT_PASSED_BACK = {
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "access-control-max-age",
    "alt-svc",
    "connection",
    "content-security-policy",
    "date",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "server",
    "set-cookie",
    "set-cookie2",
    "strict-transport-security",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-frame-options",
}


@csrf_exempt  # only keys get in, which no browser sends by itself
@audience(Who.KEY, needs=Scope.PROXY, no_audit="It is counted by key, install and hour as a call.")
@needs_fresh_token(Scope.PROXY)
@require_http_methods(METHODS)
def proxy(request: FreshTokenRequest, pk: uuid.UUID, path: str) -> HttpResponse:
    """Pass the call on and its answer back, both as streams."""
    give_up_at = time.monotonic() + settings.PROXY_TIMEOUT_S
    try:
        url = _url(path, request.META.get("QUERY_STRING", ""))
        with closing(Upload(request, settings.PROXY_MAX_BODY_BYTES, give_up_at)) as upload:
            if upload.in_chunks:
                raise ApiError("length_required", 411)
            body = upload if len(upload) > REPEAT_BYTES else upload.read()
            call = _Call(request.method or "", url, _headers(request), body, give_up_at)
            if request.auth.key is not None:
                handouts.count(request.auth.key, pk, request.auth.address, passed_on=True)
            response = call.send(request.access_token)
        if response.status_code != 401:
            return _passed_back(response, give_up_at)
        return _after_401(response, call, request, pk)
    except ApiError as error:
        return answer(error)


@dataclass(frozen=True)
class _Call:
    """One call to HighLevel. `give_up_at`: on the monotonic clock."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes | Upload
    give_up_at: float

    @property
    def can_repeat(self) -> bool:
        return isinstance(self.body, bytes)

    def send(self, token: AccessToken) -> requests.Response:
        """Errors: ApiError 502, 504; 400 and 408 of the body."""
        left_s = max(1.0, self.give_up_at - time.monotonic())
        try:
            return highlevel.SESSION.request(
                self.method,
                self.url,
                headers=self.headers | {"Authorization": f"Bearer {token.access_token}"},
                data=self.body or None,
                timeout=(highlevel.CONNECT_TIMEOUT_S, left_s),
                allow_redirects=False,
                stream=True,
            )
        except requests.ConnectTimeout:
            raise ApiError("not_reached", 502, retry_after_s=RETRY_AFTER_S) from None
        except (requests.Timeout, TimeoutError):
            raise ApiError("no_answer", 504) from None
        except requests.ConnectionError:
            raise ApiError("no_answer", 502) from None
        except requests.RequestException as error:
            logger.warning("A call could not be passed on: %s", type(error).__name__)
            raise ApiError("address_refused", 403) from None


# --- Out ---


def _url(path: str, query: str) -> str:
    """Return where the call goes: always HighLevel's host. Errors: ApiError 403.

    `path` is decoded once. A percent sign that is left may be a second coding of something else.
    """
    segments = path.split("/")
    inner = segments[:-1] if segments[-1] == "" else segments
    is_plain = path.isprintable() and not set("%\\") & set(path)
    if not is_plain or any(segment in ("", ".", "..") for segment in inner):
        raise ApiError("address_refused", 403)
    if not (query.isascii() and query.isprintable()) or _gives_tokens_or_ends(inner):
        raise ApiError("address_refused", 403)
    coded = "/".join(quote(segment, safe="@:+,=!$'()*~") for segment in segments)
    base = settings.GHL_API_BASE_URL.rstrip("/")
    return f"{base}/{coded}?{query}" if query else f"{base}/{coded}"


def _gives_tokens_or_ends(segments: list[str]) -> bool:
    """Whether it is an address of /oauth/ in any version of the API, or the one that removes the
    app from an account."""
    names = [segment.partition(";")[0].strip().lower() for segment in segments]
    return "oauth" in names or {"marketplace", "installations"} <= set(names)


def _headers(request: HttpRequest) -> dict[str, str]:
    passed_on = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
    # As it is: what is decoded for nobody need not be packed either.
    return {
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": "WhatReach",
        "Version": settings.GHL_API_VERSION,
        **highlevel.request_id_header(),
    } | passed_on


# --- Back ---


def _passed_back(response: requests.Response, give_up_at: float) -> HttpResponse:
    """Errors: ApiError 502 when the answer is larger than what is passed on."""
    if (response.raw.length_remaining or 0) > settings.PROXY_MAX_BODY_BYTES:
        response.close()
        raise ApiError("answer_too_large", 502)
    return _answered(response, StreamingHttpResponse(_Body(response, give_up_at)))


def _answered(response: requests.Response, back: Any) -> Any:
    """Give `back` HighLevel's status and headers."""
    back.status_code = response.status_code
    connection = response.headers.get("Connection", "").lower()
    dropped = _NOT_PASSED_BACK | {name.strip() for name in connection.split(",")}
    del back["Content-Type"]
    for name, value in response.headers.items():
        if name.lower() not in dropped and value.isprintable():
            back[name] = value
    back.setdefault("Cache-Control", "no-store")
    return back


class _Body:
    """The body as it comes. One that is too long or too late is cut off, which the caller sees by
    its length or its missing end. The web server calls `close`, also when nobody reads it."""

    def __init__(self, response: requests.Response, give_up_at: float) -> None:
        self._response = response
        self._give_up_at = give_up_at

    def __iter__(self) -> Iterator[bytes]:
        passed_on = 0
        try:
            while chunk := self._response.raw.read1(CHUNK_BYTES, decode_content=False):
                passed_on += len(chunk)
                if passed_on > settings.PROXY_MAX_BODY_BYTES or self._is_late():
                    raise _cut_off("too long or too late")
                yield chunk
        except HTTPError as error:
            raise _cut_off(type(error).__name__) from None

    def close(self) -> None:
        self._response.close()

    def _is_late(self) -> bool:
        return time.monotonic() > self._give_up_at


def _cut_off(why: str) -> OSError:
    """What makes the web server close the caller's connection without a traceback in the log."""
    logger.warning("An answer was cut off: %s", why)
    return ConnectionResetError(errno.ECONNRESET, why)


def _after_401(
    refusal: requests.Response, call: _Call, request: FreshTokenRequest, pk: uuid.UUID
) -> HttpResponse:
    """Renew once and repeat once when HighLevel says that the token is bad; any other 401 (a scope
    that is missing, say) is passed back. Errors: ApiError 503 when the body was not kept."""
    try:
        body = refusal.raw.read(REFUSAL_BYTES, decode_content=True) or b""
    except HTTPError:
        raise ApiError("no_answer", 502) from None
    finally:
        refusal.close()
    refused = _answered(refusal, HttpResponse(body))
    for name in ("Content-Encoding", "Content-Length"):
        del refused[name]
    if not highlevel.says_token_is_bad(body.decode(errors="replace")):
        return refused
    token = _renewed(request, pk)
    if token is None:
        return refused
    if not call.can_repeat:
        raise ApiError("send_again", 503, retry_after_s=SEND_AGAIN_S)
    return _passed_back(call.send(token), call.give_up_at)


def _renewed(request: FreshTokenRequest, pk: uuid.UUID) -> AccessToken | None:
    """Return a newer token than the request's; None when there is none. Errors: NoToken."""
    token = request.access_token
    if token.renewed_at is not None and timezone.now() - token.renewed_at < JUST_RENEWED:
        return None
    refresh_integration(
        pk,
        trigger="rejected",
        caller=request.auth.name,
        seen_generation=token.generation,
        wait_s=CALL_S,
    )
    newer = get_access_token(pk, min_valid_for=timedelta(), caller=request.auth.name)
    return newer if newer.generation != token.generation else None
