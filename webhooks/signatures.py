"""Whether a delivery was signed by HighLevel. Pure: bytes, headers and keys in, a verdict out.

The signature covers the raw body and nothing else. When the present header (Ed25519) is there, it
alone decides; the retired RSA header counts only where the operator still wants it.
Source: HighLevel's webhook integration guide, as of 2026-08-30.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key

HEADER = "X-GHL-Signature"
RSA_HEADER = "X-WH-Signature"
ED25519_BYTES = 32
NOT_SIGNED = ("", "N/A")  # the second is HighLevel's own word for it

K = TypeVar("K", Ed25519PublicKey, RSAPublicKey)


class Verdict(StrEnum):
    GOOD = "good"
    UNSIGNED = "unsigned"
    BAD = "bad"


@dataclass(frozen=True)
class SigningKeys:
    ed25519: tuple[Ed25519PublicKey, ...]
    rsa: tuple[RSAPublicKey, ...] = ()


@cache
def load_keys(ed25519: tuple[str, ...], rsa: tuple[str, ...] = ()) -> SigningKeys:
    """Read public keys given as PEM or as the base64 of their DER form, or of the bare 32 bytes of
    an Ed25519 key.

    Errors: ValueError for a text that is no such key.
    """
    return SigningKeys(
        ed25519=tuple(_of_type(Ed25519PublicKey, ed25519)),  # type: ignore[type-abstract]
        rsa=tuple(_of_type(RSAPublicKey, rsa)),  # type: ignore[type-abstract]
    )


def verify(body: bytes, headers: Mapping[str, str], keys: SigningKeys) -> Verdict:
    """Judge a delivery by its raw body. `headers`: looked up by the names above."""
    signature = headers.get(HEADER)
    if signature is not None:
        return _verdict(signature, lambda raw: any(_ed25519(k, raw, body) for k in keys.ed25519))
    signature = headers.get(RSA_HEADER) if keys.rsa else None
    if signature is not None:
        return _verdict(signature, lambda raw: any(_rsa(key, raw, body) for key in keys.rsa))
    return Verdict.UNSIGNED


def is_signed(headers: Mapping[str, str]) -> bool:
    """Whether a delivery bears a signature, good or bad."""
    told = (headers.get(name, "").strip() for name in (HEADER, RSA_HEADER))
    return any(signature not in NOT_SIGNED for signature in told)


def _verdict(signature: str, is_good: Callable[[bytes], bool]) -> Verdict:
    signature = signature.strip()
    if signature in NOT_SIGNED:
        return Verdict.UNSIGNED
    try:
        raw = base64.b64decode(signature, validate=True)
    except ValueError:  # not base64, or not even ASCII
        return Verdict.BAD
    return Verdict.GOOD if is_good(raw) else Verdict.BAD


def _ed25519(key: Ed25519PublicKey, signature: bytes, body: bytes) -> bool:
    try:
        key.verify(signature, body)
    except InvalidSignature:
        return False
    return True


def _rsa(key: RSAPublicKey, signature: bytes, body: bytes) -> bool:
    try:
        key.verify(signature, body, PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        return False
    return True


def _of_type(kind: type[K], texts: Sequence[str]) -> Iterable[K]:
    for text in texts:
        key = _load(text)
        if not isinstance(key, kind):
            raise ValueError(f"not an {kind.__name__}: {text[:30]}…")
        yield key


def _load(text: str) -> object:
    if "BEGIN" in text:
        return load_pem_public_key(text.replace("\\n", "\n").encode())
    raw = base64.b64decode(text, validate=True)
    if len(raw) == ED25519_BYTES:
        return Ed25519PublicKey.from_public_bytes(raw)
    return load_der_public_key(raw)
