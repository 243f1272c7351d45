"""Calls to HighLevel through WhatReach: what goes out, what comes back, what never leaves."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests
from django.test import Client
from django.utils import timezone

from access.models import Scope
from integrations import highlevel
from integrations.health import Status
from integrations.models import GoHighLevelIntegration, HandOut

pytestmark = [pytest.mark.one_database, pytest.mark.django_db]
BAD_TOKEN = {"statusCode": 401, "message": "Invalid token: access token is invalid"}


class Recorder:
    """A server in HighLevel's place that notes what reaches it and answers as it is told."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        self.answers: list[tuple[int, dict[str, str], bytes]] = []
        self.stream: Callable[[Any], None] | None = None
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                if len(body) < length:
                    return None  # cut off on its way: HighLevel would do nothing
                recorder.seen.append((self.command, self.path, dict(self.headers), body))
                if recorder.stream is not None:
                    return recorder.stream(self)
                default = (200, {"Content-Type": "application/json"}, b'{"ok": true}')
                status, headers, content = recorder.answers.pop(0) if recorder.answers else default
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def paths(self) -> list[str]:
        return [path for _method, path, _headers, _body in self.seen]

    def headers(self, number: int = 0) -> dict[str, str]:
        return {name.lower(): value for name, value in self.seen[number][2].items()}


@pytest.fixture
def recorder(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    recorder = Recorder()
    monkeypatch.setattr(highlevel, "SESSION", highlevel.make_session())
    settings.GHL_API_BASE_URL = recorder.url
    yield recorder
    highlevel.SESSION.close()
    recorder.server.shutdown()
    recorder.server.server_close()


class ReadingClient(Client):
    """A client that reads each answer to its end, as callers do."""

    def request(self, **request: Any) -> Any:
        answer = super().request(**request)
        answer.body = answer.getvalue() if answer.streaming else answer.content
        return answer


@pytest.fixture
def api(api: Callable[..., Client]) -> Callable[..., Client]:
    def make(*scopes: str, **limits: Any) -> Client:
        client = api(*scopes, **limits)
        client.__class__ = ReadingClient
        return client

    return make


def address(row: GoHighLevelIntegration, path: str) -> str:
    return f"/app/api/{row.pk}/{path}"


def make_older(row: GoHighLevelIntegration) -> None:
    """As if the token had been renewed a while ago, so that a refusal of it says something."""
    GoHighLevelIntegration.objects.filter(pk=row.pk).update(
        renewed_at=timezone.now() - timedelta(hours=1)
    )


# --- What goes out, what comes back ---


@pytest.mark.parametrize("prefix", ["/app/", "/ghl/"])
def test_a_call_reaches_highlevel_with_the_installs_token(api, world, install_location, prefix):
    row = install_location()
    answer = api(Scope.PROXY).get(f"{prefix}api/{row.pk}/locations/{row.resource_id}")
    assert answer.status_code == 200
    assert json.loads(answer.body)["location"]["name"] == "Harbour Dental"
    assert answer["X-RateLimit-Remaining"] == "99"
    assert answer["Content-Type"].startswith("application/json")
    assert row.open_access_token() not in answer.body.decode()


def test_token_and_version_are_put_in(api, recorder, make_install):
    row = make_install()
    answer = api().post(
        address(row, "contacts/?locationId=x&q=%C3%A9%2Fb"),
        b'{"name": "Zo\xc3\xab"}',
        content_type="application/json",
    )
    assert (answer.status_code, answer.body) == (200, b'{"ok": true}')
    [(method, path, _headers, body)] = recorder.seen
    assert (method, path) == ("POST", "/contacts/?locationId=x&q=%C3%A9%2Fb")
    assert body == b'{"name": "Zo\xc3\xab"}'
    assert recorder.headers()["authorization"] == f"Bearer {row.open_access_token()}"
    assert recorder.headers()["version"] == "2021-07-28"
    assert recorder.headers()["content-type"] == "application/json"


def test_a_caller_may_ask_for_another_version(api, recorder, make_install):
    api().get(address(make_install(), "calendars/"), headers={"Version": "2021-04-15"})
    assert recorder.headers()["version"] == "2021-04-15"


def test_one_request_id_goes_all_the_way(api, recorder, make_install):
    recorder.answers = [(200, {"X-Request-Id": "HighLevels-own"}, b"{}")]
    client, url = api(), address(make_install(), "contacts/1")
    answer = client.get(url, headers={"X-Request-Id": "order-4711-a"})
    assert answer["X-Request-Id"] == recorder.headers()["x-request-id"] == "order-4711-a"
    for given in ({}, {"X-Request-Id": "odd \u00e9 one"}):
        made = client.get(url, headers=given)["X-Request-Id"]
        assert len(made) == 32 and made == recorder.headers(-1)["x-request-id"]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"])
def test_any_method_is_passed_on(api, recorder, make_install, method):
    answer = api().generic(method, address(make_install(), "contacts/1"))
    assert answer.status_code == 200
    assert [seen[0] for seen in recorder.seen] == [method]


def test_trace_is_not_a_method_here(api, recorder, make_install):
    answer = api().generic("TRACE", address(make_install(), "contacts/1"))
    assert (answer.status_code, answer.json()["error"]) == (405, "method_not_allowed")
    assert "GET" in answer["Allow"]
    assert recorder.seen == []


def test_nothing_of_the_caller_leaves_but_what_the_call_needs(api, recorder, make_install):
    client = api()
    client.cookies["sessionid"] = "a-session"
    client.get(
        address(make_install(), "contacts/1"),
        headers={
            "Connection": "close, X-Secret-Hop",
            "Forwarded": "for=192.0.2.1",
            "Proxy-Authorization": "Basic abc",
            "X-Api-Key": "another",
            "X-CSRFToken": "token",
            "X-Forwarded-For": "192.0.2.1",
            "X-HTTP-Method-Override": "DELETE",
            "X-Secret-Hop": "hop",
            "Idempotency-Key": "once",
        },
    )
    sent = recorder.headers()
    assert sent["idempotency-key"] == "once"
    assert set(sent) <= {
        *("accept", "accept-encoding", "authorization", "connection", "host"),
        *("idempotency-key", "user-agent", "version", "x-request-id"),
    }
    assert sent["host"] == recorder.url.removeprefix("http://")
    assert "wr_" not in str(sent) and "a-session" not in str(sent)


def test_what_concerns_highlevels_own_site_does_not_come_back(api, recorder, make_install):
    recorder.answers = [
        (
            200,
            {
                "Connection": "X-Hop",
                "Keep-Alive": "timeout=5",
                "Set-Cookie": "cf=1; Path=/",
                "Strict-Transport-Security": "max-age=1",
                "Access-Control-Allow-Origin": "*",
                "X-Hop": "1",
                "X-RateLimit-Remaining": "7",
                "ETag": '"abc"',
            },
            b"{}",
        )
    ]
    client, row = api(), make_install()
    answer = client.get(address(row, "contacts/1"))
    assert (answer["X-RateLimit-Remaining"], answer["ETag"]) == ("7", '"abc"')
    assert answer["Cache-Control"] == "no-store"
    for name in ("Connection", "Keep-Alive", "Set-Cookie", "Access-Control-Allow-Origin", "X-Hop"):
        assert name not in answer
    assert not answer.cookies
    client.get(address(row, "contacts/2"))
    assert "cookie" not in recorder.headers(1)


@pytest.mark.parametrize("status", [201, 204, 304, 400, 403, 404, 405, 422, 429, 500, 503])
def test_highlevels_own_answer_comes_back_as_it_is(api, recorder, make_install, status):
    content = b"" if status in (204, 304) else b"<html>no</html>"
    recorder.answers = [(status, {"Content-Type": "text/html", "Retry-After": "9"}, content)]
    answer = api().get(address(make_install(), "contacts/1"))
    assert (answer.status_code, answer.body) == (status, content)
    assert answer["Retry-After"] == "9"


def test_a_redirect_is_not_followed(api, recorder, make_install):
    recorder.answers = [(302, {"Location": f"{recorder.url}/elsewhere"}, b"")]
    answer = api().get(address(make_install(), "contacts/1"))
    assert (answer.status_code, answer["Location"]) == (302, f"{recorder.url}/elsewhere")
    assert recorder.paths == ["/contacts/1"]


# --- Where it never goes ---


@pytest.mark.parametrize(
    "path",
    [
        *("oauth/token", "OAuth/locationToken", "oauth", "oauth/", "v3/oauth/location-token"),
        *("oauth%2Ftoken", "%6Fauth/token", "oauth;x=1/token", "oauth%20/token"),
        *("x/../oauth/token", "x/%2e%2e/oauth/token", "%2e%2e%2foauth%2ftoken", "./oauth/token"),
        *("%252e%252e/oauth/token", "oauth%252Ftoken", "x%5C..%5Coauth", "x\\..\\oauth"),
        *("/evil.example/x", "%2Fevil.example/x", "http://evil.example/x", "x//y", "%2F%2Fx"),
        *("marketplace/app/abc/installations", "Marketplace/app/abc/Installations"),
        *("contacts/%00", "contacts/%0d%0aHost:%20evil.example", "contacts/%ff", "contacts/%7f"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_some_addresses_are_never_called(api, recorder, make_install, path, method):
    row = make_install()
    answer = api().generic(method, f"/app/api/{row.pk}/{path}")
    assert answer.status_code in (403, 404)
    assert answer.json()["error"] in ("address_refused", "not_found")
    assert recorder.seen == []


@pytest.mark.parametrize(
    ("path", "called"),
    [
        ("@evil.example/x", "/@evil.example/x"),
        ("contacts/a:b@c", "/contacts/a:b@c"),
        ("contacts/Zo%C3%AB x", "/contacts/Zo%C3%AB%20x"),
        ("contacts/?next=http://evil.example/", "/contacts/?next=http://evil.example/"),
        ("contacts/%3Fa=1%23b", "/contacts/%3Fa=1%23b"),
    ],
)
def test_odd_looking_addresses_stay_on_highlevels_host(api, recorder, make_install, path, called):
    assert api().get(address(make_install(), path)).status_code == 200
    assert recorder.paths == [called]


# --- A token that HighLevel no longer takes ---


def test_a_token_that_highlevel_refuses_is_renewed_and_the_call_repeated_once(
    api, world, install_location
):
    row = install_location()
    make_older(row)
    world.advance(90_000)  # HighLevel's clock: the token has ended there, which we do not know
    answer = api().get(address(row, f"locations/{row.resource_id}"))
    assert answer.status_code == 200
    row.refresh_from_db()
    assert (row.generation, world.max_uses()) == (2, 1)


def token_answer() -> tuple[int, dict[str, str], bytes]:
    pair = {"access_token": "new-access", "refresh_token": "new-refresh", "expires_in": 86_399}
    return 200, {"Content-Type": "application/json"}, json.dumps(pair).encode()


def refusal() -> tuple[int, dict[str, str], bytes]:
    return 401, {"Content-Type": "application/json"}, json.dumps(BAD_TOKEN).encode()


def test_the_repeat_carries_the_same_body_and_the_new_token(api, recorder, make_install):
    row = make_install()
    recorder.answers = [refusal(), token_answer()]
    answer = api().post(address(row, "contacts/"), {"a": 1}, content_type="application/json")
    assert answer.status_code == 200
    assert recorder.paths == ["/contacts/", "/oauth/token", "/contacts/"]
    assert recorder.seen[0][3] == recorder.seen[2][3] == b'{"a": 1}'
    assert recorder.headers(2)["authorization"] == "Bearer new-access"


def test_it_repeats_once_and_then_passes_the_refusal_on(api, recorder, make_install):
    recorder.answers = [refusal(), token_answer(), refusal()]
    answer = api().get(address(make_install(), "contacts/1"))
    assert (answer.status_code, json.loads(answer.body)) == (401, BAD_TOKEN)
    assert len(recorder.seen) == 3


def test_a_body_too_large_to_be_kept_is_not_sent_twice_and_works_when_sent_again(
    api, recorder, make_install
):
    recorder.answers = [refusal(), token_answer()]
    client, url = api(), address(make_install(), "medias/")
    answer = client.post(url, b"x" * 1_200_000, content_type="text/plain")
    assert_error(answer, 503, "send_again")
    assert answer["Retry-After"] == "1"
    assert recorder.paths == ["/medias/", "/oauth/token"]
    assert client.post(url, b"x" * 1_200_000, content_type="text/plain").status_code == 200
    assert recorder.headers(-1)["authorization"] == "Bearer new-access"


@pytest.mark.parametrize("size", [10, 1_200_000])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_call_whose_answer_is_lost_is_not_sent_twice(api, recorder, make_install, method, size):
    def hang_up(handler: Any) -> None:
        handler.close_connection = True

    recorder.stream = hang_up
    answer = api().generic(method, address(make_install(), "contacts/"), b"x" * size)
    assert_error(answer, 502, "no_answer")
    assert recorder.paths == ["/contacts/"]


def test_a_missing_scope_costs_no_renewal(api, world, install_location):
    row = install_location()
    make_older(row)
    answer = api().get(address(row, f"users/?locationId={row.resource_id}"))
    assert answer.status_code == 401
    assert "not authorized for this scope" in answer.body.decode()
    assert world.max_uses() == 0


def test_a_token_that_was_just_renewed_is_not_renewed_again(api, recorder, make_install):
    row = make_install(renewed_at=timezone.now())
    recorder.answers = [refusal()]
    assert api().get(address(row, "contacts/1")).status_code == 401
    assert recorder.paths == ["/contacts/1"]


def test_when_the_renewal_is_refused_the_caller_is_told_why(api, world, install_location):
    row = install_location()
    make_older(row)
    world.refuse(row.resource_id)
    world.advance(90_000)
    answer = api().get(address(row, f"locations/{row.resource_id}"))
    assert (answer.status_code, answer.json()["error"]) == (409, "needs_reconnect")


def test_a_token_near_its_end_is_renewed_before_the_call(api, world, install_location):
    row = install_location()
    GoHighLevelIntegration.objects.update(
        expires_at=timezone.now() + timedelta(minutes=1),
        renewed_at=timezone.now() - timedelta(hours=23),
    )
    assert api().get(address(row, f"locations/{row.resource_id}")).status_code == 200
    row.refresh_from_db()
    assert row.generation == 2


# --- Who may call ---


def assert_error(answer: Any, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["error"]) == (status, code)


def test_it_wants_a_key_with_the_scope(client, api, recorder, make_install, staff_client):
    url = address(make_install(), "contacts/1")
    assert_error(Client().get(url), 401, "key_missing")
    assert_error(Client().get(url, headers={"Authorization": "Bearer wr_x"}), 401, "key_refused")
    assert_error(staff_client.get(url), 401, "key_missing")
    others = set(Scope.values) - {Scope.PROXY}
    assert_error(api(*others).get(url), 403, "key_lacks_scope")
    assert recorder.seen == []


def test_a_limited_key_calls_for_its_own_installs_alone(api, recorder, make_install):
    mine, other = make_install(company_id="a"), make_install(company_id="b")
    for limit in ({"installs": [mine.pk]}, {"agencies": ["a"]}):
        client = api(Scope.PROXY, **limit)
        assert client.get(address(mine, "contacts/1")).status_code == 200
        assert_error(client.get(address(other, "contacts/1")), 403, "key_lacks_install")


def test_no_csrf_token_is_asked_of_a_key(api, recorder, make_install):
    client = api()
    client.handler.enforce_csrf_checks = True
    answer = client.post(address(make_install(), "contacts/"), {}, content_type="application/json")
    assert answer.status_code == 200


def test_an_unknown_install_is_not_found(api, recorder):
    answer = api().get("/app/api/00000000-0000-0000-0000-000000000000/contacts/1")
    assert_error(answer, 404, "not_found")


@pytest.mark.parametrize(
    ("status", "http_status", "code"),
    [
        (Status.REFUSED, 409, "needs_reconnect"),
        (Status.WAITING, 409, "waiting_for_install"),
        (Status.UNINSTALLED, 410, "uninstalled"),
    ],
)
def test_without_a_token_it_says_why(api, recorder, make_install, status, http_status, code):
    answer = api().get(address(make_install(status=status), "contacts/1"))
    assert_error(answer, http_status, code)
    assert recorder.seen == []


def test_each_call_is_counted(api, recorder, make_install):
    row, client = make_install(), api()
    for _ in range(3):
        client.get(address(row, "contacts/1"))
    client.get(address(row, "oauth/token"))
    counted = HandOut.objects.get()
    assert (counted.integration, counted.calls, counted.tokens) == (row, 3, 0)


# --- Limits ---


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("slow", 504, "no_answer"),
        ("connect_timeout", 502, "not_reached"),
        ("reset", 502, "no_answer"),
    ],
)
def test_an_outage_is_said_as_such(api, world, install_location, fault, status, code):
    row = install_location()
    fields = {"seconds": 3600} if fault == "slow" else {}
    world.fault(fault, route="/locations/", **fields)
    assert_error(api().get(address(row, f"locations/{row.resource_id}")), status, code)


def test_an_outage_is_no_fault_of_the_install(api, world, install_location):
    row = install_location()
    world.fault("503", route="/locations/", times=None)
    answer = api().get(address(row, f"locations/{row.resource_id}"))
    assert answer.status_code == 503
    row.refresh_from_db()
    assert (row.failures, row.status) == (0, Status.ACTIVE)


def test_too_large_a_body_is_not_taken(api, recorder, make_install, settings):
    settings.PROXY_MAX_BODY_BYTES = 100
    url = address(make_install(), "medias/")
    answer = api().post(url, b"x" * 101, content_type="text/plain")
    assert_error(answer, 413, "body_too_large")
    assert recorder.seen == []


def test_too_large_an_answer_is_not_passed_on(api, recorder, make_install, settings):
    settings.PROXY_MAX_BODY_BYTES = 100
    recorder.answers = [(200, {}, b"x" * 101)]
    assert_error(api().get(address(make_install(), "medias/1")), 502, "answer_too_large")


def test_a_body_without_a_length_is_not_taken(api, recorder, make_install):
    answer = api().get(address(make_install(), "medias/"), headers={"Transfer-Encoding": "chunked"})
    assert_error(answer, 411, "length_required")


@pytest.mark.parametrize("length", [100, 1_200_000])
@pytest.mark.parametrize("seconds", [0.2, 60])
def test_a_body_that_does_not_come_whole_is_given_up(
    api, recorder, make_install, settings, length, seconds
):
    settings.PROXY_TIMEOUT_S = seconds
    callers, servers = socket.socketpair()
    with callers, servers, servers.makefile("rb") as incoming:
        callers.sendall(b"x" * 50)
        if seconds == 60:
            callers.shutdown(socket.SHUT_WR)  # the caller ends it; else it just falls silent
        raw = {"wsgi.input": incoming, "gunicorn.socket": servers, "CONTENT_LENGTH": str(length)}
        answer = api().post(address(make_install(), "medias/"), **raw)
    expected = (400, "invalid_input") if seconds == 60 else (408, "upload_too_slow")
    assert_error(answer, *expected)
    assert recorder.seen == []


def test_it_makes_few_queries(api, recorder, make_install, django_assert_num_queries):
    row, client = make_install(), api()
    client.get(address(row, "contacts/1"))
    with django_assert_num_queries(3):  # the key, the install, the count
        client.get(address(row, "contacts/1"))


# --- Through a real server ---


@pytest.fixture
def served(live_server: Any, api: Any, recorder: Recorder, make_install: Any) -> tuple[str, Any]:
    """The address of an install behind a running server, and a session with a key."""
    session = requests.Session()
    session.headers["Authorization"] = api().defaults["HTTP_AUTHORIZATION"]
    return f"{live_server.url}/app/api/{make_install().pk}", session


@pytest.mark.django_db(transaction=True)
def test_a_large_upload_arrives_whole(served, recorder):
    base, session = served
    body = bytes(range(256)) * 12_000
    answer = session.post(f"{base}/medias/", data=body, timeout=20)
    assert answer.status_code == 200
    [(_method, _path, headers, arrived)] = recorder.seen
    assert headers["Content-Length"] == str(len(body))
    assert hashlib.sha256(arrived).digest() == hashlib.sha256(body).digest()


@pytest.mark.django_db(transaction=True)
def test_the_answer_comes_while_highlevel_is_still_sending(served, recorder):
    base, session = served
    may_go_on = threading.Event()

    def in_two_parts(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"5\r\nfirst\r\n")
        handler.wfile.flush()
        assert may_go_on.wait(10)
        handler.wfile.write(b"6\r\nsecond\r\n0\r\n\r\n")

    recorder.stream = in_two_parts
    with session.get(f"{base}/events", stream=True, timeout=20) as answer:
        assert answer.raw.read(5) == b"first"
        may_go_on.set()
        assert answer.raw.read() == b"second"


@pytest.mark.django_db(transaction=True)
def test_an_endless_answer_is_cut_off(served, recorder, settings):
    base, session = served
    settings.PROXY_MAX_BODY_BYTES = 200_000

    def endless(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
        except OSError:
            handler.close_connection = True

    recorder.stream = endless
    with session.get(f"{base}/events", stream=True, timeout=20) as answer:
        arrived = answer.raw.read(10_000_000)
    assert 0 < len(arrived) <= 200_000
