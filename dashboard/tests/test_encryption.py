"""The page that rotates the keys."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django_q.models import OrmQ

from access.models import AuditEvent, User
from access.roles import Role
from integrations import tasks
from integrations.models import GoHighLevelIntegration, KeyRotation
from sandbox.world import World

NEW = f"k2:{base64.b64encode(bytes(range(100, 132))).decode()}"


@pytest.fixture
def rows(make_install: Any, settings: Any) -> list[GoHighLevelIntegration]:
    found = [make_install() for _ in range(3)]
    settings.TOKEN_ENCRYPTION_KEYS = f"{NEW},{settings.TOKEN_ENCRYPTION_KEYS}"
    return found


def test_one_key_leaves_nothing_to_do(staff_client: Client) -> None:
    html = staff_client.get("/encryption/").content.decode()
    assert "There is one key, so nothing to rotate." in html
    staff_client.post("/encryption/rotate/")
    assert not KeyRotation.objects.exists()


def test_a_click_hands_it_to_the_worker_and_the_page_shows_how_far_it_is(
    staff_client: Client, rows: list[GoHighLevelIntegration]
) -> None:
    assert "3</strong> rows on the old key" in staff_client.get("/encryption/").content.decode()
    staff_client.post("/encryption/rotate/")
    html = staff_client.get("/live/encryption/").content.decode()
    assert html.startswith('<div id="rotation-panel"')
    assert '<progress class="progress-line" aria-label="Re-encrypted" value="0" max="3"' in html
    task = OrmQ.objects.get().task
    assert tasks.rotate_keys(*task["args"]) is True
    html = staff_client.get("/encryption/").content.decode()
    assert "0 rows on the old key t1: safe to remove" in html
    assert "<progress" not in html
    actions = set(AuditEvent.objects.values_list("action", "actor_name"))
    assert actions == {("keys.rotate", "sam"), ("keys.rotated", "sam")}


def test_a_second_click_begins_no_second_rotation(
    staff_client: Client, rows: list[GoHighLevelIntegration]
) -> None:
    staff_client.post("/encryption/rotate/")
    staff_client.post("/encryption/rotate/")
    assert KeyRotation.objects.count() == 1


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
def test_it_is_for_owners(
    make_person: Any, sign_in: Any, rows: list[GoHighLevelIntegration], role: Role
) -> None:
    client = sign_in(make_person("kim", role))
    assert client.get("/encryption/").status_code == 403
    assert client.post("/encryption/rotate/").status_code == 403
    assert not KeyRotation.objects.exists()


def test_it_asks_again_who_is_there(
    staff: User, sign_in: Callable[..., Client], rows: list[GoHighLevelIntegration]
) -> None:
    client = sign_in(staff, minutes_ago=20)
    assert "/reauthenticate/" in client.post("/encryption/rotate/")["Location"]
    assert not KeyRotation.objects.exists()


def test_the_page_costs_the_same_for_many_rows(
    staff_client: Client, rows: list[Any], make_install: Any, django_assert_max_num_queries: Any
) -> None:
    with django_assert_max_num_queries(14) as few:
        staff_client.get("/encryption/")
    for _ in range(10):
        make_install()
    with django_assert_max_num_queries(len(few.captured_queries)):
        staff_client.get("/encryption/")


def test_it_says_which_client_secret_highlevel_accepts(
    staff_client: Client, world: World, settings: Any
) -> None:
    settings.GHL_CLIENT_SECRET_NEXT = "the-coming-secret"
    html = staff_client.post("/encryption/client-secrets/", follow=True).content.decode()
    assert "GHL_CLIENT_SECRET: HighLevel accepts it." in html
    assert "GHL_CLIENT_SECRET_NEXT: HighLevel does not accept it." in html
    assert "the-coming-secret" not in html
