from __future__ import annotations

import pytest

from webhooks.checks import check_public_keys


def test_highlevels_published_keys_can_be_read():
    assert check_public_keys() == []


@pytest.mark.parametrize("name", ["GHL_WEBHOOK_PUBLIC_KEYS", "GHL_WEBHOOK_RSA_PUBLIC_KEYS"])
@pytest.mark.parametrize("text", ["rubbish", "AAAA", "-----BEGIN PUBLIC KEY-----"])
def test_a_key_that_is_none_is_said_before_the_start(settings, name, text):
    setattr(settings, name, [text])
    (error,) = check_public_keys()
    assert error.id == "webhooks.E001"
    assert name in error.hint
