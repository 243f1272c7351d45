"""Every address says who it is for, and keeps to it: each is tried by everybody."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import Client

from access.audience import Who
from access.keys import create_api_key
from access.models import AuditEvent, Scope, User
from access.roles import PERMISSIONS_OF_ROLE, Permission, Role
from config.audiences import Address, addresses

pytestmark = pytest.mark.one_database

Person = Callable[..., User]
ALL = addresses()


def is_ours(address: Address) -> bool:
    return hasattr(address.pattern.callback, "audience")


def of(who: Who) -> list[Address]:
    return [a for a in ALL if a.audience and a.audience.who is who and is_ours(a)]


def path_of(address: Address, pk: uuid.UUID | None = None) -> str:
    """Return the path with its parameters filled in: `pk` where an id is asked for."""
    some_id = str(pk or uuid.UUID(int=7))
    values = {"uuid": some_id, "any_uuid": some_id, "int": "7", "path": "contacts/", "slug": "x"}
    filled = re.sub(r"<(?:(\w+):)?\w+>", lambda m: values.get(m[1] or "str", "x"), address.path)
    return re.sub(r"[\^$]|\\Z", "", filled)


def attempts(
    found: list[Address], pk: uuid.UUID | None = None
) -> Iterator[tuple[Address, str, str]]:
    for address in found:
        for method in ("get", "post", "put", "delete"):
            yield address, method, path_of(address, pk)


def signed_in(person: User) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(person)
    return client


def test_every_address_declares_its_audience_and_its_record() -> None:
    assert [a.path for a in ALL if a.audience is None] == []
    assert len(of(Who.STAFF)) > 20 and len(of(Who.KEY)) > 8


def test_a_stranger_gets_no_staff_page(db: None) -> None:
    client = Client(raise_request_exception=False)
    wrong = []
    for address, method, path in attempts(of(Who.STAFF)):
        answer = getattr(client, method)(path)
        sent_away = answer.status_code == 302 and answer["Location"].startswith("/accounts/login/")
        if not (sent_away or answer.status_code == 405):
            wrong.append((method, address.path, answer.status_code))
    assert wrong == []
    assert not AuditEvent.objects.exists()


def test_staff_without_a_role_get_no_page(db: None) -> None:
    client = signed_in(User.objects.create_user("new", password="pw", is_staff=True))
    wrong = [
        (method, address.path, status)
        for address, method, path in attempts(of(Who.STAFF))
        if (status := getattr(client, method)(path).status_code) not in (403, 405)
    ]
    assert wrong == []


@pytest.mark.parametrize("role", Role)
def test_each_role_gets_what_it_may_and_nothing_else(make_person: Person, role: Role) -> None:
    client = signed_in(make_person("kim", role))
    wrong = []
    for address, method, path in attempts(of(Who.STAFF)):
        assert address.audience is not None
        status = getattr(client, method)(path).status_code
        may = Permission(address.audience.needs) in PERMISSIONS_OF_ROLE[role]
        if status >= 500 or (may and status == 403) or (not may and status not in (403, 405)):
            wrong.append((method, address.path, status))
    assert wrong == []


def test_whoever_is_limited_to_another_agency_finds_nothing_of_this_one(
    make_person: Person, sign_in: Any, make_install: Any
) -> None:
    row = make_install(company_id="agency-1")
    client = sign_in(make_person("kim", Role.OWNER, agencies=["agency-2"]))
    with_id = [a for a in of(Who.STAFF) if "<uuid" in a.path]
    wrong = []
    for address, method, path in attempts(with_id, row.pk):
        answer = getattr(client, method)(path)
        if answer.status_code not in (403, 404, 405):
            wrong.append((method, address.path, answer.status_code))
    assert wrong == []


def test_no_key_no_answer(db: None) -> None:
    client = Client(raise_request_exception=False)
    wrong = []
    for address, method, path in attempts(of(Who.KEY)):
        for headers in ({}, {"Authorization": "Bearer wr_0_x"}, {"Authorization": "Basic eA=="}):
            answer = getattr(client, method)(path, headers=headers)
            if answer.status_code not in (401, 405, 429):
                wrong.append((method, address.path, answer.status_code))
    assert wrong == []


@pytest.mark.parametrize("scope", Scope)
def test_a_key_gets_what_its_scope_allows_and_nothing_else(db: None, scope: Scope) -> None:
    _key, text = create_api_key("billing", scopes=[scope])
    client = Client(raise_request_exception=False, headers={"Authorization": f"Bearer {text}"})
    wrong = []
    for address, method, path in attempts(of(Who.KEY)):
        assert address.audience is not None
        status = getattr(client, method)(path).status_code
        may = address.audience.needs == scope
        if status >= 500 and status != 503 or (not may and status not in (403, 405)):
            wrong.append((method, address.path, status))
    assert wrong == []


def test_a_key_of_other_installs_gets_nothing_of_this_one(db: None, make_install: Any) -> None:
    row, other = make_install(), make_install()
    _key, text = create_api_key("billing", scopes=Scope.values, installs=[str(other.pk)])
    client = Client(headers={"Authorization": f"Bearer {text}"})
    with_id = [a for a in of(Who.KEY) if "<any_uuid" in a.path]
    wrong = [
        (method, address.path, status)
        for address, method, path in attempts(with_id, row.pk)
        if (status := getattr(client, method)(path).status_code) not in (403, 404, 405)
    ]
    assert wrong == []


def test_a_change_by_a_page_leaves_its_record(
    make_person: Person, sign_in: Any, make_install: Any
) -> None:
    client = sign_in(make_person("kim", Role.OWNER))
    row = make_install()
    silent = []
    for address in of(Who.STAFF):
        assert address.audience is not None
        if not address.audience.audit:
            continue
        before = AuditEvent.objects.count()
        answer = client.post(path_of(address, row.pk))
        if answer.status_code not in (404, 405) and AuditEvent.objects.count() == before:
            silent.append(address.path)
    assert silent == []
