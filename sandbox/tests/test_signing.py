from __future__ import annotations

import base64
import json

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from sandbox.world import World

pytestmark = pytest.mark.one_database

SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC_KEY = "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
BODY = (
    b'{"type":"UNINSTALL","appId":"6aabd562fdb2a17e6120d3ce",'
    b'"versionId":"6aabd562fdb2a17e6120d3ce","locationId":"YpZUCDPCffMDeYhgb4rL",'
    b'"timestamp":"2026-09-22T14:35:55.549Z","webhookId":"31c72437-bcc2-4c9e-bf0d-55910b229dc0"}'
)
SIGNATURE = (
    "6jbEQGkuvIbA473dvCkjkKJ7Mm2jp7CVW6+k5ZvAI+XZmrRqot2jaHSqewkd+475Cf56v2ms2hX0ko6SW8HRAg=="
)


def test_it_makes_the_published_vector(world: World) -> None:
    world.signer.use_ed25519_seed(SEED)
    body, headers = world.signer.signed(BODY, "ed25519")
    assert len(BODY) == 220
    assert world.signer.ed25519_public_key() == PUBLIC_KEY
    assert (body, headers) == (BODY, {"X-GHL-Signature": SIGNATURE})


def test_both_signatures_verify_with_the_published_keys(world: World) -> None:
    body, headers = world.signer.signed(BODY, "both")
    assert _ed25519_holds(world, body, headers["X-GHL-Signature"])
    key = load_der_public_key(base64.b64decode(world.signer.rsa_public_key()))
    assert isinstance(key, rsa.RSAPublicKey)
    assert key.key_size == 4096
    signature = base64.b64decode(headers["X-WH-Signature"])
    key.verify(signature, body, padding.PKCS1v15(), hashes.SHA256())


@pytest.mark.parametrize("mode", ["bad", "wrong_key", "tampered", "reserialised"])
def test_the_wrong_modes_do_not_verify(world: World, mode: str) -> None:
    body, headers = world.signer.signed(BODY, mode)
    assert not _ed25519_holds(world, body, headers["X-GHL-Signature"])


def test_reserialised_means_the_same_json_in_other_bytes(world: World) -> None:
    body, _ = world.signer.signed(BODY, "reserialised")
    assert body != BODY
    assert json.loads(body) == json.loads(BODY)
    assert world.signer.signed(b"not json", "reserialised")[0] != b"not json"


def test_unsigned_modes(world: World) -> None:
    assert world.signer.signed(BODY, "n/a") == (BODY, {"X-GHL-Signature": "N/A"})
    assert world.signer.signed(BODY, "none") == (BODY, {})
    assert set(world.signer.signed(BODY, "rsa")[1]) == {"X-WH-Signature"}


def _ed25519_holds(world: World, body: bytes, signature: str) -> bool:
    key = load_der_public_key(base64.b64decode(world.signer.ed25519_public_key()))
    assert isinstance(key, ed25519.Ed25519PublicKey)
    try:
        key.verify(base64.b64decode(signature), body)
    except InvalidSignature:
        return False
    return True
