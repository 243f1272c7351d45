"""How HighLevel's answers are read. The texts are those of the protocol's documents and reports."""

from __future__ import annotations

import json
import math
from io import BytesIO

import pytest
import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse

from integrations import highlevel
from integrations.highlevel import (
    CredentialsRefused,
    HighLevel,
    Inactive,
    OtherAccount,
    OurFault,
    RateLimited,
    Refused,
    ScopeMissing,
    ServerError,
    TokenRejected,
    Unreadable,
    WrongClass,
)

pytestmark = pytest.mark.one_database

TOKENS = {"access_token": "a", "refresh_token": "r", "userType": "Location", "locationId": "l"}


class Canned(HTTPAdapter):
    """Answers every call in the same way, and remembers the last one."""

    def __init__(self, status, body, headers):
        super().__init__()
        self.answer = status, body, headers

    def send(self, request, **_):
        status, body, headers = self.answer
        self.request = request
        raw = HTTPResponse(
            body=BytesIO(body), status=status, headers=headers, preload_content=False
        )
        return self.build_response(request, raw)


def client(status=200, body=None, headers=None):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    session = requests.Session()
    session.mount("https://", Canned(status, data, headers or {}))
    return HighLevel("app-id", "secret", "https://hl.test", "app", "2021-07-28", session)


def refresh(*answer, **headers):
    return client(*answer, headers).refresh("token-to-spend", user_type="Location")


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, {"message": "Invalid grant: refresh token is invalid"}, Refused),
        (400, {"message": "Invalid grant: refresh token has expired"}, Refused),
        (400, {"error": "invalid_grant"}, Refused),
        (400, {"message": ["Invalid grant: refresh token is invalid"]}, Refused),
        (400, {"error": {"code": "X", "message": "Invalid grant: it is spent"}}, Refused),
        (401, {"error": "UnAuthorized!", "error_description": "Invalid refresh token"}, Refused),
        (401, {"error_description": "Authorization code not found"}, Refused),
        (400, {"message": "Location is not active"}, Inactive),
        (401, {"error_description": "Invalid client credentials!"}, CredentialsRefused),
        (400, {"message": "Invalid client: client is invalid"}, CredentialsRefused),
        (401, {"message": "Invalid token: access token is invalid"}, CredentialsRefused),
        (400, {"message": "Missing parameter: clientId"}, OurFault),
        (400, {"message": "Invalid parameter: grantType"}, OurFault),
        (422, {"message": ["Unprocessable Entity"]}, OurFault),
        (403, {"message": "Forbidden"}, OurFault),
        (404, b"<html>", OurFault),
        (302, b"", OurFault),
        (429, {"message": "Too many"}, RateLimited),
        (500, {"message": "Invalid grant: refresh token is invalid"}, ServerError),
        (502, b"<html>Bad gateway</html>", ServerError),
        (200, b"<html>Welcome</html>", Unreadable),
        (200, {"refresh_token": "r"}, Unreadable),
        (200, ["a"], Unreadable),
        (200, {"access_token": 7}, Unreadable),
    ],
)
def test_each_answer_to_a_renewal_has_its_meaning(status, body, error):
    with pytest.raises(error) as caught:
        refresh(status, body)
    assert type(caught.value) is error


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (401, {"message": "Invalid token: access token is invalid"}, TokenRejected),
        (401, {"message": "Invalid JWT"}, TokenRejected),
        (401, {"message": "The token is not authorized for this scope."}, ScopeMissing),
        (401, {"message": "This authClass type is not allowed to access this scope."}, WrongClass),
        (401, {"message": "Token's user type mismatch!"}, WrongClass),
        (401, b"version header was not found.", OurFault),
        (403, {"message": "The token does not have access to this location."}, OtherAccount),
        (429, {}, RateLimited),
        (503, {}, ServerError),
    ],
)
def test_only_two_texts_of_a_401_speak_of_a_dead_token(status, body, error):
    with pytest.raises(error) as caught:
        client(status, body).location("token", "loc")
    assert type(caught.value) is error


@pytest.mark.parametrize("life", [None, "soon", "", -5, 0, [], {}, math.inf, math.nan, 10**30])
def test_a_life_that_cannot_be_is_taken_as_a_short_one(life):
    tokens = refresh(200, TOKENS | {"expires_in": life})
    assert (tokens.expires_in_s, tokens.life_is_assumed) == (highlevel.ASSUMED_LIFE_S, True)


def test_a_missing_life_is_taken_as_a_short_one():
    tokens = refresh(200, TOKENS)
    assert (tokens.expires_in_s, tokens.life_is_assumed) == (highlevel.ASSUMED_LIFE_S, True)


def test_a_life_in_digits_is_a_life():
    tokens = refresh(200, TOKENS | {"expires_in": "86399"})
    assert (tokens.expires_in_s, tokens.life_is_assumed) == (86399, False)


@pytest.mark.parametrize(
    ("status", "error"), [(200, Unreadable), (401, CredentialsRefused), (503, ServerError)]
)
def test_an_answer_that_is_nested_without_end_is_an_error_of_highlevels(status, error):
    with pytest.raises(error):
        refresh(status, b"[" * 100_000)


def test_any_2xx_is_a_minted_token():
    tokens = client(201, TOKENS).mint_location_token("agency", company_id="c", location_id="l")
    assert tokens.access_token == "a"


def test_the_wait_is_read_from_retry_after_else_from_the_limits_interval():
    with pytest.raises(RateLimited) as caught:
        refresh(429, {}, **{"Retry-After": "17", "X-RateLimit-Interval-Milliseconds": "10000"})
    assert caught.value.retry_after_s == 17
    with pytest.raises(RateLimited) as caught:
        refresh(429, {}, **{"X-RateLimit-Interval-Milliseconds": "10000"})
    assert caught.value.retry_after_s == 10
    for no_wait in ("tomorrow", "inf", "-5"):
        with pytest.raises(RateLimited) as caught:
            refresh(429, {}, **{"Retry-After": no_wait})
        assert caught.value.retry_after_s is None
    with pytest.raises(ServerError) as caught:
        refresh(503, {}, **{"Retry-After": "17"})
    assert caught.value.retry_after_s == 17


def test_an_error_does_not_repeat_a_token_that_the_answer_names():
    token = "eyJhbGciOiJSUzI1NiJ9.eyJhdXRoQ2xhc3MiOiJMb2NhdGlvbiJ9.c2lnbmF0dXJl"
    with pytest.raises(Refused) as caught:
        refresh(400, {"message": f"Invalid grant: {token} is spent", "traceId": "t-1"})
    assert token[:30] not in caught.value.detail
    assert "Invalid grant" in caught.value.detail
    assert caught.value.trace_id == "t-1"


def test_a_token_set_does_not_print_its_tokens():
    assert "access_token" not in repr(refresh(200, TOKENS))


def test_a_renewal_is_sent_as_a_form_with_the_stored_user_type():
    hl = client(200, TOKENS)
    hl.refresh("token-to-spend", user_type="Company")
    sent = hl.session.get_adapter("https://hl.test").request
    assert sent.url == "https://hl.test/oauth/token"
    assert sent.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert "grant_type=refresh_token" in sent.body
    assert "user_type=Company" in sent.body
    assert sent.headers["Version"] == "2021-07-28"


@pytest.mark.parametrize("told", ["0001-01-01T00:00:00+14:00", "2026-02-30T00:00:00Z", "soon", 5])
def test_a_time_that_cannot_be_is_none(told):
    listed = {"locations": [{"_id": "loc", "installedAt": told}]}
    (location,) = client(200, listed).installed_locations("token", company_id="c").locations
    assert location.installed_at is None


def test_ids_cannot_change_the_address():
    hl = client(200, {"location": {}})
    hl.location("token", "../oauth/token?x=1")
    sent = hl.session.get_adapter("https://hl.test").request
    assert sent.url.startswith("https://hl.test/locations/..%2Foauth")


def test_the_session_repeats_nothing_and_follows_no_proxy():
    session = highlevel.make_session()
    assert session.trust_env is False
    assert session.get_adapter("https://x").max_retries.total == 0
