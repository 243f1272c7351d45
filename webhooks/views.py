"""The receiver: 200 only after the event is stored. Nothing here knows what an event means."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from contextlib import closing, nullcontext
from datetime import UTC, datetime
from typing import Any, NoReturn, TypeGuard

from django.conf import settings
from django.db import Error as DatabaseFault
from django.db import IntegrityError, connection, transaction
from django.http import HttpRequest, JsonResponse
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from access.audience import Who, audience
from integrations.errors import ApiError, json_error
from integrations.uploads import Upload
from webhooks import bell, counting
from webhooks.breaker import one_at_a_time_while_unable
from webhooks.models import MOST_AHEAD, GoHighLevelWebhook, Outcome
from webhooks.patience import at_most
from webhooks.signatures import HEADER, RSA_HEADER, Verdict, is_signed, load_keys, verify

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 1_000_000
RETRY_AFTER_S = 60
# The whole answer is to take less than 2 s, whatever the database does.
MOST_WAIT_MS = 1200
# Kept beside the event. A signature is no secret: it fits this body alone.
KEPT_HEADERS = ("Content-Type", "User-Agent", HEADER, RSA_HEADER)
_REFUSED = {Verdict.UNSIGNED: Outcome.UNSIGNED, Verdict.BAD: Outcome.BAD_SIGNATURE}


class BadEvent(Exception):
    """The body is not an event. The text says why."""


@audience(Who.HIGHLEVEL, no_audit="Each event is a record itself.")
@csrf_exempt
@require_POST
def receive(request: HttpRequest) -> JsonResponse:
    """Answer 200 stored or known, 413, 401 bad signature, 400 no event, 403 another app's event,
    429 too slow or could not be stored: the one status that HighLevel is sure to deliver again."""
    began = time.monotonic()
    answer, outcome, kind = _receive(request)
    took_ms = round((time.monotonic() - began) * 1000)
    counting.count(answer.status_code, outcome, kind, took_ms, _address(request))
    return answer


def _receive(request: HttpRequest) -> tuple[JsonResponse, Outcome, str]:
    """The third is the type of an event that we have now."""
    give_up_at = time.monotonic() + settings.WEBHOOK_TIMEOUT_S
    try:
        with closing(Upload(request, MAX_BODY_BYTES, give_up_at)) as upload:
            body = upload.read()
    except ApiError as error:
        answer, outcome = _not_read(error)
        # Whoever signs nothing is not HighLevel, and no part of how it sees us.
        return answer, outcome if is_signed(request.headers) else Outcome.UNSIGNED, ""
    try:
        verdict = verify(body, request.headers, _signing_keys())
    except ValueError as error:  # the operator's, not the sender's
        logger.error("A key of GHL_WEBHOOK_PUBLIC_KEYS cannot be read: %s", error)
        return _again_later(), Outcome.NOT_STORED, ""
    if verdict is not Verdict.GOOD:
        return json_error("signature_refused", 401), _REFUSED[verdict], ""
    try:
        event = read_event(body, timezone.now())
    except BadEvent as error:
        answer = json_error("event_unreadable", 400, details=str(error))
        return answer, Outcome.UNREADABLE, ""
    # All apps share HighLevel's key: a good signature does not say that the event is for us.
    if event.app_id and event.app_id != settings.GHL_APP_ID:
        return json_error("event_of_another_app", 403), Outcome.OTHER_APP, ""
    event.headers = _headers_that_matter(request)
    try:
        is_new = store(event)
    except DatabaseFault as error:
        # No traceback: while the database is away there would be one for each delivery.
        logger.error("Event %s could not be stored: %s", event.webhook_id, type(error).__name__)
        return _again_later(), Outcome.NOT_STORED, ""
    answer = JsonResponse({"received": True, "duplicate": not is_new})
    return answer, Outcome.STORED if is_new else Outcome.DUPLICATE, event.type


def _not_read(error: ApiError) -> tuple[JsonResponse, Outcome]:
    match error.status:
        case 413:
            return json_error("event_too_large", 413), Outcome.TOO_LARGE
        case 408:
            answer = json_error("event_too_slow", 429, retry_after_s=RETRY_AFTER_S)
            return answer, Outcome.TOO_SLOW
        case _:
            return json_error("event_unreadable", 400), Outcome.UNREADABLE


def _again_later() -> JsonResponse:
    return json_error("event_not_stored", 429, retry_after_s=RETRY_AFTER_S)


def read_event(body: bytes, now: datetime) -> GoHighLevelWebhook:
    """Return the unsaved event of a body. Errors: BadEvent.

    The older names of fields and types are read too; nothing but the type is required.
    """
    try:
        text = body.decode()
        data = json.loads(text, parse_constant=_no_json)
    except (ValueError, RecursionError):
        raise BadEvent("The body is not JSON in UTF-8.") from None
    if not isinstance(data, dict):
        raise BadEvent("The body is not a JSON object.")
    return GoHighLevelWebhook(
        webhook_id=_webhook_id(data, body),
        type=_text(data, "type", "event")[:80],
        app_id=_text(data, "appId", "app_id")[:64],
        company_id=_text(data, "companyId", "company_id")[:64],
        location_id=_location_id(data)[:64],
        body=text,
        occurred_at=_occurred_at(data, now),
        received_at=now,
        process_at=now,
    )


def _no_json(name: str) -> NoReturn:
    """NaN and Infinity, which Python would read."""
    raise ValueError(name)


def store(event: GoHighLevelWebhook) -> bool:
    """Keep the event, and ring for the worker; False when it is known already.

    One statement that commits by itself: a transaction around it would cost two more. Only within
    somebody's transaction it has a savepoint, as a refused INSERT would end the whole of that.
    Errors: DatabaseFault, after MOST_WAIT_MS at the latest; at once while it is known to be unable.
    """
    apart = transaction.atomic() if connection.in_atomic_block else nullcontext()
    try:
        with one_at_a_time_while_unable(), apart, at_most(MOST_WAIT_MS):
            event.save(force_insert=True)
    except IntegrityError:
        if not GoHighLevelWebhook.objects.filter(webhook_id=event.webhook_id).exists():
            raise  # not for its id: it is not here
        return False
    bell.ring()
    return True


def _headers_that_matter(request: HttpRequest) -> dict[str, str]:
    told = {name: request.headers.get(name, "") for name in KEPT_HEADERS}
    told["From"] = _address(request)
    return {name: value[:200].replace("\x00", "") for name, value in told.items() if value}


def _address(request: HttpRequest) -> str:
    return str(request.META.get("REMOTE_ADDR") or "")[:45]


def _signing_keys() -> Any:
    rsa = settings.GHL_WEBHOOK_RSA_PUBLIC_KEYS if settings.GHL_WEBHOOK_ACCEPT_RSA else ()
    return load_keys(tuple(settings.GHL_WEBHOOK_PUBLIC_KEYS), tuple(rsa))


def _webhook_id(data: dict[str, Any], body: bytes) -> str:
    given = _text(data, "webhookId", "webhook_id")
    # MariaDB takes no notice of spaces at the end: two ids must not be one there.
    if 0 < len(given) <= 100 and given == given.strip():
        return given
    return "sha256:" + hashlib.sha256(body).hexdigest()


def _location_id(data: dict[str, Any]) -> str:
    """Some events name the location in altId, LocationCreate and LocationUpdate in id."""
    if data.get("altType") == "location":
        return _text(data, "altId")
    if _text(data, "type") in ("LocationCreate", "LocationUpdate"):
        return _text(data, "locationId", "id")
    return _text(data, "locationId", "location_id")


def _occurred_at(data: dict[str, Any], now: datetime) -> datetime:
    try:
        told = parse_datetime(_text(data, "timestamp"))
        if told is None:
            return now
        told = told.astimezone(UTC) if told.tzinfo else told.replace(tzinfo=UTC)
    except (ValueError, OverflowError):  # no such day, or in UTC before the year 1
        return now
    return min(told, now + MOST_AHEAD)


def _text(data: dict[str, Any], *names: str) -> str:
    """Return the first of these fields that is a non-empty text a database can keep."""
    return next((value for value in map(data.get, names) if _is_text(value)), "")


def _is_text(value: object) -> TypeGuard[str]:
    if not isinstance(value, str) or not value or "\x00" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a character, which JSON can spell as \ud83d
        return False
    return True
