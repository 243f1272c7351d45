"""Token encryption: AES-256-GCM, bound to the row and field that a ciphertext belongs to.

Form of a ciphertext: one byte with the length of the key's id, the id, 12 bytes nonce, sealed
text with its 16-byte tag. The associated data is the binding and the key's id, so a ciphertext
that is altered, or copied to another row or field, does not open.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
from functools import cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

_NONCE_BYTES = 12
_HOW_TO_MAKE_A_KEY = (
    "Make one with: python3 -c 'import base64,os; "
    'print("k1:" + base64.b64encode(os.urandom(32)).decode())\''
)


class DecryptError(Exception):
    """The ciphertext cannot be read with the present keys, or is not the one for this place."""


class Keyring:
    """The keys of TOKEN_ENCRYPTION_KEYS: the first one encrypts, each of them decrypts."""

    def __init__(self, keys: dict[str, bytes]) -> None:
        self._ciphers = {key_id.encode(): AESGCM(key) for key_id, key in keys.items()}
        self._first = next(iter(self._ciphers))
        self.present_id = self._first.decode()
        self.old_ids = [key_id for key_id in keys if key_id != self.present_id]
        self._fingerprint_key = hmac.digest(next(iter(keys.values())), b"fingerprint", "sha256")

    @classmethod
    def parse(cls, text: str) -> Keyring:
        """Read `id:base64key` entries, comma separated.

        Errors: ImproperlyConfigured when there is none, or one is malformed or weak.
        """
        keys: dict[str, bytes] = {}
        for entry in filter(None, map(str.strip, text.split(","))):
            key_id, _, encoded = entry.partition(":")
            # MariaDB finds rows by key id whatever its case.
            if not 0 < len(key_id.encode()) <= 64 or key_id.lower() in map(str.lower, keys):
                raise ImproperlyConfigured(
                    "TOKEN_ENCRYPTION_KEYS: each key needs an id of its own, 64 bytes at most."
                )
            keys[key_id] = _strong_key(key_id, encoded)
        if not keys:
            raise ImproperlyConfigured(f"TOKEN_ENCRYPTION_KEYS is not set. {_HOW_TO_MAKE_A_KEY}")
        return cls(keys)

    def encrypt(self, text: str, binding: str) -> bytes:
        """Seal `text` for the place that `binding` names (table, field and row)."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._ciphers[self._first].encrypt(
            nonce, text.encode(), _associated_data(binding, self._first)
        )
        return bytes([len(self._first)]) + self._first + nonce + sealed

    def decrypt(self, ciphertext: bytes | memoryview, binding: str) -> str:
        """Open a ciphertext of this place. Errors: DecryptError."""
        key_id, body = _split(ciphertext)
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise DecryptError("sealed with a key that is not in TOKEN_ENCRYPTION_KEYS")
        try:
            nonce, sealed = body[:_NONCE_BYTES], body[_NONCE_BYTES:]
            return cipher.decrypt(nonce, sealed, _associated_data(binding, key_id)).decode()
        except (InvalidTag, ValueError):
            raise DecryptError("altered, or not the ciphertext of this row and field") from None

    def fingerprint(self, token: str) -> str:
        """Return a keyed digest that tells tokens apart in the journal without showing them."""
        return hmac.digest(self._fingerprint_key, token.encode(), "sha256")[:16].hex()


@cache
def _keyring(text: str) -> Keyring:
    return Keyring.parse(text)


def keyring() -> Keyring:
    return _keyring(settings.TOKEN_ENCRYPTION_KEYS)


def key_id_of(ciphertext: bytes | memoryview | None) -> str:
    """Return the id of the key that a ciphertext says it was sealed with; "" for none."""
    return _split(ciphertext or b"")[0].decode(errors="replace")


def _split(ciphertext: bytes | memoryview) -> tuple[bytes, bytes]:
    """Return the key's id, and nonce and sealed text."""
    data = bytes(ciphertext)
    split = 1 + data[0] if data else 1
    return data[1:split], data[split:]


def _associated_data(binding: str, key_id: bytes) -> bytes:
    return binding.encode() + b"|" + key_id


def _strong_key(key_id: str, encoded: str) -> bytes:
    try:
        key = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        key = b""
    # 32 random bytes show fewer than 16 different values less than once in 10^16 keys.
    if len(key) != 32 or len(set(key)) < 16:
        raise ImproperlyConfigured(
            f"TOKEN_ENCRYPTION_KEYS: key '{key_id}' is not 32 random bytes in base64. "
            + _HOW_TO_MAKE_A_KEY
        )
    return key
