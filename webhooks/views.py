"""The receiver: 200 only after the event is stored. Nothing here knows what an event means."""

from __future__ import annotations

import hashlib
import json
import logging
from datetime import UTC, datetime
from typing import Any, TypeGuard

from django.conf import settings
from django.db import Error as DatabaseFault
from django.db import IntegrityError
from django.http import HttpRequest, JsonResponse
from django.http.request import RawPostDataException, UnreadablePostError
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from integrations.errors import json_error
from webhooks import bell
from webhooks.models import MOST_AHEAD, GoHighLevelWebhook
from webhooks.signatures import Verdict, load_keys, verify

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 1_000_000
RETRY_AFTER_S = 60


class BadEvent(Exception):
    """The body is not an event. The text says why."""


@csrf_exempt
@require_POST
def receive(request: HttpRequest) -> JsonResponse:
    """Answer 200 stored or known, 413, 401 bad signature, 400 no event, 403 another app's event,
    429 could not be stored: the one status that HighLevel is sure to deliver again."""
    try:
        if int(request.META.get("CONTENT_LENGTH") or 0) > MAX_BODY_BYTES:
            return json_error("event_too_large", 413)
        body = request.body
    except (ValueError, UnreadablePostError, RawPostDataException):
        return json_error("event_unreadable", 400)
    if verify(body, request.headers, _signing_keys()) is not Verdict.GOOD:
        return json_error("signature_refused", 401)
    try:
        event = read_event(body, timezone.now())
    except BadEvent as error:
        return json_error("event_unreadable", 400, details=str(error))
    # All apps share HighLevel's key: a good signature does not say that the event is for us.
    if event.app_id and event.app_id != settings.GHL_APP_ID:
        return json_error("event_of_another_app", 403)
    try:
        is_new = store(event)
    except DatabaseFault:
        logger.exception("Event %s could not be stored", event.webhook_id)
        return json_error("event_not_stored", 429, retry_after_s=RETRY_AFTER_S)
    return JsonResponse({"received": True, "duplicate": not is_new})


def read_event(body: bytes, now: datetime) -> GoHighLevelWebhook:
    """Return the unsaved event of a body. Errors: BadEvent.

    The older names of fields and types are read too; nothing but the type is required.
    """
    try:
        text = body.decode()
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise BadEvent("The body is not JSON in UTF-8.") from None
    if not isinstance(data, dict):
        raise BadEvent("The body is not a JSON object.")
    if "\x00" in text or "\\u0000" in text:
        raise BadEvent("The body has a NUL character, which no database here can keep.")
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


def store(event: GoHighLevelWebhook) -> bool:
    """Keep the event, and ring for the worker; False when it is known already.

    One statement that commits by itself: a transaction around it would cost two more.
    """
    try:
        event.save(force_insert=True)
    except IntegrityError:
        return False
    bell.ring()
    return True


def _signing_keys() -> Any:
    rsa = settings.GHL_WEBHOOK_RSA_PUBLIC_KEYS if settings.GHL_WEBHOOK_ACCEPT_RSA else ()
    return load_keys(tuple(settings.GHL_WEBHOOK_PUBLIC_KEYS), tuple(rsa))


def _webhook_id(data: dict[str, Any], body: bytes) -> str:
    given = _text(data, "webhookId", "webhook_id")
    return given if 0 < len(given) <= 100 else "sha256:" + hashlib.sha256(body).hexdigest()


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
    if not isinstance(value, str) or not value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a character, which JSON can spell as \ud83d
        return False
    return True
