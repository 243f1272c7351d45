"""The receiver answers as docs/webhooks.md says, whatever is made up from its description.

It is in no OpenAPI description of ours: nobody with a key calls it, and HighLevel reads none.
SCHEMA_EXAMPLES=1000 for the long run.
"""

from __future__ import annotations

from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import given
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.core.transport import Response

from integrations.tests.test_api_schema import MADE_UP
from webhooks.models import GoHighLevelWebhook
from webhooks.tests.conftest import WEBHOOK
from webhooks.tests.test_receiver import APP_ID, EVENT_TYPES

pytestmark = [pytest.mark.one_database, pytest.mark.django_db(transaction=True)]


def rather(**schema: Any) -> dict[str, Any]:
    """Such a value, or any other: no object is refused for what is in it, but for its appId."""
    return {"anyOf": [schema, {}]}


EVENT = {
    "type": "object",
    "properties": {
        "type": rather(enum=EVENT_TYPES),
        "appId": rather(enum=[APP_ID, "0123456789abcdef01234567"]),
        "webhookId": rather(type="string", format="uuid"),
        "timestamp": rather(type="string", format="date-time"),
        "locationId": rather(type="string"),
        "companyId": rather(type="string"),
    },
}
RECEIVED = {
    "type": "object",
    "required": ["received", "duplicate"],
    "properties": {"received": {"const": True}, "duplicate": {"type": "boolean"}},
}
ERROR = {
    "type": "object",
    "required": ["error", "details", "who_acts", "retry_after", "help_url"],
    "properties": {"error": {"type": "string"}, "who_acts": {"type": "string"}},
}


def answer(schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": "", "content": {"application/json": {"schema": schema}}}


DESCRIPTION = {
    "openapi": "3.1.0",
    "info": {"title": "The receiver", "version": "1"},
    "paths": {
        WEBHOOK: {
            "post": {
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": EVENT}},
                },
                "responses": {"200": answer(RECEIVED)}
                | {status: answer(ERROR) for status in ("400", "401", "403", "413")},
            }
        }
    },
}


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_made_up_deliveries_are_answered_as_described(live_server, world, mode):
    schema = schemathesis.openapi.from_dict(DESCRIPTION)
    schema.config.update(base_url=live_server.url)

    @given(
        case=schema[WEBHOOK]["post"].as_strategy(generation_mode=mode),
        signed=st.sampled_from(["ed25519", "ed25519", "none", "bad"]),
    )
    @MADE_UP
    def deliver(case: schemathesis.Case, signed: str) -> None:
        GoHighLevelWebhook.objects.all().delete()
        call = case.as_transport_kwargs()
        call.pop("timeout", None)
        request = requests.Request(**call).prepare()
        _body, signature = world.signer.signed(as_bytes(request.body), signed)
        request.headers.update(signature)
        told = requests.Session().send(request, timeout=30)
        case.validate_response(Response.from_requests(told, verify=False))
        assert told.status_code in ((200, 400, 403) if signed == "ed25519" else (401,))
        assert GoHighLevelWebhook.objects.count() == (told.status_code == 200)

    deliver()


def as_bytes(body: bytes | str | None) -> bytes:
    return body.encode() if isinstance(body, str) else body or b""
