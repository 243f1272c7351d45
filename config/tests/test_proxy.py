from __future__ import annotations

import pytest
from django.core.exceptions import MiddlewareNotUsed
from django.http import HttpResponse

from config.middleware import ProxyMiddleware

pytestmark = pytest.mark.one_database


def address_seen(rf, settings, forwarded):
    settings.TRUST_PROXY = True
    seen = []
    middleware = ProxyMiddleware(lambda r: seen.append(r.META["REMOTE_ADDR"]) or HttpResponse())
    middleware(rf.get("/", headers={"X-Forwarded-For": forwarded}))
    return seen[0]


def test_without_trust_the_header_is_not_looked_at(settings):
    settings.TRUST_PROXY = False
    with pytest.raises(MiddlewareNotUsed):
        ProxyMiddleware(lambda request: HttpResponse())


def test_the_last_address_is_the_one_that_our_proxy_wrote(rf, settings):
    assert address_seen(rf, settings, "6.6.6.6, 192.0.2.7") == "192.0.2.7"
    assert address_seen(rf, settings, "192.0.2.7") == "192.0.2.7"


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("192.0.2.7:4711", "192.0.2.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("unknown", "127.0.0.1"),
        ("", "127.0.0.1"),
    ],
)
def test_ports_are_dropped_and_rubbish_is_not_believed(rf, settings, written, address):
    assert address_seen(rf, settings, written) == address
