"""Where alerts may go, and what is shown of an address."""

from __future__ import annotations

import base64
import hashlib
from io import StringIO

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command

from alerts import addresses, delivery, sending
from alerts.messages import Message
from alerts.models import Channel

MESSAGE = Message("Subject", "Text")
SLACK = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/"


@pytest.mark.parametrize(
    ("address", "way"),
    [
        ("ops@agency.test", Channel.MAIL),
        (SLACK, Channel.APPRISE),
        ("discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js", Channel.APPRISE),
        ("jsons://hooks.agency.test/alerts", Channel.APPRISE),
    ],
)
def test_a_mail_address_or_an_apprise_url_is_taken(address, way):
    assert addresses.check(address) == way


@pytest.mark.parametrize(
    "address",
    [
        "no-address",
        "nosuchservice://x",
        "syslog://",
        "dbus://",
        "jsons://hooks.agency.test/?template=/etc/passwd",
        "https://",
    ],
)
def test_what_is_no_address_or_acts_on_this_machine_is_refused(address):
    with pytest.raises(ValidationError):
        addresses.check(address)


def test_what_is_shown_of_an_address_holds_no_secret():
    assert addresses.label_of("ops@agency.test") == "ops@agency.test"
    assert addresses.label_of("json://hooks.agency.test/s3cr3t") == "JSON hooks.agency.test"
    label = addresses.label_of(SLACK)
    assert label.startswith("Slack #")
    assert not any(part in label for part in SLACK.removeprefix("slack://").split("/") if part)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "2130706433"])
def test_a_private_address_is_refused_where_the_connection_is_made(
    receiver, make_channel, settings, host
):
    channel = make_channel(address=f"json://{host}:{receiver.port}/")
    settings.ALERTS_ALLOW_PRIVATE_ADDRESSES = False
    outcome = sending.send(channel, MESSAGE)
    assert "private network" in outcome.error
    assert outcome.is_refusal
    assert receiver.paths == []


def test_a_name_that_leads_into_a_private_network_is_refused(
    receiver, make_channel, settings, monkeypatch
):
    found = addresses.socket.getaddrinfo("127.0.0.1", receiver.port)
    monkeypatch.setattr("socket.getaddrinfo", lambda *_args, **_named: found)
    channel = make_channel(address=f"json://public.agency.test:{receiver.port}/")
    settings.ALERTS_ALLOW_PRIVATE_ADDRESSES = False
    assert "private network" in sending.send(channel, MESSAGE).error
    assert receiver.paths == []


def test_a_redirect_is_not_followed(receiver, make_channel):
    receiver.status, receiver.location = 302, "/elsewhere"
    outcome = sending.send(make_channel(address=receiver.url), MESSAGE)
    assert outcome.error
    assert receiver.paths == ["/hooks/s3cr3t-t0ken"]


def test_other_connections_of_the_process_are_not_touched(receiver, settings):
    settings.ALERTS_ALLOW_PRIVATE_ADDRESSES = False
    with (
        addresses.only_public() as refused,
        pytest.raises(addresses.ConnectionRefused),
        addresses.socket.create_connection(("127.0.0.1", receiver.port)),
    ):
        pass
    assert len(refused) == 1
    addresses.socket.create_connection(("127.0.0.1", receiver.port)).close()


def test_no_secret_is_stored_in_clear_told_or_logged(receiver, make_channel, caplog, capfd):
    channel = make_channel(address=receiver.url)
    receiver.status = 401
    outcome = delivery.send_test(channel)
    channel.refresh_from_db()
    assert "error=401" in outcome.error
    assert b"s3cr3t-t0ken" not in bytes(channel.address_encrypted)
    written = [outcome.error, channel.last_error, str(channel), caplog.text, *capfd.readouterr()]
    assert not any("s3cr3t" in text for text in written)


def test_an_address_of_another_row_does_not_open(make_channel):
    one, other = make_channel(), make_channel()
    Channel.objects.filter(pk=one.pk).update(address_encrypted=other.address_encrypted)
    one.refresh_from_db()
    assert "cannot be read" in sending.send(one, MESSAGE).error


def test_addresses_move_to_a_new_key(make_channel, settings):
    channel = make_channel(address=SLACK)
    new = "t2:" + base64.b64encode(hashlib.sha256(b"new").digest()).decode()
    old = settings.TOKEN_ENCRYPTION_KEYS
    settings.TOKEN_ENCRYPTION_KEYS = f"{new},{old}"
    call_command("rotate_token_keys", stdout=StringIO())
    settings.TOKEN_ENCRYPTION_KEYS = new
    channel.refresh_from_db()
    assert channel.open_address() == SLACK
