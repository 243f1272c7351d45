"""Agencies, sub-accounts, their users, and where the app is installed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from sandbox import ids
from sandbox.errors import NotFound
from sandbox.store import Store


@dataclass(frozen=True)
class Company:
    """An agency. `active` False: paused by HighLevel."""

    id: str
    name: str
    email: str
    domain: str
    white_label: bool
    active: bool
    created_at: float


@dataclass(frozen=True)
class Location:
    """A sub-account. `active` False: paused or unpaid; `deleted`: gone without a word."""

    id: str
    company_id: str
    name: str
    email: str
    address: str
    timezone: str
    active: bool
    deleted: bool
    created_at: float


@dataclass(frozen=True)
class User:
    """A person; `location_id` is empty for an agency's admin."""

    id: str
    company_id: str
    location_id: str
    name: str
    email: str


@dataclass(frozen=True)
class Install:
    """The app on an agency (`location_id` empty) or on a sub-account."""

    company_id: str
    location_id: str
    client_id: str
    user_id: str
    version_id: str
    scope: str
    bulk: bool
    future: bool
    installed_at: float
    active: bool

    @property
    def resource_id(self) -> str:
        return self.location_id or self.company_id


class People:
    """Reads and writes the directory; knows nothing of tokens and events."""

    def __init__(self, store: Store, now: Callable[[], float]) -> None:
        self._store = store
        self._now = now

    def create_company(self, name: str, *, email: str = "", white_label: bool = False) -> Company:
        company_id, slug = ids.place_id(), _slug(name)
        with self._store.transaction():
            self._store.insert(
                "companies",
                id=company_id,
                name=name,
                email=email or f"office@{slug}.example",
                domain=f"app.{slug}.example" if white_label else "",
                white_label=white_label,
                created_at=self._now(),
            )
            self.create_user(company_id, name=f"Admin of {name}", email=f"admin@{slug}.example")
        return self.company(company_id)

    def create_location(
        self, company_id: str, name: str, *, email: str = "", timezone: str = "America/New_York"
    ) -> Location:
        self.company(company_id)
        location_id, slug = ids.place_id(), _slug(name)
        with self._store.transaction():
            self._store.insert(
                "locations",
                id=location_id,
                company_id=company_id,
                name=name,
                email=email or f"hello@{slug}.example",
                address="1 Main Street",
                timezone=timezone,
                created_at=self._now(),
            )
            self.create_user(
                company_id, location_id, name=f"Owner of {name}", email=f"owner@{slug}.example"
            )
        return self.location(location_id)

    def create_user(self, company_id: str, location_id: str = "", *, name: str, email: str) -> User:
        user = User(ids.place_id(), company_id, location_id, name, email)
        self._store.insert(
            "users",
            id=user.id,
            company_id=company_id,
            location_id=location_id,
            name=name,
            email=email,
        )
        return user

    def company(self, company_id: str) -> Company:
        row = self._store.one("SELECT * FROM companies WHERE id = ?", company_id)
        if row is None:
            raise NotFound(f"no agency {company_id!r}")
        return _company(row)

    def location(self, location_id: str) -> Location:
        row = self._store.one("SELECT * FROM locations WHERE id = ?", location_id)
        if row is None:
            raise NotFound(f"no sub-account {location_id!r}")
        return _location(row)

    def companies(self) -> list[Company]:
        return [_company(row) for row in self._store.all("SELECT * FROM companies ORDER BY rowid")]

    def locations(self, company_id: str = "") -> list[Location]:
        """The sub-accounts that exist, of one agency or of all."""
        sql = "SELECT * FROM locations WHERE deleted = 0 AND ? IN ('', company_id) ORDER BY rowid"
        return [_location(row) for row in self._store.all(sql, company_id)]

    def user(self, user_id: str) -> User:
        row = self._store.one("SELECT * FROM users WHERE id = ?", user_id)
        if row is None:
            raise NotFound(f"no user {user_id!r}")
        return User(**dict(row))

    def users(self, company_id: str, location_id: str | None = None) -> list[User]:
        """An agency's users, or those of one place ("" = its admins)."""
        if location_id is None:
            sql = "SELECT * FROM users WHERE company_id = ? ORDER BY rowid"
            return [User(**dict(row)) for row in self._store.all(sql, company_id)]
        sql = "SELECT * FROM users WHERE company_id = ? AND location_id = ? ORDER BY rowid"
        return [User(**dict(row)) for row in self._store.all(sql, company_id, location_id)]

    def is_active(self, company_id: str, location_id: str) -> bool:
        """Whether HighLevel lets this place renew: neither it nor its agency is paused."""
        sql = "SELECT 1 FROM companies WHERE id = ? AND active = 1"
        if self._store.one(sql, company_id) is None:
            return False
        sql = "SELECT 1 FROM locations WHERE id = ? AND active = 1"
        return not location_id or self._store.one(sql, location_id) is not None

    def rename_company(self, company_id: str, name: str) -> None:
        self._store.run("UPDATE companies SET name = ? WHERE id = ?", name, company_id)

    def set_active(self, resource_id: str, active: bool) -> None:
        """Pause or resume a sub-account or an agency. Errors: NotFound."""
        for table in ("locations", "companies"):
            if self._store.run(f"UPDATE {table} SET active = ? WHERE id = ?", active, resource_id):
                return
        raise NotFound(f"no agency or sub-account {resource_id!r}")

    def delete_location(self, location_id: str) -> None:
        sql = "UPDATE locations SET deleted = 1, active = 0 WHERE id = ?"
        if not self._store.run(sql, location_id):
            raise NotFound(f"no sub-account {location_id!r}")

    def place(self, resource_id: str) -> tuple[str, str]:
        """(company id, location id or "") of an id that may be either. Errors: NotFound."""
        sql = "SELECT company_id FROM locations WHERE id = ?"
        row = self._store.one(sql, resource_id)
        if row is not None:
            return row["company_id"], resource_id
        self.company(resource_id)
        return resource_id, ""

    def put_install(self, install: Install) -> None:
        self._store.insert("installs", **vars(install))

    def install(self, company_id: str, location_id: str = "") -> Install | None:
        """The active install of this place, if there is one."""
        sql = "SELECT * FROM installs WHERE company_id = ? AND location_id = ? AND active = 1"
        row = self._store.one(sql, company_id, location_id)
        return _install(row) if row else None

    def installs(self, company_id: str = "", *, active: bool = True) -> list[Install]:
        sql = (
            "SELECT * FROM installs WHERE ? IN ('', company_id) AND active >= ? "
            "ORDER BY installed_at, rowid"
        )
        return [_install(row) for row in self._store.all(sql, company_id, active)]

    def end_installs(self, company_id: str, location_id: str) -> None:
        """End one sub-account's install, or an agency's with all below it."""
        sql = "UPDATE installs SET active = 0 WHERE company_id = ?"
        if location_id:
            self._store.run(f"{sql} AND location_id = ?", company_id, location_id)
        else:
            self._store.run(sql, company_id)


def _slug(name: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in name.lower()).strip("-")


def _company(row: sqlite3.Row) -> Company:
    values = dict(row)
    return Company(
        **values | {"white_label": bool(row["white_label"]), "active": bool(row["active"])}
    )


def _location(row: sqlite3.Row) -> Location:
    return Location(**dict(row) | {"active": bool(row["active"]), "deleted": bool(row["deleted"])})


def _install(row: sqlite3.Row) -> Install:
    flags = {name: bool(row[name]) for name in ("bulk", "future", "active")}
    return Install(**dict(row) | flags)
