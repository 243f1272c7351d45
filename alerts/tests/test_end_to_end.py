"""The wiring, proven: from HighLevel's refusal to a real mail server and a real web server."""

from __future__ import annotations

from django.test import Client

from alerts.models import Delivery, Incident
from alerts.tests.test_incidents import heal, refuse
from integrations.refresh import refresh_integration


def test_a_refusal_arrives_by_mail_and_by_webhook_and_so_does_the_end(
    world, install_location, make_channel, staff, clock, mail_server, receiver
):
    make_channel(staff, address="sam@agency.test")
    make_channel(address=receiver.url)
    row = install_location()
    world.refuse(row.resource_id)
    refresh_integration(row.pk, trigger="schedule")
    clock.tick()
    (mail,) = mail_server.mails
    assert mail_server.recipients == ["sam@agency.test"]
    assert mail["Subject"].endswith("needs reconnect")
    assert f"http://localhost/installs/{row.pk}/" in mail.get_content()
    (body,) = receiver.bodies
    assert body["title"].endswith("needs reconnect")
    assert body["type"] == "warning"
    heal(row, clock.now)
    clock.tick()
    assert mail_server.mails[-1]["Subject"].endswith("is connected again")
    assert receiver.bodies[-1]["title"].endswith("is connected again")
    assert set(Delivery.objects.values_list("status", flat=True)) == {Delivery.SENT}


def test_no_token_and_no_address_of_a_channel_is_in_a_message(
    make_install, make_channel, clock, mail_server, receiver
):
    make_channel(address="sam@agency.test")
    make_channel(address=receiver.url)
    row = make_install()
    refuse(row, clock.now)
    clock.tick()
    texts = [mail_server.mails[0].get_content(), receiver.bodies[0]["message"]]
    for text in texts:
        assert row.open_access_token() not in text
        assert row.open_refresh_token() not in text
        assert "s3cr3t" not in text


def test_the_links_in_a_mail_work_without_a_sign_in(
    make_install, make_channel, staff, clock, mail_server
):
    channel = make_channel(staff, address="sam@agency.test")
    refuse(make_install(), clock.now)
    clock.tick()
    text = mail_server.mails[0].get_content()
    paths = [
        word.removeprefix("http://localhost") for word in text.split() if "/alerts/link/" in word
    ]
    acknowledge, snooze, unsubscribe = paths
    stranger = Client()
    for path in paths:
        assert stranger.get(path).status_code == 200
    channel.refresh_from_db()
    assert channel.is_on
    assert Incident.objects.get().acknowledged_at is None
    stranger.post(acknowledge)
    assert Incident.objects.get().acknowledged_by == "sam"
    assert stranger.post(snooze).status_code == 400
    assert stranger.post(snooze, {"hours": "4", "reason": "on holiday"}).status_code == 200
    assert Incident.objects.get().integration.snoozes.get().by == "sam"
    assert mail_server.mails[0]["List-Unsubscribe"].strip() == f"<http://localhost{unsubscribe}>"
    # as a mail program does it
    stranger.post(unsubscribe, {"List-Unsubscribe": "One-Click"})
    channel.refresh_from_db()
    assert channel.disabled_why == "unsubscribed"


def test_a_mail_server_that_refuses_a_recipient_is_told_word_for_word(
    make_install, make_channel, clock, mail_server
):
    make_channel(address="nobody@agency.test")
    refuse(make_install(), clock.now)
    clock.tick()
    assert Delivery.objects.get().error == "The mail server refused it: 550 no such user here"


def test_a_name_with_a_line_break_forges_no_header(make_install, make_channel, clock, mail_server):
    make_channel(address="sam@agency.test")
    refuse(make_install(name="Harbour\nBcc: eve@example.com"), clock.now)
    clock.tick()
    (mail,) = mail_server.mails
    assert mail["Subject"] == "[WhatReach] Harbour Bcc: eve@example.com needs reconnect"
    assert mail["Bcc"] is None
    assert mail_server.recipients == ["sam@agency.test"]


def test_a_mail_server_that_is_away_is_tried_again(make_install, make_channel, clock, mail_server):
    make_channel(address="sam@agency.test")
    mail_server.close()
    refuse(make_install(), clock.now)
    clock.tick()
    waiting = Delivery.objects.get()
    assert waiting.status == Delivery.WAITING
    assert "could not be reached" in waiting.error
