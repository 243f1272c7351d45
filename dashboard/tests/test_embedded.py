"""The page inside HighLevel."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.test import Client
from django.utils import timezone

from access.models import AuditEvent, EmbeddedSession
from integrations.models import GoHighLevelIntegration
from integrations.tests.test_sso import PERSON, SECRET, VECTOR, encrypt

AGENCY = PERSON["companyId"]
Install = Callable[..., GoHighLevelIntegration]


@pytest.fixture(autouse=True)
def embedding(db: None, settings: Any) -> None:
    settings.GHL_SSO_KEY = SECRET
    settings.EMBED_FRAME_ANCESTORS = ["https://app.gohighlevel.com", "https://crm.example.com"]


def begin(client: Client, payload: str = "", **headers: Any) -> Any:
    return client.post("/embedded/session/", {"payload": payload or encrypt(PERSON)}, **headers)


def test_an_agencys_user_sees_its_accounts_and_how_they_are(make_install: Install) -> None:
    make_install(name="Harbour Dental", company_id=AGENCY)
    make_install(name="Of another", company_id="agency-2")
    client = Client()
    html = begin(client, VECTOR).content.decode()
    assert "Harbour Dental" in html and "Healthy" in html
    assert "Of another" not in html
    assert "Harbour Dental" in client.get("/embedded/").content.decode()
    assert "Of another" not in client.get("/embedded/").content.decode()
    assert "access-" not in html and "<form" not in html
    event = AuditEvent.objects.get(action="embedded.sign_in")
    assert (event.actor_name, event.company_id) == ("John Doe in HighLevel", AGENCY)


def test_the_cookie_lives_in_the_frame_and_nowhere_else(make_install: Install) -> None:
    client = Client()
    cookie = begin(client).cookies["whatreach_embedded"].OutputString()
    for part in ("Secure", "HttpOnly", "SameSite=None; Partitioned", "Path=/embedded/"):
        assert part in cookie
    assert "Max-Age=1800" in cookie


def test_a_copied_proof_begins_no_second_session(make_install: Install) -> None:
    make_install(name="Harbour Dental", company_id=AGENCY)
    payload = encrypt(PERSON)
    theirs = Client()
    assert begin(theirs, payload).status_code == 200
    thief = Client()
    refused = begin(thief, payload)
    assert refused.status_code == 403
    assert "Harbour Dental" not in refused.content.decode()
    assert "whatreach_embedded" not in refused.cookies
    assert begin(thief, payload + "\n").status_code == 403
    assert EmbeddedSession.objects.count() == 1
    # Whoever has the session sends it again, as HighLevel's page may.
    assert begin(theirs, payload).status_code == 200


def test_sending_it_again_makes_the_session_no_longer() -> None:
    payload, client = encrypt(PERSON), Client()
    begin(client, payload)
    ends_at = EmbeddedSession.objects.get().ends_at
    with time_machine.travel(timezone.now() + timedelta(minutes=29)):
        assert begin(client, payload).status_code == 200
    assert EmbeddedSession.objects.get().ends_at == ends_at
    with time_machine.travel(timezone.now() + timedelta(minutes=31)):
        assert begin(client, payload).status_code == 403
        assert "Asking HighLevel" in client.get("/embedded/").content.decode()


def test_many_accounts_come_page_by_page(make_install: Install) -> None:
    client = Client()
    begin(client)
    for n in range(51):
        make_install(company_id=AGENCY, name=f"Account {n:02}")
    first = client.get("/embedded/").content.decode()
    assert 'rel="next" href="?page=2"' in first
    assert first.count('<span class="install-name">') == 50
    assert client.get("/embedded/?page=2").content.decode().count("install-name") == 1


def test_the_session_opens_nothing_else(make_install: Install) -> None:
    row = make_install(company_id=AGENCY)
    client = Client()
    begin(client)
    for path in ("/", "/installs/", f"/installs/{row.pk}/", "/people/", "/admin/", "/activity/"):
        assert client.get(path).status_code == 302, path
    assert client.post(f"/installs/{row.pk}/reveal/").status_code == 302
    assert client.get(f"/app/get-token/{row.pk}/").status_code == 401


@pytest.mark.parametrize(
    "payload",
    [
        "x",
        encrypt(PERSON, "another-secret"),
        encrypt(PERSON | {"companyId": "' OR 1=1 --"}),
        encrypt(PERSON | {"type": "location"}),
    ],
)
def test_who_is_not_of_an_agency_sees_nothing(make_install: Install, payload: str) -> None:
    make_install(name="Harbour Dental", company_id=AGENCY)
    answer = begin(Client(), payload)
    assert answer.status_code == 403
    assert "Harbour Dental" not in answer.content.decode()
    assert not EmbeddedSession.objects.exists()


def test_guessing_is_limited(settings: Any) -> None:
    settings.API_FAILED_KEYS_PER_MINUTE = 3
    with time_machine.travel(timezone.now(), tick=False):
        assert [begin(Client(), "x").status_code for _ in range(5)] == [403] * 3 + [429] * 2


def test_another_sites_page_cannot_send_it() -> None:
    assert begin(Client(), headers={"Origin": "https://evil.example"}).status_code == 403
    assert begin(Client(), headers={"Origin": "http://testserver"}).status_code == 200


def test_only_this_page_may_stand_in_a_frame_and_only_of_the_named_hosts(
    staff_client: Client,
) -> None:
    for answer in (Client().get("/embedded/"), begin(Client())):
        policy = answer["Content-Security-Policy"]
        assert "frame-ancestors https://app.gohighlevel.com https://crm.example.com" in policy
        assert "X-Frame-Options" not in answer
        assert "no-store" in answer["Cache-Control"]
    for path in ("/", "/people/", "/accounts/login/"):
        answer = staff_client.get(path)
        assert "frame-ancestors 'none'" in answer["Content-Security-Policy"]
        assert answer["X-Frame-Options"] == "DENY"


def test_without_the_shared_secret_there_is_no_such_page(settings: Any) -> None:
    settings.GHL_SSO_KEY = ""
    assert Client().get("/embedded/").status_code == 404
    assert begin(Client()).status_code == 404


def test_the_page_asks_the_frame_around_it(settings: Any) -> None:
    html = Client().get("/embedded/").content.decode()
    assert 'data-embedded="https://app.gohighlevel.com https://crm.example.com"' in html
    assert SECRET not in html


def test_it_costs_the_same_for_many_accounts(
    make_install: Install, django_assert_num_queries: Any
) -> None:
    client = Client()
    begin(client)
    for _ in range(3):
        make_install(company_id=AGENCY)
    # the session, how many accounts, the accounts
    with django_assert_num_queries(3):
        client.get("/embedded/")
    for _ in range(20):
        make_install(company_id=AGENCY)
    with django_assert_num_queries(3):
        client.get("/embedded/")
