from __future__ import annotations

import base64
import os

import pytest
from django.core.exceptions import ImproperlyConfigured

from integrations.crypto import DecryptError, Keyring

pytestmark = pytest.mark.one_database


def entry(key_id="k1", key=None):
    return f"{key_id}:{base64.b64encode(key or os.urandom(32)).decode()}"


def test_what_was_sealed_for_a_place_opens_there():
    ring = Keyring.parse(entry())
    assert ring.decrypt(ring.encrypt("secret", "row-1"), "row-1") == "secret"


def test_a_ciphertext_does_not_open_in_another_place():
    ring = Keyring.parse(entry())
    with pytest.raises(DecryptError):
        ring.decrypt(ring.encrypt("secret", "row-1"), "row-2")


def test_no_altered_bit_opens():
    ring = Keyring.parse(entry())
    sealed = ring.encrypt("secret", "row-1")
    for position in range(len(sealed)):
        altered = bytearray(sealed)
        altered[position] ^= 1
        with pytest.raises(DecryptError):
            ring.decrypt(bytes(altered), "row-1")


@pytest.mark.parametrize("data", [b"", b"\x02", b"\xff", b"\x02k1", b"\x02k1short"])
def test_rubbish_does_not_open(data):
    with pytest.raises(DecryptError):
        Keyring.parse(entry("k1")).decrypt(data, "row-1")


def test_a_new_key_in_front_still_opens_what_the_old_one_sealed():
    old = entry("old")
    sealed = Keyring.parse(old).encrypt("secret", "row-1")
    both = Keyring.parse(f"{entry('new')},{old}")
    assert both.decrypt(sealed, "row-1") == "secret"
    assert both.encrypt("secret", "row-1")[1:4] == b"new"


def test_the_same_text_is_never_sealed_the_same_way():
    ring = Keyring.parse(entry())
    assert ring.encrypt("secret", "row-1") != ring.encrypt("secret", "row-1")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "nokey",
        "k1:not base64!",
        ":" + base64.b64encode(os.urandom(32)).decode(),
        entry(key=b"short"),
        entry(key=b"a" * 32),
        entry(key=b"ab" * 16),
        f"{entry('same')},{entry('same')}",
    ],
    ids=["none", "blank", "no key", "no base64", "no id", "short", "one", "two", "same id"],
)
def test_it_refuses_no_key_a_weak_key_and_two_of_the_same_id(text):
    with pytest.raises(ImproperlyConfigured, match="TOKEN_ENCRYPTION_KEYS"):
        Keyring.parse(text)


def test_fingerprints_tell_tokens_apart_and_depend_on_the_key():
    one, other = Keyring.parse(entry()), Keyring.parse(entry())
    assert one.fingerprint("a") == one.fingerprint("a") != one.fingerprint("b")
    assert one.fingerprint("a") != other.fingerprint("a")
