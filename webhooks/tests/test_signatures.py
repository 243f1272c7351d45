from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from webhooks.models import GoHighLevelWebhook
from webhooks.signatures import Verdict, load_keys, verify

pytestmark = pytest.mark.django_db

HIGHLEVEL_KEY = "MCowBQYDK2VwAyEAi2HR1srL4o18O8BRa7gVJY7G7bupbN3H9AwJrHCDiOg="
# The first key of RFC 8032, 7.1: anyone can make this signature again.
RFC_SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
RFC_KEY = "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
VECTOR_APP = "6aabd562fdb2a17e6120d3ce"
VECTOR_BODY = (
    b'{"type":"UNINSTALL","appId":"6aabd562fdb2a17e6120d3ce",'
    b'"versionId":"6aabd562fdb2a17e6120d3ce","locationId":"YpZUCDPCffMDeYhgb4rL",'
    b'"timestamp":"2026-09-22T14:35:55.549Z","webhookId":"31c72437-bcc2-4c9e-bf0d-55910b229dc0"}'
)
VECTOR_SIGNATURE = (
    "6jbEQGkuvIbA473dvCkjkKJ7Mm2jp7CVW6+k5ZvAI+XZmrRqot2jaHSqewkd+475Cf56v2ms2hX0ko6SW8HRAg=="
)


def receive(client, body, **headers):
    return client.post("/app/webhook/", body, content_type="application/json", headers=headers)


def nothing_stored():
    return not GoHighLevelWebhook.objects.exists()


def test_the_published_vector_is_accepted_with_its_own_key(client, settings):
    settings.GHL_WEBHOOK_PUBLIC_KEYS, settings.GHL_APP_ID = [RFC_KEY], VECTOR_APP
    answer = receive(client, VECTOR_BODY, X_GHL_Signature=VECTOR_SIGNATURE)
    assert (answer.status_code, answer.json()) == (200, {"received": True, "duplicate": False})
    event = GoHighLevelWebhook.objects.get()
    assert event.body.encode() == VECTOR_BODY
    assert len(VECTOR_BODY) == 220


def test_a_key_may_be_given_by_its_bare_bytes(client, settings):
    bare = base64.b64decode(RFC_KEY)[-32:]
    settings.GHL_WEBHOOK_PUBLIC_KEYS = [base64.b64encode(bare).decode()]
    settings.GHL_APP_ID = VECTOR_APP
    assert receive(client, VECTOR_BODY, X_GHL_Signature=VECTOR_SIGNATURE).status_code == 200


def test_the_vector_is_refused_with_highlevels_key(client, settings):
    settings.GHL_WEBHOOK_PUBLIC_KEYS, settings.GHL_APP_ID = [HIGHLEVEL_KEY], VECTOR_APP
    assert receive(client, VECTOR_BODY, X_GHL_Signature=VECTOR_SIGNATURE).status_code == 401
    assert nothing_stored()


def test_without_settings_highlevels_published_key_decides(settings):
    assert settings.GHL_WEBHOOK_PUBLIC_KEYS == [HIGHLEVEL_KEY]
    assert settings.GHL_WEBHOOK_ACCEPT_RSA is False


def test_each_key_of_the_list_is_tried(client, settings):
    settings.GHL_WEBHOOK_PUBLIC_KEYS, settings.GHL_APP_ID = [HIGHLEVEL_KEY, RFC_KEY], VECTOR_APP
    assert receive(client, VECTOR_BODY, X_GHL_Signature=VECTOR_SIGNATURE).status_code == 200


@pytest.mark.parametrize(
    "mode", ["tampered", "reserialised", "n/a", "none", "bad", "wrong_key", "rsa"]
)
def test_a_delivery_without_a_good_signature_is_refused(world, send, mode):
    world.create_agency(locations=1)
    world.send_event("ContactCreate", signature=mode)
    assert [delivery.status for delivery in world.deliver(send)] == [401]
    assert nothing_stored()


@pytest.mark.parametrize(
    "signature",
    [
        "",
        " ",
        "N/A",
        "n/a",
        "not base64!",
        "QUJD",
        "ü" * 88,
        VECTOR_SIGNATURE[:-4],
        f"{VECTOR_SIGNATURE},{VECTOR_SIGNATURE}",  # how a server joins a header that came twice
        VECTOR_SIGNATURE.replace("/", "_").replace("+", "-"),
    ],
)
def test_a_malformed_signature_is_refused(client, settings, signature):
    settings.GHL_WEBHOOK_PUBLIC_KEYS, settings.GHL_APP_ID = [RFC_KEY], VECTOR_APP
    answer = receive(client, VECTOR_BODY, X_GHL_Signature=signature)
    assert answer.status_code == 401
    assert answer.json()["error"] == "signature_refused"
    assert nothing_stored()


def test_one_changed_byte_is_refused(client, settings):
    settings.GHL_WEBHOOK_PUBLIC_KEYS, settings.GHL_APP_ID = [RFC_KEY], VECTOR_APP
    for position in range(0, len(VECTOR_BODY), 20):
        body = bytearray(VECTOR_BODY)
        body[position] ^= 1
        answer = receive(client, bytes(body), X_GHL_Signature=VECTOR_SIGNATURE)
        assert answer.status_code == 401
    assert receive(client, VECTOR_BODY + b"\n", X_GHL_Signature=VECTOR_SIGNATURE).status_code == 401


@pytest.mark.parametrize(("switched_on", "status"), [(True, 200), (False, 401)])
def test_the_retired_rsa_signature_counts_only_when_switched_on(
    world, send, settings, switched_on, status
):
    settings.GHL_WEBHOOK_RSA_PUBLIC_KEYS = [world.signer.rsa_public_key()]
    settings.GHL_WEBHOOK_ACCEPT_RSA = switched_on
    world.create_agency(locations=1)
    world.send_event("ContactCreate", signature="rsa")
    assert [delivery.status for delivery in world.deliver(send)] == [status]


@pytest.mark.parametrize("ed25519", [VECTOR_SIGNATURE, "N/A", ""])
def test_a_good_rsa_signature_never_makes_up_for_the_present_header(
    world, client, settings, ed25519
):
    settings.GHL_WEBHOOK_RSA_PUBLIC_KEYS = [world.signer.rsa_public_key()]
    settings.GHL_WEBHOOK_ACCEPT_RSA = True
    body, headers = world.signer.signed(b'{"type":"ContactCreate"}', "rsa")
    answer = receive(client, body, **headers, **{"X-GHL-Signature": ed25519})
    assert answer.status_code == 401
    assert nothing_stored()


def test_with_both_good_signatures_it_is_accepted(world, send, settings):
    settings.GHL_WEBHOOK_ACCEPT_RSA = True
    world.create_agency(locations=1)
    world.send_event("ContactCreate", signature="both")
    assert [delivery.status for delivery in world.deliver(send)] == [200]


def test_keys_are_read_as_pem_and_as_its_base64_body():
    pem = f"-----BEGIN PUBLIC KEY-----\n{RFC_KEY}\n-----END PUBLIC KEY-----\n"
    signature = base64.b64encode(Ed25519PrivateKey.from_private_bytes(RFC_SEED).sign(b"body"))
    for text in (RFC_KEY, pem, pem.replace("\n", "\\n")):
        keys = load_keys((text,))
        assert verify(b"body", {"X-GHL-Signature": signature.decode()}, keys) is Verdict.GOOD


def test_a_key_of_the_wrong_kind_is_named_at_once():
    with pytest.raises(ValueError, match="Ed25519PublicKey"):
        load_keys((_rsa_key(),))
    with pytest.raises(ValueError, match="RSAPublicKey"):
        load_keys((), (RFC_KEY,))


def _rsa_key() -> str:
    from config.settings import GHL_WEBHOOK_RSA_PUBLIC_KEYS

    return GHL_WEBHOOK_RSA_PUBLIC_KEYS[0]
