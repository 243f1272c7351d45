"""The Alerts page, its forms, snoozes on the account's page, and the signed links."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.core import signing
from django.test import Client
from django.utils import timezone

from access.models import AuditEvent, User
from access.roles import Role
from alerts import incidents, links
from alerts.kinds import Kind
from alerts.links import Act
from alerts.models import Channel, Incident, Snooze
from alerts.tests.conftest import make_channel, receiver  # noqa: F401
from integrations.health import Status
from integrations.models import GoHighLevelIntegration

Make = Callable[..., Any]
NEW_CHANNEL = {"name": "Ops", "address": "ops@agency.test", "zone": "UTC"}


def html_of(answer: Any) -> str:
    text: str = answer.content.decode()
    return text


@pytest.fixture
def refused(make_install: Make) -> GoHighLevelIntegration:
    """An account that needs reconnect, with its incident."""
    row: GoHighLevelIntegration = make_install(
        name="Harbour Dental",
        status=Status.REFUSED,
        cause="refused",
        cause_since=timezone.now() - timedelta(hours=3),
    )
    incidents.look(timezone.now())
    return row


@pytest.fixture
def signed_in(make_person: Make) -> Callable[..., Client]:
    def signed_in(name: str, role: Role, **fields: Any) -> Client:
        client = Client()
        client.force_login(make_person(name, role, **fields))
        return client

    return signed_in


def incident_of(row: GoHighLevelIntegration) -> Incident:
    return Incident.objects.get(integration=row)


def last_audit() -> tuple[str, str]:
    event = AuditEvent.objects.order_by("-pk")[0]
    return event.action, event.outcome


# --- The page ---


def test_what_is_wrong_shows_with_since_effect_and_link(
    staff_client: Client, refused: GoHighLevelIntegration
) -> None:
    html = html_of(staff_client.get("/alerts/"))
    assert f'href="/installs/{refused.pk}/">Harbour Dental</a>' in html
    assert "needs reconnect" in html
    assert "Nobody gets a token for it until it is reconnected." in html
    assert "3 h ago" in html


def test_a_limited_person_sees_incidents_of_their_agencies_alone(
    signed_in: Make, refused: GoHighLevelIntegration
) -> None:
    vera = signed_in("vera", Role.OPERATOR, agencies=["agency-other"])
    assert "Harbour Dental" not in html_of(vera.get("/alerts/"))
    incident = incident_of(refused)
    for path in ("snooze", "acknowledge"):
        answer = vera.post(f"/alerts/incidents/{incident.pk}/{path}/", {"hours": 1, "reason": "x"})
        assert answer.status_code == 404
    assert vera.post(f"/installs/{refused.pk}/snooze/").status_code == 404


def test_the_fragment_is_the_panel_alone_and_is_not_sent_twice(
    staff_client: Client, refused: GoHighLevelIntegration
) -> None:
    first = staff_client.get("/live/alerts/", headers={"HX-Request": "true"})
    assert html_of(first).startswith('<div id="alerts-panel"')
    version = {"X-Panel-Version": first["X-Panel-Version"]}
    assert staff_client.get("/live/alerts/", headers=version).status_code == 204


def test_it_makes_the_same_queries_whatever_there_is(
    staff_client: Client,
    make_install: Make,
    make_channel: Make,  # noqa: F811
    django_assert_max_num_queries: Any,
) -> None:
    def queries() -> int:
        with django_assert_max_num_queries(30) as captured:
            staff_client.get("/live/alerts/")
        return len(captured)

    make_channel()
    before = queries()
    for _ in range(15):
        make_install(status=Status.REFUSED, cause="refused")
        make_channel()
    incidents.look(timezone.now())
    assert queries() == before


# --- Snooze and acknowledge ---


def test_a_snooze_needs_an_end_and_a_reason_and_can_be_undone(
    staff_client: Client, refused: GoHighLevelIntegration
) -> None:
    page = f"/installs/{refused.pk}/snooze/"
    assert "Snooze alerts about Harbour Dental" in html_of(staff_client.get(page))
    assert staff_client.post(page, {"hours": "4"}).status_code == 400
    assert staff_client.post(page, {"hours": "5000", "reason": "x"}).status_code == 400
    answer = staff_client.post(page, {"hours": "4", "reason": "client is told"})
    assert answer.status_code == 302
    assert last_audit() == ("alert.snooze", "done")
    snooze = Snooze.objects.get()
    assert snooze.until - snooze.created_at == pytest.approx(
        timedelta(hours=4), abs=timedelta(seconds=5)
    )
    account = html_of(staff_client.get(f"/installs/{refused.pk}/"))
    assert "Alerts are snoozed by sam" in account and "client is told" in account
    assert "Snoozed by sam: client is told" in html_of(staff_client.get("/alerts/"))
    staff_client.post(f"/alerts/snoozes/{snooze.pk}/end/")
    assert last_audit() == ("alert.unsnooze", "done")
    assert not Snooze.objects.running(timezone.now()).exists()


def test_a_healthy_account_offers_no_snooze(staff_client: Client, make_install: Make) -> None:
    assert "Snooze alerts" not in html_of(staff_client.get(f"/installs/{make_install().pk}/"))


def test_whoever_looks_after_it_is_named(
    staff_client: Client, refused: GoHighLevelIntegration
) -> None:
    path = f"/alerts/incidents/{incident_of(refused).pk}/acknowledge/"
    staff_client.post(path)
    assert last_audit() == ("alert.acknowledge", "done")
    assert "sam looks after it" in html_of(staff_client.get("/alerts/"))
    staff_client.post(path)
    assert last_audit() == ("alert.acknowledge", "refused")


def test_a_viewer_may_look_but_not_snooze(signed_in: Make, refused: GoHighLevelIntegration) -> None:
    viewer = signed_in("vera", Role.VIEWER)
    assert "Snooze alerts" not in html_of(viewer.get("/alerts/"))
    incident = incident_of(refused)
    for path in (
        f"/installs/{refused.pk}/snooze/",
        f"/alerts/incidents/{incident.pk}/snooze/",
        f"/alerts/incidents/{incident.pk}/acknowledge/",
    ):
        assert viewer.post(path, {"hours": "1", "reason": "x"}).status_code == 403


# --- Channels ---


def test_a_channel_is_added_tested_switched_off_and_removed(
    staff_client: Client,
    staff: User,
    receiver: Any,  # noqa: F811
) -> None:
    form = NEW_CHANNEL | {"address": receiver.url, "kinds": [Kind.OUTAGE], "wants_digest": "on"}
    assert staff_client.post("/alerts/channels/new/", form).status_code == 302
    channel = Channel.objects.get()
    assert (channel.owner, channel.kinds, channel.wants_digest) == (staff, ["outage"], True)
    page = html_of(staff_client.get("/alerts/"))
    assert "JSON 127.0.0.1" in page and "s3cr3t" not in page

    answer = staff_client.post(f"/alerts/channels/{channel.pk}/test/", follow=True)
    assert "The test was taken by JSON 127.0.0.1." in html_of(answer)
    assert receiver.bodies[0]["title"] == "[WhatReach] Test of alerts"
    receiver.status = 403
    answer = staff_client.post(f"/alerts/channels/{channel.pk}/test/", follow=True)
    assert "error=403" in html_of(answer)
    assert last_audit() == ("alert.channel_test", "failed")

    for is_on in (False, True):
        staff_client.post(f"/alerts/channels/{channel.pk}/switch/")
        channel.refresh_from_db()
        assert channel.is_on is is_on
    staff_client.post(f"/alerts/channels/{channel.pk}/remove/")
    assert not Channel.objects.exists()
    assert last_audit() == ("alert.channel_remove", "done")


def test_a_channel_is_changed_and_keeps_the_address_that_nobody_sees(
    staff_client: Client,
    staff: User,
    make_channel: Make,  # noqa: F811
) -> None:
    channel = make_channel(staff, name="Ops", address="jsons://hooks.example.com/s3cr3t")
    path, before = f"/alerts/channels/{channel.pk}/", channel.open_address()
    page = html_of(staff_client.get(path))
    assert 'value="Ops"' in page and "s3cr3t" not in page
    form = NEW_CHANNEL | {"name": "Nights", "address": "", "quiet_from": "22:00"}
    assert staff_client.post(path, form).status_code == 400  # quiet hours without an end
    form |= {"quiet_until": "06:00", "kinds": [Kind.OUTAGE]}
    assert staff_client.post(path, form).status_code == 302
    channel.refresh_from_db()
    assert (channel.name, channel.kinds, channel.open_address()) == ("Nights", ["outage"], before)
    assert last_audit() == ("alert.channel_change", "done")


def test_a_new_address_starts_afresh(
    staff_client: Client,
    staff: User,
    make_channel: Make,  # noqa: F811
) -> None:
    channel = make_channel(staff)
    channel.failing_since, channel.last_error, channel.refusals = timezone.now(), "error=404", 7
    channel.save()
    form = NEW_CHANNEL | {"address": "nights@example.com"}
    staff_client.post(f"/alerts/channels/{channel.pk}/", form)
    channel.refresh_from_db()
    assert channel.open_address() == "nights@example.com"
    assert (channel.failing_since, channel.last_error, channel.refusals) == (None, "", 0)
    assert "nights@example.com" not in str(AuditEvent.objects.latest("pk").details)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"address": "nowhere"}, "Enter a valid email address"),
        ({"address": "syslog://"}, "neither a mail address nor an apprise URL"),
        ({"zone": "Mars/Olympus"}, "Mars/Olympus is not one of the available choices."),
        ({"quiet_from": "22:00"}, "Quiet hours need a beginning and an end."),
        ({"agencies": "nobody"}, "There is no agency with this id"),
        ({"kinds": ["nonsense"]}, "Select a valid choice"),
        ({"name": ""}, "This field is required."),
    ],
)
def test_what_makes_no_sense_is_said_beside_its_field(
    staff_client: Client, change: dict[str, Any], said: str
) -> None:
    answer = staff_client.post("/alerts/channels/new/", NEW_CHANNEL | change)
    assert answer.status_code == 400
    assert said in html_of(answer)
    assert not Channel.objects.exists()


def test_a_limited_person_adds_channels_for_their_agencies_alone(
    signed_in: Make, make_install: Make
) -> None:
    make_install(company_id="agency-north")
    make_install(company_id="agency-south")
    vera = signed_in("vera", Role.OPERATOR, agencies=["agency-north"])
    answer = vera.post("/alerts/channels/new/", NEW_CHANNEL | {"agencies": "agency-south"})
    assert "There is no agency with this id" in html_of(answer)
    answer = vera.post("/alerts/channels/new/", NEW_CHANNEL | {"is_of_team": "on"})
    assert answer.status_code == 400
    form = NEW_CHANNEL | {"is_of_team": "on", "agencies": "agency-north"}
    assert vera.post("/alerts/channels/new/", form).status_code == 302


def test_channels_of_others_do_not_exist_for_one(
    signed_in: Make,
    staff: User,
    make_channel: Make,  # noqa: F811
) -> None:
    of_sam, of_team = make_channel(staff, name="Sam's"), make_channel(name="The team's")
    operator, viewer = signed_in("olga", Role.OPERATOR), signed_in("vera", Role.VIEWER)
    assert operator.post(f"/alerts/channels/{of_sam.pk}/remove/").status_code == 404
    assert operator.get(f"/alerts/channels/{of_sam.pk}/").status_code == 404
    assert viewer.post(f"/alerts/channels/{of_team.pk}/remove/").status_code == 404
    assert "The team&#x27;s" in html_of(operator.get("/alerts/"))
    assert "The team&#x27;s" not in html_of(viewer.get("/alerts/"))
    assert operator.post(f"/alerts/channels/{of_team.pk}/remove/").status_code == 302


def test_without_a_mail_server_the_page_says_so(staff_client: Client, settings: Any) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
    assert "No mail server is set up" in html_of(staff_client.get("/alerts/"))


# --- Signed links ---


def path_of(url: str) -> str:
    return url.removeprefix("http://localhost")


def test_a_link_that_is_forged_altered_or_too_old_does_nothing(
    client: Client,
    make_channel: Make,  # noqa: F811
) -> None:
    channel = make_channel()
    good = path_of(links.signed(Act.UNSUBSCRIBE, channel))
    forged = signing.dumps(["unsubscribe", str(channel.pk), ""], salt="another")
    assert client.post(f"/alerts/link/{forged}/").status_code == 410
    assert client.post(good[:-2] + "x/").status_code == 410
    with time_machine.travel(timezone.now() + links.LIFE + timedelta(days=1)):
        assert client.post(good).status_code == 410
    channel.refresh_from_db()
    assert channel.is_on


def test_a_link_acts_no_more_than_its_owner_may(
    client: Client,
    make_person: Make,
    make_channel: Make,  # noqa: F811
    refused: GoHighLevelIntegration,
) -> None:
    vera = make_person("vera", Role.OPERATOR)
    link = path_of(links.signed(Act.ACKNOWLEDGE, make_channel(vera), incident_of(refused)))
    vera.groups.clear()
    assert client.post(link).status_code == 403
    assert incident_of(refused).acknowledged_at is None


def test_what_a_link_did_is_in_the_trail(
    client: Client,
    staff: User,
    make_channel: Make,  # noqa: F811
) -> None:
    client.post(path_of(links.signed(Act.UNSUBSCRIBE, make_channel(staff))))
    event = AuditEvent.objects.order_by("-pk")[0]
    assert (event.action, event.details["act"]) == ("alert.link", "unsubscribe")
