"""Shared fixtures. HighLevel is the sandbox, in this process; nothing else is reachable."""

from __future__ import annotations

import os
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, closing
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.test import Client
from django.utils import timezone

from access.keys import create_api_key
from access.models import Scope, User
from access.roles import Role
from integrations import highlevel
from integrations.health import Status
from integrations.install import install_from_code
from integrations.models import COMPANY, LOCATION, GoHighLevelIntegration
from sandbox.transport import SandboxAdapter
from sandbox.world import World

# For how long HighLevel forgives that a refresh token is sent twice. It grants 30 s; nothing but
# what tests that forgiveness may depend on it.
GRACE_S = float(os.environ.get("TEST_GRACE_S", "30"))
REDIRECT_URI = "http://localhost/app/callback/"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where several run at a time, files of few tests begin: theirs start processes and wait for
    them. The many short tests fill up the end, and no long one is left over there alone."""
    if hasattr(config, "workerinput"):
        tests = Counter(item.path for item in items)
        items.sort(key=lambda item: (tests[item.path], item.path))


@pytest.fixture
def world(settings: Any) -> Iterator[World]:
    """A fresh HighLevel, whose signing key the app knows."""
    world = World(":memory:")
    world.set_knobs(refresh_grace_seconds=GRACE_S)
    settings.GHL_WEBHOOK_PUBLIC_KEYS = [world.signer.ed25519_public_key()]
    yield world
    world.close()


@pytest.fixture(autouse=True)
def outside(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every HTTP call of the app goes to the test's sandbox; without one it is an error."""
    session = highlevel.make_session()
    session.adapters.clear()
    if "world" in request.fixturenames:
        session.mount("https://", SandboxAdapter(request.getfixturevalue("world")))
    monkeypatch.setattr(highlevel, "SESSION", session)


@pytest.fixture
def make_person(db: None) -> Callable[..., User]:
    """Return a member of staff: `make_person("vera", Role.VIEWER)`, `agencies=["agency-1"]`."""

    def make(name: str, role: Role, *, agencies: Iterable[str] = ()) -> User:
        person = User.objects.create_user(
            name, f"{name}@agency.test", "pw", is_staff=True, agencies=list(agencies)
        )
        person.groups.add(Group.objects.get(name=role))
        return person

    return make


@pytest.fixture
def staff(make_person: Callable[..., User]) -> User:
    return make_person("sam", Role.OWNER)


@pytest.fixture
def sign_in(db: None) -> Callable[..., Client]:
    """Return a browser in which the person has just signed in; `minutes_ago=20`: some time ago."""

    def make(person: User, *, client: Client | None = None, minutes_ago: float = 0) -> Client:
        client = client or Client()
        client.force_login(person)
        session = client.session
        at = time.time() - minutes_ago * 60
        session["account_authentication_methods"] = [{"method": "password", "at": at}]
        session["account_authentication_methods_user"] = str(person.pk)
        session.save()
        return client

    return make


@pytest.fixture
def staff_client(client: Client, staff: User, sign_in: Callable[..., Client]) -> Client:
    return sign_in(staff, client=client)


@pytest.fixture
def api(db: None) -> Callable[..., Client]:
    """Return a client with a new key: `api()` for all scopes, `api("proxy")`; `installs=[…]` and
    `agencies=[…]` limit it."""

    def make(*scopes: str, installs: Any = (), agencies: Any = ()) -> Client:
        _key, text = create_api_key(
            "billing",
            scopes=scopes or Scope.values,
            installs=[str(pk) for pk in installs],
            agencies=agencies,
        )
        return Client(headers={"Authorization": f"Bearer {text}"})

    return make


@pytest.fixture
def install_location(world: World, db: None) -> Callable[..., GoHighLevelIntegration]:
    """Install one sub-account by its own user, through code and exchange."""

    def make(company_id: str = "") -> GoHighLevelIntegration:
        company_id = company_id or world.create_agency().id
        location = world.create_location(company_id, "Harbour Dental")
        code = world.install(company_id, [location.id], bulk=False, redirect_uri=REDIRECT_URI)
        return install_from_code(code)

    return make


@pytest.fixture
def install_agency(world: World, db: None) -> Callable[..., GoHighLevelIntegration]:
    """Install the app on an agency and all its sub-accounts; their tokens are still to come."""

    def make(locations: int = 2) -> GoHighLevelIntegration:
        agency = world.create_agency("Northwind Marketing", locations=locations)
        return install_from_code(world.install(agency.id, redirect_uri=REDIRECT_URI))

    return make


@pytest.fixture
def full_database(db: None) -> Callable[[], AbstractContextManager[None]]:
    """Return a context in which whatever would need room ends as it does on a full disk, with the
    fault of the database's own driver."""

    def refuse(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if not sql.startswith(("INSERT", "CREATE TEMPORARY TABLE")):
            return execute(sql, params, many, context)
        if connection.vendor == "postgresql":
            no_room = "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'disk_full'; END $$"
        elif connection.vendor == "mysql":
            no_room = "SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1114, MESSAGE_TEXT = 'It is full'"
        else:
            with connection.wrap_database_errors, closing(sqlite3.connect(":memory:")) as small:
                small.execute("PRAGMA max_page_count = 1")
                return small.execute("CREATE TABLE too_much (x)")
        return execute(no_room, None, False, context)

    return lambda: connection.execute_wrapper(refuse)


@pytest.fixture
def make_install(db: None) -> Callable[..., GoHighLevelIntegration]:
    """Store a row as it is asked for, with made-up tokens that HighLevel never gave."""
    count = 0

    def make(
        *,
        expires_in: timedelta = timedelta(hours=20),
        agency: bool = False,
        company_id: str = "agency-1",
        **fields: Any,
    ) -> GoHighLevelIntegration:
        nonlocal count
        count += 1
        now = timezone.now()
        kind = COMPANY if agency else LOCATION
        values: dict[str, Any] = {
            "user_type": kind,
            "resource_id": company_id if agency else f"location-{count}",
            "company_id": company_id,
            "company_name": "Northwind Marketing",
            "name": "Northwind Marketing" if agency else f"Sub-account {count}",
            "status": Status.ACTIVE,
            "generation": 1,
            "expires_at": now + expires_in,
            "renew_at": now + expires_in / 2,
            "installed_at": now,
            "renewed_at": now - timedelta(hours=1),
            "verified_at": now,
        }
        row = GoHighLevelIntegration(**(values | fields))
        row.access_token_encrypted = row.seal("access_token", f"access-{row.pk}")
        row.refresh_token_encrypted = row.seal("refresh_token", f"refresh-{row.pk}")
        row.save()
        return row

    return make
