"""POST /app/webhook/ with new, well signed events, against a view that verifies and inserts.

    python -m bench.ingest [--database-url URL]

No worker runs beside it: what is measured is the receiver, up to the committed answer.
"""

from __future__ import annotations

import base64
import json
import sys
import uuid
from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bench.client import request_bytes
from bench.harness import Plan, Result, finish, plan_from_arguments, prepared

GOAL = 0.7
# A contact as HighLevel sends it, about 600 bytes.
CONTACT = {
    "type": "ContactCreate",
    "locationId": "ve9EPM428h8vShlRW1KT",
    "id": "nmFmQEsNgz6AVpgLVUJ0",
    "address1": "3535 1st St N",
    "city": "Birmingham",
    "state": "AL",
    "country": "US",
    "source": "web form",
    "dateAdded": "2026-11-26T12:41:02.193Z",
    "dnd": False,
    "email": "j.deo@mail.example",
    "name": "John Deo",
    "firstName": "John",
    "lastName": "Deo",
    "phone": "+12025550123",
    "postalCode": "35203",
    "tags": ["newsletter", "spring"],
    "website": "https://example.com/",
    "attachments": [],
    "customFields": [{"id": "BcdmQEsNgz6AVpgLVUJ0", "value": "XYZ Corp"}],
    "timestamp": "2026-11-26T12:41:02.201Z",
}


def measure(plan: Plan) -> Result:
    key = Ed25519PrivateKey.generate()
    with prepared(plan, GHL_WEBHOOK_PUBLIC_KEYS=public_key(key)) as bench:

        def requests(count: int) -> Sequence[bytes]:
            return [_delivery(key) for _ in range(count)]

        return bench.compare("ingest", requests, plan, goal=GOAL)


def public_key(key: Ed25519PrivateKey) -> str:
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(public).decode()


def delivery_parts(key: Ed25519PrivateKey) -> tuple[dict[str, str], bytes]:
    """Return headers and body of a new, well signed event."""
    body = json.dumps(CONTACT | {"webhookId": str(uuid.uuid4())}).encode()
    signature = base64.b64encode(key.sign(body)).decode()
    return {"Content-Type": "application/json", "X-GHL-Signature": signature}, body


def _delivery(key: Ed25519PrivateKey) -> bytes:
    headers, body = delivery_parts(key)
    return request_bytes("POST", "/app/webhook/", headers, body)


if __name__ == "__main__":
    sys.exit(finish(measure(plan_from_arguments("Events received per second."))))
