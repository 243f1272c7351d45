"""Webhook signatures, right and wrong: Ed25519 (X-GHL-Signature) and RSA (X-WH-Signature)."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from functools import cache, cached_property

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa

from sandbox.store import Store

ED25519_HEADER = "X-GHL-Signature"
RSA_HEADER = "X-WH-Signature"


class Signer:
    """Signs event bodies with the sandbox's own keys, which are made once and kept in its state.

    The RSA key (4096 bits, as HighLevel's) is made at its first use: it takes about a second.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    @cached_property
    def ed25519_key(self) -> ed25519.Ed25519PrivateKey:
        with self._store.lock:
            seed = self._store.get("ed25519_seed")
            if seed is None:
                seed = ed25519.Ed25519PrivateKey.generate().private_bytes_raw().hex()
                self._store.put("ed25519_seed", seed)
        return ed25519.Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed))

    @cached_property
    def rsa_key(self) -> rsa.RSAPrivateKey:
        with self._store.lock:
            pem = self._store.get("rsa_pem")
            if pem is None:
                pem = _new_rsa_pem()
                self._store.put("rsa_pem", pem)
        # Checking a key of our own making would take most of a second.
        key = serialization.load_pem_private_key(
            pem.encode(), password=None, unsafe_skip_rsa_key_validation=True
        )
        assert isinstance(key, rsa.RSAPrivateKey)
        return key

    def ed25519_public_key(self) -> str:
        """Base64 of the DER public key, as GHL_WEBHOOK_PUBLIC_KEYS takes it."""
        return public_der(self.ed25519_key.public_key())

    def rsa_public_key(self) -> str:
        return public_der(self.rsa_key.public_key())

    def use_ed25519_seed(self, seed: bytes) -> None:
        """Sign with this 32-byte seed from now on (to check published vectors)."""
        self._store.put("ed25519_seed", seed.hex())
        self.__dict__.pop("ed25519_key", None)

    def signed(self, body: bytes, mode: str) -> tuple[bytes, dict[str, str]]:
        """The bytes to send and the signature headers. `mode` is a value of `signatures`."""
        if mode == "tampered":
            return body.replace(b"{", b'{"tampered":true,', 1), self._ed25519(body)
        if mode == "reserialised":
            return _reserialised(body), self._ed25519(body)
        headers: dict[str, Callable[[], dict[str, str]]] = {
            "ed25519": lambda: self._ed25519(body),
            "both": lambda: self._ed25519(body) | self._rsa(body),
            "rsa": lambda: self._rsa(body),
            "n/a": lambda: {ED25519_HEADER: "N/A"},
            "none": dict,
            "bad": lambda: {ED25519_HEADER: base64.b64encode(b"\0" * 64).decode()},
            "wrong_key": lambda: _wrong_key(body),
        }
        return body, headers[mode]()

    def _ed25519(self, body: bytes) -> dict[str, str]:
        return {ED25519_HEADER: base64.b64encode(self.ed25519_key.sign(body)).decode()}

    def _rsa(self, body: bytes) -> dict[str, str]:
        signature = self.rsa_key.sign(body, padding.PKCS1v15(), hashes.SHA256())
        return {RSA_HEADER: base64.b64encode(signature).decode()}


def public_der(key: ed25519.Ed25519PublicKey | rsa.RSAPublicKey) -> str:
    der = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return base64.b64encode(der).decode()


def _reserialised(body: bytes) -> bytes:
    """Other bytes with the same meaning."""
    try:
        return json.dumps(json.loads(body), indent=1).encode()
    except ValueError:
        return body + b"\n"


def _wrong_key(body: bytes) -> dict[str, str]:
    signature = ed25519.Ed25519PrivateKey.generate().sign(body)
    return {ED25519_HEADER: base64.b64encode(signature).decode()}


@cache
def _new_rsa_pem() -> str:
    """One key for each process: making it is slow, and a test suite makes hundreds of worlds."""
    return (
        rsa.generate_private_key(65537, 4096)
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        .decode()
    )
