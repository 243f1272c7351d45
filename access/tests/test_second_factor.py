"""Second factors, recovery codes, sessions and limits on guessing: allauth's pages, our rules."""

from __future__ import annotations

import base64
import hmac
import json
import re
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.db import connection
from django.test import Client
from django.utils import timezone

from access.checks import check_required_factors
from access.models import AuditEvent, User
from access.roles import Role

LOGIN = "/accounts/login/"
LINUX = "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0"


def code_of(secret: str, at: float | None = None) -> str:
    """What an authenticator app shows (RFC 6238: SHA-1, 6 digits, 30 s)."""
    key = base64.b32decode(secret + "=" * (-len(secret) % 8))
    counter = int((time.time() if at is None else at) // 30).to_bytes(8, "big")
    digest = hmac.digest(key, counter, "sha1")
    start = digest[-1] & 15
    number = int.from_bytes(digest[start : start + 4], "big") & 0x7FFFFFFF
    return f"{number % 1_000_000:06}"


def set_up(client: Client) -> str:
    """Set up an authenticator app; return its secret."""
    page = client.get("/accounts/2fa/totp/activate/")
    secret = re.search(r"type this into the app: <code>(\w+)</code>", page.content.decode())
    assert secret, page.content.decode()
    answer = client.post("/accounts/2fa/totp/activate/", {"code": code_of(secret[1])})
    assert answer.status_code == 302, answer.content.decode()
    return secret[1]


def sign_in_by_password(**headers: Any) -> tuple[Client, Any]:
    client = Client(**headers)
    return client, client.post(LOGIN, {"login": "sam", "password": "pw"})


def test_signing_in_then_asks_for_the_code(staff_client: Client) -> None:
    secret = set_up(staff_client)
    client, answer = sign_in_by_password()
    assert answer["Location"] == "/accounts/2fa/authenticate/"
    assert client.get("/").status_code == 302
    wrong = client.post("/accounts/2fa/authenticate/", {"code": "000000"})
    assert wrong.status_code == 200 and client.get("/").status_code == 302
    with time_machine.travel(time.time() + 30):  # each code is good once
        client.post("/accounts/2fa/authenticate/", {"code": code_of(secret)})
        assert client.get("/").status_code == 200


def test_a_refused_code_is_recorded_and_the_code_is_not(staff_client: Client) -> None:
    set_up(staff_client)
    client, _answer = sign_in_by_password(REMOTE_ADDR="203.0.113.7")
    client.post("/accounts/2fa/authenticate/", {"code": "000000"})
    event = AuditEvent.objects.get(action="person.sign_in", outcome=AuditEvent.REFUSED)
    assert (event.target_name, event.address) == ("sam", "203.0.113.7")
    assert event.details == {"factor": "totp"}


def test_a_recovery_code_opens_once_when_the_phone_is_gone(staff_client: Client) -> None:
    set_up(staff_client)
    page = staff_client.get("/accounts/2fa/recovery-codes/").content.decode()
    codes = re.findall(r"<li><code>(\d+)</code></li>", page)
    assert len(codes) == 10
    for expected in (200, 302):
        client, _answer = sign_in_by_password()
        client.post("/accounts/2fa/authenticate/", {"code": codes[0]})
        assert client.get("/").status_code == expected


@pytest.mark.parametrize("page", ["", "recovery-codes/", "recovery-codes/generate/"])
def test_one_sealed_with_another_secret_key_is_said_to_be(
    staff: User, sign_in: Callable[..., Client], settings: Any, page: str
) -> None:
    set_up(sign_in(staff))
    settings.SECRET_KEY = "another-secret-key-of-more-than-fifty-characters-in-all"
    answer = sign_in(staff).get(f"/accounts/2fa/{page}")
    assert answer.status_code == 409
    assert "DJANGO_SECRET_KEY has changed" in answer.content.decode()
    assert "An owner can reset it" in answer.content.decode()


def test_the_database_holds_no_secret_of_a_factor_in_clear(staff_client: Client) -> None:
    secret = set_up(staff_client)
    stored = json.dumps(list(Authenticator.objects.values_list("data", flat=True)))
    assert secret not in stored
    assert Authenticator.objects.count() == 2


def test_a_passkey_page_and_its_scripts_are_there(staff_client: Client) -> None:
    html = staff_client.get("/accounts/2fa/webauthn/add/").content.decode()
    assert '"creation_options"' in html and "mfa/js/webauthn.js" in html
    assert "Sign in with a passkey" in Client().get(LOGIN).content.decode()
    answer = Client().get("/accounts/2fa/webauthn/login/", headers={"Accept": "application/json"})
    assert "challenge" in answer.json()["request_options"]["publicKey"]


@pytest.mark.parametrize(
    "path",
    [
        "/accounts/2fa/",
        "/accounts/2fa/webauthn/",
        "/accounts/2fa/totp/deactivate/",
        "/accounts/2fa/recovery-codes/",
        "/accounts/2fa/recovery-codes/generate/",
        "/accounts/sessions/",
        "/accounts/reauthenticate/",
        "/accounts/2fa/reauthenticate/",
        "/accounts/password/change/",
        "/me/",
    ],
)
def test_each_page_of_the_own_account_is_drawn(staff_client: Client, path: str) -> None:
    set_up(staff_client)
    answer = staff_client.get(path)
    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]
    assert b"<style" not in answer.content and b"onclick" not in answer.content


def test_nobody_gives_themselves_an_address(staff_client: Client) -> None:
    answer = staff_client.post("/accounts/email/", {"action_add": "", "email": "eve@evil.test"})
    assert answer["Location"] == "/me/"
    assert not EmailAddress.objects.exists()


def test_adding_and_removing_one_is_on_record(
    staff_client: Client, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        set_up(staff_client)
    with django_capture_on_commit_callbacks(execute=True):
        staff_client.post("/accounts/2fa/totp/deactivate/")
    actions = set(AuditEvent.objects.values_list("action", flat=True))
    assert {"person.add_factor", "person.remove_factor"} <= actions


def test_an_owner_resets_the_factor_of_somebody_who_lost_it(
    staff_client: Client, make_person: Callable[..., User], sign_in: Callable[..., Client]
) -> None:
    kim = make_person("kim", Role.VIEWER)
    theirs = sign_in(kim)
    set_up(theirs)
    staff_client.post(f"/people/{kim.pk}/reset-factor/")
    assert not Authenticator.objects.filter(user=kim).exists()
    client = Client()
    answer = client.post(LOGIN, {"login": "kim", "password": "pw"})
    assert answer["Location"] == "/"


# --- A role that must have one ---


@pytest.fixture
def required(settings: Any) -> None:
    settings.REQUIRE_MFA_FOR = ["Owner"]


def test_a_role_that_must_have_one_is_led_to_it_before_anything_else(
    staff_client: Client, required: None
) -> None:
    for path in ("/", "/installs/", "/people/", "/admin/", "/me/"):
        assert staff_client.get(path)["Location"] == "/accounts/2fa/", path
    answer = staff_client.get("/installs/", headers={"HX-Request": "true"})
    assert answer["HX-Redirect"] == "/accounts/2fa/"
    assert staff_client.post("/jobs/new/")["Location"] == "/accounts/2fa/"
    set_up(staff_client)
    assert staff_client.get("/installs/").status_code == 200


def test_other_roles_are_not_concerned(
    make_person: Callable[..., User], sign_in: Callable[..., Client], required: None
) -> None:
    client = sign_in(make_person("kim", Role.VIEWER))
    assert client.get("/").status_code == 200


def test_recovery_codes_alone_are_no_second_factor(
    staff_client: Client, staff: User, required: None
) -> None:
    set_up(staff_client)
    Authenticator.objects.filter(type="totp").delete()
    assert staff_client.get("/")["Location"] == "/accounts/2fa/"


def test_it_costs_one_query_and_none_where_it_is_not_asked_for(
    staff_client: Client, settings: Any, django_assert_num_queries: Any
) -> None:
    set_up(staff_client)
    with django_assert_num_queries(2):  # session, user; the method is refused before more
        staff_client.get("/undo/")
    settings.REQUIRE_MFA_FOR = ["Owner"]
    with django_assert_num_queries(3):
        staff_client.get("/undo/")


def test_a_role_that_does_not_exist_stops_the_start(settings: Any) -> None:
    settings.REQUIRE_MFA_FOR = ["owner"]
    assert [error.id for error in check_required_factors()] == ["access.E001"]
    settings.REQUIRE_MFA_FOR = ["Owner", "Operator"]
    assert check_required_factors() == []


# --- Guessing and sessions ---


def test_guessing_passwords_is_limited_for_all_processes(staff: User) -> None:
    """The counts are in the database: a second process goes on where the first one was."""
    for n in range(5):
        Client().post(LOGIN, {"login": "sam", "password": f"guess {n}"})
    client, answer = sign_in_by_password()
    assert answer.status_code == 200
    assert "Too many failed login attempts" in answer.content.decode()
    with connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM access_cache WHERE cache_key LIKE '%login_failed%'")
        assert cursor.fetchone()[0] > 0
    with time_machine.travel(timezone.now() + timedelta(minutes=6)):
        _client, answer = sign_in_by_password()
        assert answer["Location"] == "/"


def test_the_others_are_signed_out_from_the_list(staff: User) -> None:
    phone, _ = sign_in_by_password(headers={"User-Agent": "Phone"})
    desk, _ = sign_in_by_password(headers={"User-Agent": LINUX})
    html = desk.get("/accounts/sessions/").content.decode()
    assert ">Phone<" in html and ">Firefox 132 on Linux<" in html
    desk.post("/accounts/sessions/")
    assert phone.get("/").status_code == 302
    assert desk.get("/").status_code == 200


@pytest.mark.one_database
def test_the_admin_leads_to_no_sessions_key_and_no_second_factor(staff: User) -> None:
    """A key of somebody's session is as good as their password."""
    User.objects.filter(pk=staff.pk).update(is_superuser=True)
    client, _ = sign_in_by_password()
    index = client.get("/admin/").content.decode()
    assert "/admin/access/user/" in index
    for path in ("usersessions/usersession", "mfa/authenticator", "account/emailaddress"):
        assert path not in index
        assert client.get(f"/admin/{path}/").status_code == 404
