"""Sign-in, install results and error pages."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client, RequestFactory

from access.models import User
from dashboard import errors


def test_sign_in_has_the_products_look_and_leads_back(client: Client, staff: User) -> None:
    page = client.get("/accounts/login/?next=/installs/")
    assert b"<h1>Sign in</h1>" in page.content and b"WhatReach" in page.content
    data = {"login": "sam", "password": "pw", "next": "/installs/"}
    assert client.post("/accounts/login/", data)["Location"] == "/installs/"


def test_a_wrong_password_says_so(client: Client, staff: User) -> None:
    page = client.post("/accounts/login/", {"login": "sam", "password": "no"})
    assert page.status_code == 200 and b'role="alert"' in page.content


def test_a_one_time_password_leads_to_a_page_that_says_why(client: Client, staff: User) -> None:
    User.objects.update(must_change_password=True)
    client.force_login(staff)
    page = client.get("/", follow=True)
    assert page.redirect_chain == [("/accounts/password/change/", 302)]
    assert b"one-time password" in page.content


@pytest.mark.parametrize(
    "path", ["/accounts/password/change/", "/accounts/logout/", "/accounts/reauthenticate/"]
)
def test_the_other_account_pages_have_the_products_look(staff_client: Client, path: str) -> None:
    page = staff_client.get(path)
    assert page.status_code == 200 and b'class="card centred-card"' in page.content


@pytest.mark.parametrize("path", ["/accounts/signup/", "/accounts/password/reset/"])
def test_pages_before_sign_in_have_the_products_look(client: Client, db: None, path: str) -> None:
    assert b'class="card centred-card"' in client.get(path).content


def test_the_end_of_an_install_names_nobody(client: Client, db: None) -> None:
    page = client.get("/app/installed/").content.decode()
    assert "Connected" in page
    assert "HighLevel" not in page and "WhatReach</span>" not in page
    assert "Open the dashboard" not in page


def test_staff_find_back_to_the_dashboard(staff_client: Client) -> None:
    assert b"Open the dashboard" in staff_client.get("/app/installed/").content


def test_a_failed_install_says_what_happened_and_offers_to_start_again(
    client: Client, db: None
) -> None:
    page = client.get("/app/callback/?error=access_denied")
    assert page.status_code == 400
    assert b"The install was cancelled" in page.content and b"Start again" in page.content


def test_what_is_not_set_up_is_named(client: Client, db: None, settings: Any) -> None:
    settings.GHL_CLIENT_SECRET = ""
    page = client.get("/app/install/")
    assert page.status_code == 503
    assert b"<code>GHL_CLIENT_SECRET</code>" in page.content


@pytest.mark.parametrize(
    ("handler", "status", "words"),
    [
        (errors.bad_request, 400, b"That did not work"),
        (errors.permission_denied, 403, b"No entry"),
        (errors.page_not_found, 404, b"Nothing here"),
        (errors.server_error, 500, b"A fault on our side"),
    ],
)
def test_errors_are_pages_for_people_and_json_for_machines(
    handler: Any, status: int, words: bytes, rf: RequestFactory
) -> None:
    def answer(path: str) -> Any:
        arguments = [] if status == 500 else [Exception()]
        return handler(rf.get(path), *arguments)

    page = answer("/installs/x/")
    assert page.status_code == status and words in page.content
    for path in ("/app/x/", "/ghl/x/"):
        body = answer(path)
        assert body.status_code == status and body["Content-Type"] == "application/json"


def test_the_last_page_needs_no_static_files(
    rf: RequestFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> str:
        raise ValueError("no manifest")

    monkeypatch.setattr(errors, "render_to_string", fail)
    page = errors.server_error(rf.get("/"))
    assert page.status_code == 500 and b"WhatReach has a fault" in page.content
