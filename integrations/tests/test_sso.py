"""HighLevel's encrypted user data."""

from __future__ import annotations

import base64
import json
import os
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from integrations.sso import NotUserData, _key_and_initial, read_user_data

pytestmark = pytest.mark.one_database

SECRET = "test-shared-secret"
VECTOR = (
    "U2FsdGVkX18BAgMEBQYHCJWhlE3CV45ZIszP2p3V0jCCd5AE/6q+pZfz76ipoIRyWQQG5VLCBBUmI6Nxljde+euPbb2EceLU"
    "e0w2n+fRdjGPYmcrBhpZfx85sVnGVwAViZIf+quBZIM1HRUt+bNhlkeckj3N4aq1YKDy9y+ErSAUdqCPrZn7y81ny1NDVddY"
    "ydU0I6XT1td+WoQKap0Wu8LPwdX0m+h19zwT2X6hnmY="
)
SECOND_SECRET = "7d4f0c1e-1111-4222-8333-abcdefabcdef"
SECOND_VECTOR = (
    "U2FsdGVkX18BAgMEBQYHCA6X81luUN0QXs3DO/AN8kPz23NJBpsDpK7XVHEVCfXHusXcr644uafbIx4p7/LqejlnrnWlCXud"
    "AjOe2yK8zEq2E42dNnbL/fufRiuxiD8gfp/MrgYwXrdlpt6PUVecwflq7OuGRd2nwZQuKlczP8DZQpt2M1hAaF16ReM5UHgW"
    "g4b4hrlu6Mm41ks8bWQhF+vmQr/v3cOxCaEz74medqh7BefMZns6/Gsk4bbShf3OaCkwqSn0dnlaVRIGQw80Yw=="
)
PERSON = {
    "userId": "MKQJ7wOVVmNOMvrnKKKK",
    "companyId": "GNb7aIv4rQFVb9iwNl5K",
    "role": "admin",
    "type": "agency",
    "userName": "John Doe",
    "email": "johndoe@gmail.com",
}


def encrypt(data: Any, secret: str = SECRET) -> str:
    """As CryptoJS does it, with a random salt."""
    salt = os.urandom(8)
    key, initial = _key_and_initial(secret.encode(), salt)
    padder = PKCS7(128).padder()
    text = data if isinstance(data, bytes) else json.dumps(data).encode()
    encryptor = Cipher(algorithms.AES(key), modes.CBC(initial)).encryptor()
    body = encryptor.update(padder.update(text) + padder.finalize()) + encryptor.finalize()
    return base64.b64encode(b"Salted__" + salt + body).decode()


def test_the_published_vector_is_read() -> None:
    found = read_user_data(VECTOR, SECRET)
    assert (found.user_id, found.company_id) == ("MKQJ7wOVVmNOMvrnKKKK", "GNb7aIv4rQFVb9iwNl5K")
    assert (found.role, found.type, found.location_id) == ("admin", "agency", "")
    assert (found.name, found.email) == ("John Doe", "johndoe@gmail.com")


def test_the_second_vector_has_a_location_and_letters_beyond_ascii() -> None:
    found = read_user_data(SECOND_VECTOR, SECOND_SECRET)
    assert (found.location_id, found.name) == ("yLKVZpNppIdYpah4RjNE", "Zoë Doe")


def test_with_another_secret_nothing_is_read() -> None:
    with pytest.raises(NotUserData):
        read_user_data(VECTOR, SECOND_SECRET)


@pytest.mark.parametrize(
    "payload",
    ["", "x", "====", "U2FsdGVkX18=", VECTOR[:-24], VECTOR + "AAAA", "A" * 9000, VECTOR[24:]],
)
def test_rubbish_is_refused(payload: str) -> None:
    with pytest.raises(NotUserData):
        read_user_data(payload, SECRET)


@pytest.mark.parametrize(
    "change",
    [
        {"companyId": ""},
        {"companyId": None},
        {"companyId": ["GNb7aIv4rQFVb9iwNl5K"]},
        {"companyId": "GNb7aIv4rQFVb9iwNl5K' OR 1=1"},
        {"companyId": "../../../etc/passwd"},
        {"companyId": "GNb7aIv4rQFVb9iwNl5K\n"},
        {"userId": "x"},
        {"userId": 12345678901},
        {"type": "owner"},
        {"type": None},
        {"role": "superuser"},
        {"activeLocation": "<script>"},
        {"userName": "a\u0000b"},
        {"userName": "n" * 201},
        {"email": {"a": 1}},
    ],
)
def test_every_field_is_read_strictly(change: dict[str, Any]) -> None:
    with pytest.raises(NotUserData):
        read_user_data(encrypt(PERSON | change), SECRET)


@pytest.mark.parametrize("text", [b"[]", b"null", b"1", b"{", b"\xff\xfe", b"[" * 5000])
def test_what_is_no_object_is_refused(text: bytes) -> None:
    with pytest.raises(NotUserData):
        read_user_data(encrypt(text), SECRET)


def test_turned_bits_do_not_make_another_agencys_user() -> None:
    """The cipher has no check sum: whatever still reads must name the same ids."""
    sealed = base64.b64decode(VECTOR)
    for position in range(8, len(sealed)):
        for bit in (1, 32, 128):
            turned = bytearray(sealed)
            turned[position] ^= bit
            try:
                found = read_user_data(base64.b64encode(bytes(turned)).decode(), SECRET)
            except NotUserData:
                continue
            assert found.company_id == PERSON["companyId"], position


def test_a_ciphertext_is_known_again_however_its_base64_is_written() -> None:
    digest = read_user_data(VECTOR, SECRET).digest
    assert read_user_data(VECTOR, SECRET).digest == digest
    for written in (VECTOR + "\n", VECTOR.replace("=", ""), " " + VECTOR, VECTOR[:-2] + "Z="):
        try:
            assert read_user_data(written, SECRET).digest == digest
        except NotUserData:
            continue
    assert read_user_data(encrypt(PERSON), SECRET).digest != digest
