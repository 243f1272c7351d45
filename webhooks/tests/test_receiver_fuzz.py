"""Whatever comes in: never a 500, never a row without a signature, never a half-kept event."""

from __future__ import annotations

import json
import os
import re

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from webhooks.models import GoHighLevelWebhook
from webhooks.tests.conftest import WEBHOOK

pytestmark = pytest.mark.django_db

# FUZZ_EXAMPLES=100000 for the long run.
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "150"))
many = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
# Half characters too: JSON can spell them.
texts = st.text(st.characters(exclude_categories=()))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)
known_fields = st.fixed_dictionaries(
    {},
    optional={
        "type": values | st.sampled_from(["INSTALL", "UNINSTALL", "LocationCreate"]),
        "event": values,
        "webhookId": values,
        "appId": values,
        "companyId": values,
        "locationId": values,
        "id": values,
        "altType": st.just("location"),
        "altId": values,
        "timestamp": values | st.datetimes(timezones=st.timezones()).map(str),
    },
)
objects = st.builds(
    lambda known, other: other | known, known_fields, st.dictionaries(texts, values)
)
bodies = (
    objects.map(json.dumps).map(str.encode) | st.binary() | values.map(json.dumps).map(str.encode)
)
# What a server passes on: any octet but those that end a header.
header_values = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"))


@pytest.mark.one_database
@many
@given(
    body=bodies,
    signature=st.none() | header_values,
    rsa=st.none() | header_values,
    content_type=header_values,
    length=st.none() | header_values.filter(lambda text: not re.search(r"\d", text)),
)
@example(b"{}", "é", None, "application/json", None)
def test_nothing_unsigned_is_kept_or_answered_500(
    world, client, body, signature, rsa, content_type, length
):
    extra = {
        "HTTP_X_GHL_SIGNATURE": signature,
        "HTTP_X_WH_SIGNATURE": rsa,
        "CONTENT_LENGTH": length,
    }
    given_ones = {name: value for name, value in extra.items() if value is not None}
    answer = client.generic("POST", WEBHOOK, body, content_type=content_type, **given_ones)
    assert answer.status_code in (400, 401, 413)
    assert not GoHighLevelWebhook.objects.exists()


@many
@given(body=bodies)
@example(b'{"timestamp":"0001-01-01T00:00:00+14:00"}')
@example(b'{"type":"\\ud800"}')
def test_whatever_is_signed_is_kept_whole_or_refused(post, body):
    GoHighLevelWebhook.objects.all().delete()
    answer = post(body)
    assert answer.status_code in (200, 400, 403)
    kept = [event.body.encode() for event in GoHighLevelWebhook.objects.all()]
    assert kept == ([body] if answer.status_code == 200 else [])
