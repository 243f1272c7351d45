"""The floor: two bare Django views that read and write the same rows, and check nothing else.

No middleware, no scopes, no limits, no error handling. What the product adds is measured by it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import uuid
from contextlib import suppress
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.utils import timezone

from access.models import ApiKey
from integrations.models import GoHighLevelIntegration, HandOut
from webhooks.models import GoHighLevelWebhook
from webhooks.signatures import load_keys

[SIGNING_KEY] = load_keys(tuple(settings.GHL_WEBHOOK_PUBLIC_KEYS)).ed25519


def get_token(request: HttpRequest, pk: uuid.UUID) -> JsonResponse:
    """The key's row, the install's row, one decryption, the count, JSON."""
    text = request.headers["Authorization"].removeprefix("Bearer ")
    now = timezone.now()
    key = ApiKey.objects.usable(now).filter(prefix=text.split("_", 2)[1]).first()
    digest = hashlib.sha256(text.encode()).hexdigest()
    if key is None or not secrets.compare_digest(key.digest, digest):
        return _answer({"error": "key_refused"}, 401)
    row = GoHighLevelIntegration.objects.get(pk=pk)
    token = row.open_access_token()
    assert row.expires_at
    _count(key, row, request.META["REMOTE_ADDR"], now)
    return _answer(
        {
            "access_token": token,
            "token_type": row.token_type,
            "expires_at": row.expires_at,
            "expires_in": int((row.expires_at - now).total_seconds()),
        }
    )


def _count(key: ApiKey, row: GoHighLevelIntegration, address: str, now: datetime) -> None:
    hour = now.replace(minute=0, second=0, microsecond=0)
    this_hour = HandOut.objects.filter(integration=row, key=key, hour=hour)
    if not this_hour.update(tokens=F("tokens") + 1, last_at=now, last_address=address):
        with suppress(IntegrityError), transaction.atomic():
            HandOut.objects.create(
                integration=row, key=key, hour=hour, tokens=1, first_at=now, last_at=now
            )


def receive(request: HttpRequest) -> JsonResponse:
    """One signature, one insert."""
    SIGNING_KEY.verify(base64.b64decode(request.headers["X-GHL-Signature"]), request.body)
    data, now = json.loads(request.body), timezone.now()
    GoHighLevelWebhook.objects.create(
        webhook_id=data["webhookId"],
        type=data["type"],
        location_id=data["locationId"],
        body=request.body.decode(),
        occurred_at=now,
        received_at=now,
        process_at=now,
    )
    return _answer({"received": True})


def _answer(data: dict[str, Any], status: int = 200) -> JsonResponse:
    response = JsonResponse(data, status=status)
    # Without it the server would send the body in chunks, which is slower.
    response["Content-Length"] = str(len(response.content))
    return response


urlpatterns = [
    path("app/get-token/<uuid:pk>/", get_token),
    path("app/webhook/", receive),
]
