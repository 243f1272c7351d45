"""Sign-in, install results and error pages."""

from __future__ import annotations

import re
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.db import OperationalError, connection
from django.test import Client, RequestFactory

from access.mfa import StaffMFAAdapter
from access.models import User
from config.audiences import addresses
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


def of_allauth() -> list[str]:
    """The addresses of all pages that allauth's views answer, with some values filled in."""
    ours = [a for a in addresses() if a.pattern.callback.__module__.startswith("allauth.")]
    paths = [a.path.replace("<int:pk>", "7").replace("^", "").rstrip("$") for a in ours]
    return [re.sub(r"\(\?P<\w+>.+?\)", "x", path) for path in paths]


def add_factors(staff: User) -> None:
    sealed = StaffMFAAdapter().encrypt("ABCDEFGH")
    Authenticator.objects.create(user=staff, type="totp", data={"secret": sealed})
    codes = {"seed": sealed, "used_mask": 0}
    Authenticator.objects.create(user=staff, type="recovery_codes", data=codes)


def drawn_for(client: Client) -> list[str]:
    """Which of allauth's addresses answer with a page; each has to be one of our templates."""
    return [path for path in of_allauth() if is_ours(client.get(path))]


def is_ours(page: Any) -> bool:
    if page.status_code != 200 or not page["Content-Type"].startswith("text/html"):
        return False
    drawn = page.templates[0].origin.name
    assert drawn.startswith(str(settings.BASE_DIR)) and b'class="card' in page.content, drawn
    return True


def test_before_sign_in_every_page_of_allauth_is_ours(client: Client, db: None) -> None:
    drawn = drawn_for(client)
    assert "/accounts/signup/" in drawn and "/accounts/password/reset/key/x-x/" in drawn


def test_once_signed_in_every_page_of_allauth_is_ours(client: Client, staff: User) -> None:
    client.post("/accounts/login/", {"login": "sam", "password": "pw"})
    drawn = drawn_for(client)
    assert "/accounts/2fa/totp/activate/" in drawn and "/accounts/sessions/" in drawn
    add_factors(staff)
    drawn = drawn_for(client)
    assert "/accounts/2fa/totp/deactivate/" in drawn and "/accounts/2fa/recovery-codes/" in drawn
    Authenticator.objects.create(user=staff, pk=7, type="webauthn", data={"name": "My key"})
    for path in ("", "keys/7/edit/", "keys/7/remove/"):
        assert is_ours(client.get(f"/accounts/2fa/webauthn/{path}"))


def test_the_page_that_asks_for_the_second_factor_is_ours(client: Client, staff: User) -> None:
    add_factors(staff)
    assert is_ours(client.post("/accounts/login/", {"login": "sam", "password": "pw"}, follow=True))


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


@pytest.mark.parametrize("path", ["/", "/live/installs/", "/app/callback/"])
def test_a_database_that_is_away_is_said_with_when_to_come_back(
    client: Client, staff: User, path: str
) -> None:
    def away(*_: object) -> None:
        raise OperationalError("server closed the connection")

    client.force_login(staff)
    client.raise_request_exception = False
    with connection.execute_wrapper(away):
        answer = client.get(path, HTTP_HX_REQUEST="true")
    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    assert b"does not answer" in answer.content


def test_the_last_page_needs_no_static_files(
    rf: RequestFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> str:
        raise ValueError("no manifest")

    monkeypatch.setattr(errors, "render_to_string", fail)
    page = errors.server_error(rf.get("/"))
    assert page.status_code == 500 and b"WhatReach has a fault" in page.content


def test_a_page_that_is_too_old_says_that_nothing_was_changed(staff: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(staff)
    answer = client.post("/jobs/new/")
    assert answer.status_code == 403 and b"Nothing was changed." in answer.content
