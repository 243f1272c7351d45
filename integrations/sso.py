"""HighLevel's encrypted user data: who has opened a custom page in HighLevel. Pure.

What CryptoJS's AES.encrypt(text, passphrase) makes: base64 of "Salted__", 8 bytes salt, and
AES-256-CBC; key and initial value are OpenSSL's EVP_BytesToKey with MD5, one round. It carries no
check sum, no time and no nonce: whoever holds a copy may send it for ever, and bits can be turned
in it. So what comes out is read strictly, and a page takes each ciphertext once
(dashboard/embedded_views.py).

Source: HighLevel docs, user context in custom pages (read 2026-11-24); test vectors were made
with crypto-js and with Python's cryptography.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

# The longest seen is under a kilobyte.
MOST_BYTES = 8192
_MAGIC = b"Salted__"
_ID = re.compile(r"[A-Za-z0-9]{10,40}")


class NotUserData(Exception):
    """It is not what HighLevel encrypts with our shared secret, or not in its form."""


@dataclass(frozen=True)
class UserData:
    """`digest`: the SHA-256 of the ciphertext's bytes, so that one is known when it comes again,
    however its base64 is written. `location_id`: the sub-account that the person is in, or ""."""

    user_id: str
    company_id: str
    location_id: str
    role: str
    type: str
    name: str
    email: str
    digest: str

    @property
    def is_of_agency(self) -> bool:
        return self.type == "agency"


def read_user_data(payload: str, shared_secret: str) -> UserData:
    """Decrypt and check what HighLevel's page handed to ours. Errors: NotUserData."""
    if len(payload) > MOST_BYTES:
        raise NotUserData("too long")
    try:
        sealed = base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError):
        raise NotUserData("not base64") from None
    try:
        data = json.loads(_decrypt(sealed, shared_secret.encode()).decode())
    except (ValueError, RecursionError):  # padding, UTF-8 and JSON alike
        raise NotUserData("not encrypted with our secret") from None
    if not isinstance(data, dict):
        raise NotUserData("not an object")
    return UserData(
        user_id=_id(data, "userId"),
        company_id=_id(data, "companyId"),
        location_id=_id(data, "activeLocation") if data.get("activeLocation") else "",
        role=_one_of(data, "role", ("admin", "user")),
        type=_one_of(data, "type", ("agency", "location")),
        name=_words(data, "userName"),
        email=_words(data, "email"),
        digest=hashlib.sha256(sealed).hexdigest(),
    )


def _decrypt(sealed: bytes, passphrase: bytes) -> bytes:
    """Errors: ValueError."""
    salt, body = sealed[8:16], sealed[16:]
    if not sealed.startswith(_MAGIC) or not body or len(body) % 16:
        raise ValueError("not in OpenSSL's form")
    key, initial = _key_and_initial(passphrase, salt)
    decryptor = Cipher(algorithms.AES(key), modes.CBC(initial)).decryptor()
    unpadder = PKCS7(128).unpadder()
    padded = decryptor.update(body) + decryptor.finalize()
    return unpadder.update(padded) + unpadder.finalize()


def _key_and_initial(passphrase: bytes, salt: bytes) -> tuple[bytes, bytes]:
    """MD5 is what CryptoJS uses; the strength lies in HighLevel's random secret."""
    made, block = b"", b""
    while len(made) < 48:
        block = hashlib.md5(block + passphrase + salt, usedforsecurity=False).digest()
        made += block
    return made[:32], made[32:48]


def _id(data: dict[str, Any], name: str) -> str:
    value = data.get(name)
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise NotUserData(f"{name} is no id")
    return value


def _one_of(data: dict[str, Any], name: str, words: tuple[str, ...]) -> str:
    value = data.get(name)
    if value not in words:
        raise NotUserData(f"{name} is none of {', '.join(words)}")
    return str(value)


def _words(data: dict[str, Any], name: str) -> str:
    """Names are shown, nothing hangs on them; one that turned bits have made is refused."""
    value = data.get(name, "")
    if not isinstance(value, str) or len(value) > 200 or not value.isprintable():
        raise NotUserData(f"{name} is no name")
    return value
