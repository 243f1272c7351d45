"""One event to one endpoint: signed by the Standard Webhooks scheme, sent once. No database.

Source: standardwebhooks.com, specification of 2023-12: headers webhook-id, webhook-timestamp and
webhook-signature; several signatures, separated by a space, while a secret is being changed.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime

import requests
from django.utils import timezone
from standardwebhooks import Webhook
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NameResolutionError,
    NewConnectionError,
    SSLError,
)

from webhooks.guarded_http import AddressRefused, BadUrl, Cut, check_url, make_session

THREADS = 32
CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 10.0
# For everything from the look-up on, however slowly the other side dribbles.
AT_MOST_S = 15.0
ANSWER_CHARACTERS = 500
# No longer than a day: whoever asks for more is asked again.
MOST_RETRY_AFTER_S = 86_400.0

_SESSION = make_session(connections=THREADS)
_UNSHOWABLE = re.compile(r"[^\x20-\x7e\n\u00a0-\ud7ff\ue000-\uffff]")


@dataclass(frozen=True)
class Message:
    """What is sent. `body`: as HighLevel sent it."""

    delivery_id: int
    message_id: str
    url: str
    body: str
    signers: tuple[Webhook, ...]


@dataclass(frozen=True)
class Answer:
    """What came of it. `error`: what went wrong, in words for staff; empty when it arrived."""

    at: datetime
    took_ms: int
    http_status: int | None = None
    error: str = ""
    text: str = ""
    retry_after_s: float | None = None

    @property
    def is_good(self) -> bool:
        return not self.error

    @property
    def is_gone(self) -> bool:
        return self.http_status == 410


def send(message: Message) -> Answer:
    """Post the message once. It never raises for what the other side does."""
    at, began = timezone.now(), time.monotonic()

    def answer(**told: object) -> Answer:
        took_ms = round((time.monotonic() - began) * 1000)
        return Answer(at=at, took_ms=took_ms, **told)  # type: ignore[arg-type]

    too_slow = f"No complete answer within {AT_MOST_S:.0f} seconds."
    with Cut(AT_MOST_S) as cut:
        try:
            check_url(message.url)
            with _post(message, at) as response:
                text = _beginning(response)
        except (requests.RequestException, HTTPError, AddressRefused, OSError, ValueError) as error:
            return answer(error=too_slow if cut.is_made else explain(error))
    if cut.is_made:  # headers that were broken off look like all of them
        return answer(http_status=response.status_code, error=too_slow)
    status = response.status_code
    return answer(
        http_status=status,
        error=_judge(response),
        text=text,
        retry_after_s=_retry_after_s(response, at) if status in (429, 503) else None,
    )


def headers_for(message: Message, at: datetime) -> dict[str, str]:
    signatures = [signer.sign(message.message_id, at, message.body) for signer in message.signers]
    return {
        "Content-Type": "application/json",
        "User-Agent": "WhatReach",
        # What is read of the answer is read as it comes: nothing can unfold to gigabytes.
        "Accept-Encoding": "identity",
        "webhook-id": message.message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def explain(error: BaseException) -> str:
    """Say in a sentence why nothing came back."""
    causes = list(_chain(error))

    def is_any(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in causes)

    for cause in causes:
        if isinstance(cause, AddressRefused | BadUrl):
            return str(cause)
    if is_any(NameResolutionError):
        return "There is no host of this name."
    if is_any(SSLError, requests.exceptions.SSLError):
        return "No secure connection: its certificate is missing, expired or not trusted."
    if is_any(NewConnectionError):  # before ConnectTimeoutError, which is its parent
        return "Nobody listens at this address."
    if is_any(ConnectTimeoutError, requests.ConnectTimeout):
        return f"It could not be reached within {CONNECT_TIMEOUT_S:.0f} seconds."
    if is_any(requests.Timeout, TimeoutError):
        return f"No answer within {READ_TIMEOUT_S:.0f} seconds."
    return "The connection broke off before an answer came."


def _post(message: Message, at: datetime) -> requests.Response:
    return _SESSION.post(
        message.url,
        data=message.body.encode(),
        headers=headers_for(message, at),
        timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S),
        allow_redirects=False,
        stream=True,
    )


def _beginning(response: requests.Response) -> str:
    """Return the first characters of the answer. When it is longer the connection is given up."""
    raw = response.raw.read(ANSWER_CHARACTERS * 4, decode_content=False)
    text = _UNSHOWABLE.sub(" ", raw.decode(errors="replace"))
    if len(raw) == ANSWER_CHARACTERS * 4:
        response.raw.close()
    return text.strip()[:ANSWER_CHARACTERS]


def _judge(response: requests.Response) -> str:
    status = response.status_code
    if 200 <= status < 300:
        return ""
    if 300 <= status < 400:
        return f"It sends us to another address ({status}); redirects are not followed."
    if status == 410:
        return "It says that it is gone for good (410)."
    if status in (429, 503):
        return f"It asks us to wait ({status})."
    return f"It refused the event ({status})." if status < 500 else f"It had a fault ({status})."


def _retry_after_s(response: requests.Response, now: datetime) -> float | None:
    """Return the wait asked for, in seconds or as a date."""
    told = response.headers.get("Retry-After", "").strip()
    if not told:
        return None
    seconds: float | None = None
    with suppress(ValueError, TypeError):
        seconds = float(told)
    if seconds is None:
        with suppress(ValueError, TypeError, OverflowError):
            seconds = (parsedate_to_datetime(told) - now).total_seconds()
    if seconds is None or not 0 < seconds < float("inf"):
        return None
    return min(seconds, MOST_RETRY_AFTER_S)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error, what it wraps and what it came from."""
    seen: set[int] = set()
    todo: list[object] = [error]
    while todo:
        found = todo.pop(0)
        if isinstance(found, BaseException) and id(found) not in seen:
            seen.add(id(found))
            yield found
            reason = getattr(found, "reason", None)  # a text in errors of ssl
            todo += [*found.args, reason, found.__cause__, found.__context__]
