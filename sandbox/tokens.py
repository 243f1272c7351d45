"""Authorization codes, token pairs, rotation with single use and the grace window."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from secrets import compare_digest

from sandbox import errors, ids
from sandbox.knobs import Knobs
from sandbox.people import People
from sandbox.store import Store


@dataclass(frozen=True)
class Grant:
    """What a token stands for; `location_id` is empty for a Company token."""

    client_id: str
    company_id: str
    location_id: str
    user_id: str
    scope: str
    bulk: bool

    @property
    def user_type(self) -> str:
        return "Location" if self.location_id else "Company"

    @property
    def resource_id(self) -> str:
        return self.location_id or self.company_id

    def has_scope(self, scope: str) -> bool:
        return scope in self.scope.split()


@dataclass(frozen=True)
class Pair:
    """One answer of the token endpoint. Units: `expires_in` in seconds."""

    access_token: str
    refresh_token: str
    refresh_token_id: str
    expires_in: int
    grant: Grant


@dataclass(frozen=True)
class TokenUse:
    """How often one refresh token was seen, and what became of it."""

    fingerprint: str
    resource_id: str
    issued_at: float
    uses: int
    accepted: int
    accepted_in_grace: int
    spent: bool
    revoked: bool


class TokenDesk:
    """Hands out and takes back tokens. `knobs(resource_id)` gives the knobs that hold there."""

    def __init__(
        self, store: Store, people: People, now: Callable[[], float], knobs: Callable[[str], Knobs]
    ) -> None:
        self._store = store
        self._people = people
        self._now = now
        self._knobs = knobs

    # --- client key pairs ---

    def clients(self) -> dict[str, str]:
        """Client secrets by client id."""
        pairs: dict[str, str] = self._store.get("clients", {})
        return pairs

    def put_client(self, client_id: str, client_secret: str) -> None:
        self._store.put("clients", self.clients() | {client_id: client_secret})

    def check_client(self, client_id: str, client_secret: str) -> None:
        """Errors: 401 Invalid client credentials!"""
        secret = self.clients().get(client_id, "")
        if not secret or not compare_digest(secret.encode(), client_secret.encode()):
            raise errors.invalid_client()

    # --- authorization codes ---

    def issue_code(self, grant: Grant, redirect_uri: str) -> tuple[str, float]:
        """A fresh one-time code and the moment it ends."""
        code = ids.authorization_code()
        expires_at = self._now() + self._knobs(grant.resource_id).code_life_seconds
        self._store.insert(
            "codes", code=code, redirect_uri=redirect_uri, expires_at=expires_at, **vars(grant)
        )
        return code, expires_at

    def exchange(
        self, *, code: str, client_id: str, client_secret: str, redirect_uri: str = ""
    ) -> Pair:
        """Trade a code for the first pair; HighLevel looks at the code before the client.

        Errors: ApiError 401 code not found, 401 invalid client, 400 another redirect_uri.
        """
        with self._store.transaction():
            row = self._store.one(
                "SELECT * FROM codes WHERE code = ? AND used_at IS NULL AND expires_at > ?",
                code,
                self._now(),
            )
            if row is None:
                raise errors.code_not_found()
            self.check_client(client_id, client_secret)
            if row["client_id"] != client_id:
                raise errors.code_not_found()
            if redirect_uri and redirect_uri != row["redirect_uri"]:
                raise errors.bad_request("Invalid grant: redirect_uri does not match")
            self._store.run("UPDATE codes SET used_at = ? WHERE code = ?", self._now(), code)
            grant = _grant(row)
            if self._knobs(grant.resource_id).reinstall_revokes_previous:
                self.revoke(grant.company_id, grant.location_id)
            return self._new_pair(grant)

    def redirect_uri_of(self, code: str) -> str:
        row = self._store.one("SELECT redirect_uri FROM codes WHERE code = ?", code)
        return row["redirect_uri"] if row else ""

    # --- rotation ---

    def refresh(
        self, *, refresh_token: str, client_id: str, client_secret: str, user_type: str = ""
    ) -> Pair:
        """Trade a refresh token for the next pair; each use by a good client is counted.

        Errors: ApiError 401 invalid client or unknown token, 400 invalid grant or not active.
        """
        self.check_client(client_id, client_secret)
        self._count_use(refresh_token)  # kept even when the transaction below is rolled back
        with self._store.transaction():
            row = self._row(refresh_token)
            if row is None:
                unknown = self._knobs("").unknown_refresh_token
                raise errors.invalid_grant() if unknown == "400" else errors.invalid_refresh_token()
            self._check_refresh(row, client_id, user_type)
            return self._replay(row) if row["spent_at"] is not None else self._rotate(row)

    def mint(self, company: Grant, location_id: str, knobs: Knobs) -> Pair:
        """A Location pair from a Company token; the caller checks that the app is installed."""
        with self._store.transaction():
            if knobs.mint_revokes_previous:
                self.revoke(company.company_id, location_id)
            grant = Grant(
                client_id=company.client_id,
                company_id=company.company_id,
                location_id=location_id,
                user_id=company.user_id,
                scope=_with_oauth_scopes(company.scope),
                bulk=company.bulk,
            )
            return self._new_pair(grant, minted=True)

    def revoke(self, company_id: str, location_id: str = "", *, access: bool = True) -> None:
        """End every token of one place; its access tokens too unless told otherwise."""
        for table in ("refresh_tokens", "access_tokens") if access else ("refresh_tokens",):
            self._store.run(
                f"UPDATE {table} SET revoked = 1 WHERE company_id = ? AND location_id = ?",
                company_id,
                location_id,
            )

    def revoke_company(self, company_id: str) -> None:
        for table in ("refresh_tokens", "access_tokens"):
            self._store.run(f"UPDATE {table} SET revoked = 1 WHERE company_id = ?", company_id)

    def void_codes(self, company_id: str, location_id: str = "") -> None:
        """Nobody may exchange what was allowed before an uninstall; an agency's ends them all."""
        self._store.run(
            "UPDATE codes SET used_at = ? WHERE used_at IS NULL AND company_id = ? "
            "AND (location_id = ? OR ? = '')",
            self._now(),
            company_id,
            location_id,
            location_id,
        )

    def bearer(self, access_token: str) -> Grant:
        """What a valid access token stands for. Errors: ApiError 401."""
        if access_token.count(".") != 2:
            raise errors.invalid_jwt()
        row = self._store.one(
            "SELECT * FROM access_tokens WHERE fingerprint = ?", ids.fingerprint(access_token)
        )
        if row is None or row["revoked"] or row["expires_at"] <= self._now():
            if self._knobs("").expired_access_error == "invalid_jwt":
                raise errors.invalid_jwt()
            raise errors.invalid_access_token()
        return _grant(row)

    # --- witnesses ---

    def uses_of(self, refresh_token: str) -> int:
        """How often this refresh token reached the token endpoint."""
        sql = "SELECT uses FROM refresh_tokens WHERE fingerprint = ?"
        return self._store.number(sql, ids.fingerprint(refresh_token))

    def max_uses(self) -> int:
        return self._store.number("SELECT max(uses) FROM refresh_tokens")

    def max_accepted(self) -> int:
        return self._store.number("SELECT max(accepted) FROM refresh_tokens")

    def token_uses(self, limit: int = 1000) -> list[TokenUse]:
        """The most used refresh tokens first, then the newest."""
        sql = "SELECT * FROM refresh_tokens ORDER BY uses DESC, issued_at DESC, rowid DESC LIMIT ?"
        return [_token_use(row) for row in self._store.all(sql, limit)]

    def was_exchanged(self, company_id: str, location_id: str = "") -> bool:
        """Whether the app ever got a pair for this place."""
        sql = "SELECT 1 FROM refresh_tokens WHERE company_id = ? AND location_id = ?"
        return self._store.one(sql, company_id, location_id) is not None

    def resource_of(self, refresh_token: str) -> str:
        """The agency or sub-account a refresh token belongs to; "" if unknown."""
        row = self._row(refresh_token)
        return (row["location_id"] or row["company_id"]) if row else ""

    def resource_of_code(self, code: str) -> str:
        row = self._store.one("SELECT company_id, location_id FROM codes WHERE code = ?", code)
        return (row["location_id"] or row["company_id"]) if row else ""

    # --- details ---

    def _row(self, refresh_token: str) -> sqlite3.Row | None:
        return self._store.one(
            "SELECT * FROM refresh_tokens WHERE fingerprint = ?", ids.fingerprint(refresh_token)
        )

    def _count_use(self, refresh_token: str) -> None:
        self._store.run(
            "UPDATE refresh_tokens SET uses = uses + 1 WHERE fingerprint = ?",
            ids.fingerprint(refresh_token),
        )

    def _check_refresh(self, row: sqlite3.Row, client_id: str, user_type: str) -> None:
        grant = _grant(row)
        knobs = self._knobs(grant.resource_id)
        if client_id != grant.client_id and knobs.wrong_client_pair != "accept":
            raise _either(knobs.wrong_client_pair)
        if user_type and user_type != grant.user_type:
            raise errors.invalid_client()
        if row["revoked"]:
            raise _either(knobs.revoked_error)
        if row["expires_at"] <= self._now() or self._is_spent_for_good(row, knobs):
            raise errors.invalid_grant()
        if not self._people.is_active(grant.company_id, grant.location_id):
            raise errors.location_not_active()

    def _is_spent_for_good(self, row: sqlite3.Row, knobs: Knobs) -> bool:
        if row["spent_at"] is None:
            return False
        return bool(self._now() - row["spent_at"] >= knobs.refresh_grace_seconds)

    def _rotate(self, row: sqlite3.Row) -> Pair:
        grant = _grant(row)
        pair = self._new_pair(grant, minted=bool(row["minted"]))
        self._store.run(
            "UPDATE refresh_tokens SET spent_at = ?, successor = ?, accepted = accepted + 1 "
            "WHERE fingerprint = ?",
            self._now(),
            ids.fingerprint(pair.refresh_token),
            row["fingerprint"],
        )
        if not self._knobs(grant.resource_id).old_access_token_lives:
            self._store.run(
                "UPDATE access_tokens SET revoked = 1 WHERE fingerprint = ?",
                ids.fingerprint(row["access_token"]),
            )
        return pair

    def _replay(self, row: sqlite3.Row) -> Pair:
        """A use inside the grace window: the same new refresh token again."""
        grant = _grant(row)
        self._store.run(
            "UPDATE refresh_tokens SET accepted = accepted + 1, "
            "accepted_in_grace = accepted_in_grace + 1 WHERE fingerprint = ?",
            row["fingerprint"],
        )
        successor = self._store.one(
            "SELECT * FROM refresh_tokens WHERE fingerprint = ?", row["successor"]
        )
        assert successor is not None, "a spent token has a successor"
        knobs = self._knobs(grant.resource_id)
        expires_in = knobs.access_token_life_seconds - 1
        if knobs.grace_same_access_token:
            access_token = successor["access_token"]
            expires_in -= int(self._now() - successor["issued_at"])
        else:
            access_token = self._new_access_token(grant, expires_in)
        return Pair(access_token, successor["token"], successor["token_id"], expires_in, grant)

    def _new_pair(self, grant: Grant, *, minted: bool = False) -> Pair:
        now, knobs = self._now(), self._knobs(grant.resource_id)
        life = knobs.access_token_life_seconds
        # HighLevel says 86399 at /oauth/token and 86400 for a minted location token.
        access_token = self._new_access_token(grant, life)
        refresh_token = ids.jwt(
            {"authClass": grant.user_type, "authClassId": grant.resource_id, "jti": ids.object_id()}
        )
        token_id = ids.object_id()
        self._store.insert(
            "refresh_tokens",
            fingerprint=ids.fingerprint(refresh_token),
            token=refresh_token,
            token_id=token_id,
            minted=minted,
            issued_at=now,
            expires_at=now + knobs.refresh_token_life_seconds,
            access_token=access_token,
            **vars(grant),
        )
        return Pair(access_token, refresh_token, token_id, life - 1, grant)

    def _new_access_token(self, grant: Grant, life_seconds: int) -> str:
        now = self._now()
        token = ids.jwt(
            {
                "authClass": grant.user_type,
                "authClassId": grant.resource_id,
                "primaryAuthClassId": grant.resource_id,
                "source": "INTEGRATION",
                "sourceId": grant.client_id,
                "channel": "OAUTH",
                "oauthMeta": {"scopes": grant.scope.split()},
                "iat": int(now),
                "exp": int(now + life_seconds),
                "jti": ids.object_id(),
            }
        )
        self._store.insert(
            "access_tokens",
            fingerprint=ids.fingerprint(token),
            expires_at=now + life_seconds,
            **vars(grant),
        )
        return token


def _either(status: str) -> errors.ApiError:
    """A refusal of a real token: 400 Invalid grant or 401 Invalid client credentials!"""
    return errors.invalid_grant() if status == "400" else errors.invalid_client()


def _with_oauth_scopes(scope: str) -> str:
    """HighLevel adds these two to a minted token even when nobody asked for them."""
    scopes = scope.split()
    return " ".join(scopes + [s for s in ("oauth.write", "oauth.readonly") if s not in scopes])


def _grant(row: sqlite3.Row) -> Grant:
    return Grant(
        client_id=row["client_id"],
        company_id=row["company_id"],
        location_id=row["location_id"],
        user_id=row["user_id"],
        scope=row["scope"],
        bulk=bool(row["bulk"]),
    )


def _token_use(row: sqlite3.Row) -> TokenUse:
    return TokenUse(
        fingerprint=row["fingerprint"],
        resource_id=row["location_id"] or row["company_id"],
        issued_at=row["issued_at"],
        uses=row["uses"],
        accepted=row["accepted"],
        accepted_in_grace=row["accepted_in_grace"],
        spent=row["spent_at"] is not None,
        revoked=bool(row["revoked"]),
    )
