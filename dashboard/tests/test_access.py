"""Who gets into the pages, and what they may do with an address."""

from __future__ import annotations

import uuid

import pytest
from django.test import Client
from django.urls import reverse

from access.models import User

PK = uuid.UUID("5f0c6f0e-9a77-4a43-9c56-000000000001")
PAGES = [
    reverse("dashboard:overview"),
    reverse("dashboard:install-list"),
    reverse("dashboard:install-detail", args=[PK]),
    reverse("dashboard:live-overview"),
    reverse("dashboard:live-install-list"),
    reverse("dashboard:live-install-detail", args=[PK]),
]
ACTIONS = [
    reverse("dashboard:install-refresh", args=[PK]),
    reverse("dashboard:install-bulk-refresh"),
    reverse("dashboard:demo-data-remove"),
]


@pytest.fixture
def outsider(client: Client, db: None) -> Client:
    client.force_login(User.objects.create_user("olga", password="pw"))
    return client


@pytest.mark.parametrize("url", PAGES)
def test_a_stranger_is_sent_to_sign_in_and_back(client: Client, db: None, url: str) -> None:
    answer = client.get(url)
    assert answer.status_code == 302
    assert answer["Location"] == f"/accounts/login/?next={url}"


@pytest.mark.parametrize("url", PAGES + ACTIONS)
def test_a_sign_in_that_ended_leads_htmx_to_the_sign_in_page(
    client: Client, db: None, url: str
) -> None:
    headers = {"HX-Request": "true", "HX-Current-URL": "http://testserver/installs/?q=x"}
    answer = client.get(url, headers=headers) if url in PAGES else client.post(url, headers=headers)
    assert answer.status_code == 200
    assert answer["HX-Redirect"] == "/accounts/login/?next=%2Finstalls%2F%3Fq%3Dx"
    assert answer.content == b""


@pytest.mark.parametrize("url", ACTIONS)
def test_a_stranger_cannot_act(client: Client, db: None, url: str) -> None:
    answer = client.post(url)
    assert answer.status_code == 302
    assert answer["Location"] == "/accounts/login/?next=/"


@pytest.mark.parametrize("url", PAGES + ACTIONS)
def test_somebody_who_is_not_staff_gets_403(outsider: Client, url: str) -> None:
    answer = outsider.get(url) if url in PAGES else outsider.post(url)
    assert answer.status_code == 403
    assert b"No entry" in answer.content


@pytest.mark.parametrize("url", PAGES)
def test_pages_cannot_be_posted_to(staff_client: Client, url: str) -> None:
    assert staff_client.post(url).status_code == 405


@pytest.mark.parametrize("url", ACTIONS)
def test_actions_are_post_only(staff_client: Client, url: str) -> None:
    assert staff_client.get(url).status_code == 405


@pytest.mark.parametrize("url", ACTIONS)
def test_actions_need_the_csrf_token(staff: User, url: str) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(staff)
    assert client.post(url).status_code == 403


def test_pages_are_kept_in_no_cache(staff_client: Client) -> None:
    answer = staff_client.get("/")
    assert "no-store" in answer["Cache-Control"]
    assert "HX-Request" in answer["Vary"]


def test_the_pages_allow_no_inline_script_or_style(staff_client: Client) -> None:
    answer = staff_client.get("/")
    policy = answer["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    html = answer.content.decode()
    assert " style=" not in html and " onclick=" not in html and "hx-on" not in html
    assert html.count("<script") == html.count("<script src=")
