"""What is dangerous asks again who is there, and then goes on where it was."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.test import Client
from django.utils import timezone

from access.models import Invitation, User
from access.roles import Role

CONFIRM = "/accounts/reauthenticate/"
INVITE = {"username": "nora", "email": "", "role": "Viewer"}


@pytest.fixture
def stale(staff: User, sign_in: Callable[..., Client]) -> Client:
    """A browser whose owner signed in twenty minutes ago."""
    return sign_in(staff, minutes_ago=20)


def test_right_after_signing_in_nothing_is_asked(staff_client: Client) -> None:
    assert staff_client.get("/people/invite/").status_code == 200


def test_some_time_later_it_asks_and_leads_back(stale: Client) -> None:
    asked = stale.get("/people/invite/")
    assert asked["Location"] == f"{CONFIRM}?next=%2Fpeople%2Finvite%2F"
    assert b"Confirm that it is you" in stale.get(asked["Location"]).content
    answer = stale.post(asked["Location"], {"password": "pw", "next": "/people/invite/"})
    assert answer["Location"] == "/people/invite/"
    assert stale.get("/people/invite/").status_code == 200


def test_what_was_sent_is_kept_and_carried_out_afterwards(stale: Client) -> None:
    asked = stale.post("/people/invite/", INVITE)
    assert asked["Location"].startswith(CONFIRM)
    assert not Invitation.objects.exists()
    answer = stale.post(CONFIRM, {"password": "pw", "next": "/people/invite/"})
    invitation = Invitation.objects.get()
    assert invitation.username == "nora"
    assert answer["Location"] == f"/people/invitations/{invitation.pk}/"


def test_a_wrong_password_carries_nothing_out(stale: Client) -> None:
    stale.post("/people/invite/", INVITE)
    stale.post(CONFIRM, {"password": "guessed", "next": "/people/invite/"})
    assert not Invitation.objects.exists()
    assert stale.get("/people/invite/").status_code == 302


def test_within_htmx_the_page_as_a_whole_is_led_away_and_back_to_itself(stale: Client) -> None:
    answer = stale.post(
        "/people/invite/",
        INVITE,
        headers={"HX-Request": "true", "HX-Current-URL": "http://testserver/people/"},
    )
    assert answer["HX-Redirect"] == f"{CONFIRM}?next=%2Fpeople%2F"
    assert not Invitation.objects.exists()


def test_it_holds_for_a_quarter_of_an_hour(staff_client: Client) -> None:
    with time_machine.travel(timezone.now() + timedelta(minutes=14), tick=False):
        assert staff_client.get("/people/invite/").status_code == 200
    with time_machine.travel(timezone.now() + timedelta(minutes=16), tick=False):
        assert staff_client.get("/people/invite/").status_code == 302


def test_whoever_may_not_is_refused_and_not_asked(
    make_person: Any, sign_in: Callable[..., Client]
) -> None:
    client = sign_in(make_person("kim", Role.OPERATOR), minutes_ago=20)
    assert client.get("/people/invite/").status_code == 403


def test_the_proof_of_one_person_is_none_for_the_next_in_the_same_browser(
    stale: Client, make_person: Any
) -> None:
    session = stale.session
    session["account_authentication_methods"] = [{"method": "password", "at": 9e12}]
    session["account_authentication_methods_user"] = "4711"
    session.save()
    assert stale.get("/people/invite/").status_code == 302


@pytest.mark.parametrize("guesses", [11])
def test_guessing_the_password_there_is_limited(stale: Client, guesses: int) -> None:
    answers = [stale.post(CONFIRM, {"password": f"guess {n}"}) for n in range(guesses)]
    assert answers[-1].status_code == 429
