"""Events never go into the operator's own network, whatever a name resolves to, and when."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from webhooks import guarded_http, sending
from webhooks.guarded_http import BadUrl, check_url, is_public
from webhooks.sending import Message, send
from webhooks.tests.receiver import receiver

pytestmark = pytest.mark.one_database

FORBIDDEN = [
    "127.0.0.1",
    "127.8.8.8",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "169.254.0.1",
    "169.254.169.254",
    "168.63.129.16",
    "192.0.0.192",
    "198.18.0.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::1",
    "2002:7f00:1::1",
    "2001:0:7f00:1::1",
    "fd00:ec2::254",
    "fc00::1",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "2001:db8::1",
]
ALLOWED = ["8.8.8.8", "1.1.1.1", "172.32.0.1", "2606:4700:4700::1111", "::ffff:8.8.8.8"]


def message(url: str) -> Message:
    signers = (Webhook("whsec_" + "QUJD" * 8),)
    return Message(delivery_id=1, message_id="msg_1", url=url, body="{}", signers=signers)


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Have each look-up of a name answer with the next of these addresses; the list of names that
    were looked up is returned."""
    real = socket.getaddrinfo

    def answers(*each: str | list[str]) -> list[str]:
        asked: list[str] = []

        def look_up(host: Any, port: Any, *args: Any, **options: Any) -> Any:
            told = each[min(len(asked), len(each) - 1)]
            asked.append(host)
            found = [told] if isinstance(told, str) else told
            return [entry for text in found for entry in real(text, port, *args, **options)]

        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        return asked

    return answers


@pytest.mark.parametrize("address", FORBIDDEN)
def test_a_private_address_is_none_to_send_to(address):
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", ALLOWED)
def test_a_public_address_is_fine(address):
    assert is_public(ip_address(address))


@given(st.integers(0, 2**32 - 1))
def test_an_address_written_as_ipv6_is_no_more_public_than_itself(number):
    plain = ip_address(number)
    for prefix in ("::ffff:", "64:ff9b::"):
        assert is_public(ip_address(f"{prefix}{plain}")) == is_public(plain)


@pytest.mark.parametrize("address", FORBIDDEN)
def test_a_name_that_leads_there_is_refused_before_any_connection(resolve, monkeypatch, address):
    resolve(address)
    connected: list[Any] = []
    monkeypatch.setattr(socket.socket, "connect", lambda _self, target: connected.append(target))
    answer = send(message("https://back-end.example.com/"))
    assert answer.error == "It leads into a private network, which is not allowed."
    assert connected == []


@pytest.mark.parametrize(
    "url",
    [
        "http://back-end.example.com/",
        "https://user:pw@back-end.example.com/",
        "https://back-end.example.com/#part",
        "https://back-end.example.com:0/",
        "https://back-end.example.com:99999/",
        "https:///events",
        "back-end.example.com/events",
        "ftp://back-end.example.com/",
        "file:///etc/passwd",
        "gopher://back-end.example.com/",
        "https://localhost/",
        "https://LOCALHOST./",
        "https://printer.local/",
        "https://metadata/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://169.254.169.254/latest/meta-data/",
        "https://exämple.com/",
        "https://back end.example.com/",
        "https://[broken/",
    ],
)
def test_an_address_that_can_be_told_by_itself_is_refused(url):
    with pytest.raises(BadUrl):
        check_url(url)
    assert send(message(url)).error


def test_numbers_that_stand_for_an_address_are_resolved_and_refused():
    for url in ("https://2130706433.0x7f.1/", "https://0x7f.0.0.1/", "https://0177.0.0.1/"):
        assert send(message(url)).error


def test_the_connection_goes_to_the_address_that_was_checked(resolve, monkeypatch):
    """A name server that answers well at first, and with our own network when asked again."""
    asked = resolve("8.8.8.8", "127.0.0.1")
    targets: list[Any] = []

    def connect(_self: socket.socket, target: Any) -> None:
        targets.append(target[0])
        raise ConnectionRefusedError

    monkeypatch.setattr(socket.socket, "connect", connect)
    assert send(message("https://back-end.example.com/")).error == "Nobody listens at this address."
    assert targets == ["8.8.8.8"]
    assert asked == ["back-end.example.com"]
    # The next try asks again, and finds out.
    assert "private network" in send(message("https://back-end.example.com/")).error
    assert targets == ["8.8.8.8"]


def test_of_several_addresses_only_public_ones_are_used(resolve, monkeypatch):
    resolve(["10.0.0.1", "8.8.8.8", "::1", "127.0.0.1"])
    targets: list[Any] = []

    def connect(_self: socket.socket, target: Any) -> None:
        targets.append(target[0])
        raise ConnectionRefusedError

    monkeypatch.setattr(socket.socket, "connect", connect)
    send(message("https://back-end.example.com/"))
    assert targets == ["8.8.8.8"]


def test_a_proxy_of_the_environment_is_not_asked(monkeypatch, settings):
    settings.FORWARD_ALLOW_PRIVATE_ADDRESSES = True
    with receiver() as proxy, receiver() as back_end:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        assert send(message(back_end.url)).is_good
        assert (len(proxy.got), len(back_end.got)) == (0, 1)


def test_where_it_is_allowed_http_goes_to_private_addresses_alone(settings, resolve, monkeypatch):
    settings.FORWARD_ALLOW_PRIVATE_ADDRESSES = True
    with receiver() as back_end:
        assert send(message(back_end.url)).is_good
    resolve("8.8.8.8")
    error = send(message("http://back-end.example.com/")).error
    assert error == "It is not in a private network: use https, which is encrypted."


def test_an_unknown_name(monkeypatch):
    def fail(*_args: Any, **_options: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    answer = send(message("https://back-end.example.com/"))
    assert answer.error == "There is no host of this name."


def test_cookies_of_an_endpoint_are_not_kept(settings):
    settings.FORWARD_ALLOW_PRIVATE_ADDRESSES = True
    with receiver() as back_end:
        back_end.headers = {"Set-Cookie": "id=1; Path=/"}
        send(message(back_end.url))
        send(message(back_end.url))
        assert all("cookie" not in received.headers for received in back_end.got)


@contextmanager
def tls_server(folder: Path) -> Iterator[tuple[int, Path, list[Any]]]:
    """A server for back-end.example.com, its own authority, and the names it was asked for."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=back-end.example.com"]
    command += ["-addext", "subjectAltName=DNS:back-end.example.com"]
    subprocess.run(
        [*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True
    )
    asked: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.headers["Host"])
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    class Server(HTTPServer):
        def handle_error(self, *args: object) -> None:
            """A sender that does not trust us is part of the test."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    server = Server(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_port, certificate, asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_name_stays_the_name_for_tls_and_host(settings, resolve, monkeypatch, tmp_path):
    """Pinning to the checked address must not weaken the certificate's check."""
    settings.FORWARD_ALLOW_PRIVATE_ADDRESSES = True
    with tls_server(tmp_path) as (port, certificate, asked):
        resolve("127.0.0.1")
        untrusting = guarded_http.make_session(connections=1)
        monkeypatch.setattr(sending, "_SESSION", untrusting)
        assert "certificate" in send(message(f"https://back-end.example.com:{port}/")).error
        trusting = guarded_http.make_session(connections=1)
        trusting.verify = str(certificate)
        monkeypatch.setattr(sending, "_SESSION", trusting)
        asked.clear()
        answer = send(message(f"https://back-end.example.com:{port}/"))
        assert (answer.http_status, answer.error) == (204, "")
        assert asked == ["back-end.example.com", f"back-end.example.com:{port}"]
        assert "certificate" in send(message(f"https://other.example.com:{port}/")).error
        untrusting.close()
        trusting.close()
