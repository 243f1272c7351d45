"""Showing an access token to a person: on record, for half a minute, and never the other token."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from access.models import AuditEvent, User
from access.roles import Role
from integrations import tasks
from integrations.models import GoHighLevelIntegration

Install = Callable[..., GoHighLevelIntegration]


def test_an_owner_sees_it_and_that_is_on_record(
    staff_client: Client, make_install: Install
) -> None:
    row = make_install(name="Harbour Dental")
    answer = staff_client.post(f"/installs/{row.pk}/reveal/")
    html = answer.content.decode()
    assert f"access-{row.pk}" in html and "<html" in html
    assert f"refresh-{row.pk}" not in html
    assert "no-store" in answer["Cache-Control"]
    event = AuditEvent.objects.get(action="token.reveal")
    assert (event.actor_name, event.target_id, event.outcome) == ("sam", str(row.pk), "done")
    assert f"access-{row.pk}" not in str(vars(event))


def test_within_the_page_it_comes_as_a_dialog_that_ends_by_itself(
    staff_client: Client, make_install: Install
) -> None:
    row = make_install()
    answer = staff_client.post(f"/installs/{row.pk}/reveal/", headers={"HX-Request": "true"})
    html = answer.content.decode()
    assert html.startswith('<dialog class="reveal-dialog" data-reveal="30"')
    assert f"access-{row.pk}" in html


@pytest.mark.django_db(transaction=True)
def test_without_a_record_there_is_no_token(staff_client: Client, make_install: Install) -> None:
    row = make_install()
    staff_client.raise_request_exception = False
    with connection.cursor() as cursor:  # the trail cannot be written
        cursor.execute("ALTER TABLE access_auditevent RENAME TO audit_is_away")
    try:
        answer = staff_client.post(f"/installs/{row.pk}/reveal/")
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE audit_is_away RENAME TO access_auditevent")
    assert answer.status_code >= 500
    assert f"access-{row.pk}" not in answer.content.decode()


def test_it_asks_again_who_is_there_and_then_shows_it(
    staff: User, sign_in: Callable[..., Client], make_install: Install
) -> None:
    row = make_install()
    client = sign_in(staff, minutes_ago=20)
    asked = client.post(f"/installs/{row.pk}/reveal/")
    assert "/reauthenticate/" in asked["Location"]
    answer = client.post(
        asked["Location"], {"password": "pw", "next": f"/installs/{row.pk}/reveal/"}
    )
    assert f"access-{row.pk}" in answer.content.decode()
    assert "no-store" in answer["Cache-Control"]


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
def test_others_see_neither_token_nor_button(
    make_person: Any, sign_in: Callable[..., Client], make_install: Install, role: Role
) -> None:
    row = make_install()
    client = sign_in(make_person("kim", role))
    assert client.post(f"/installs/{row.pk}/reveal/").status_code == 403
    assert b"Reveal token" not in client.get(f"/installs/{row.pk}/").content


def test_somebody_of_another_agency_finds_no_such_account(
    make_person: Any, sign_in: Callable[..., Client], make_install: Install
) -> None:
    row = make_install(company_id="agency-2")
    client = sign_in(make_person("kim", Role.OWNER, agencies=["agency-1"]))
    assert client.post(f"/installs/{row.pk}/reveal/").status_code == 404


def test_looking_at_the_address_shows_nothing(staff_client: Client, make_install: Install) -> None:
    assert staff_client.get(f"/installs/{make_install().pk}/reveal/").status_code == 405


def test_a_token_that_has_ended_is_not_shown(staff_client: Client, make_install: Install) -> None:
    row = make_install(expires_in=timedelta(minutes=-1))
    html = staff_client.post(f"/installs/{row.pk}/reveal/").content.decode()
    assert "There is no valid token." in html and f"access-{row.pk}" not in html
    assert AuditEvent.objects.get(action="token.reveal").outcome == "refused"


def test_the_page_of_the_account_offers_it_and_holds_no_token(
    staff_client: Client, make_install: Install
) -> None:
    row = make_install()
    html = staff_client.get(f"/installs/{row.pk}/").content.decode()
    assert "Reveal token" in html and f"access-{row.pk}" not in html


def test_a_damaged_token_is_said_and_everything_else_goes_on(
    staff_client: Client, make_install: Install, api: Callable[..., Client]
) -> None:
    """Copied from another row by somebody who can write into the database."""
    one, other = make_install(), make_install()
    GoHighLevelIntegration.objects.filter(pk=one.pk).update(
        access_token_encrypted=other.access_token_encrypted,
        refresh_token_encrypted=other.refresh_token_encrypted,
    )
    html = staff_client.post(f"/installs/{one.pk}/reveal/").content.decode()
    assert "cannot be read" in html and f"access-{other.pk}" not in html
    caller = api()
    answer = caller.get(f"/app/get-token/{one.pk}/")
    assert (answer.status_code, answer.json()["error"]) == (409, "token_damaged")
    tasks.tick()
    one.refresh_from_db()
    assert one.status == "damaged"
    assert "Token damaged" in staff_client.get(f"/installs/{one.pk}/").content.decode()
    assert caller.get(f"/app/get-token/{other.pk}/").status_code == 200
