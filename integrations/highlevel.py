"""HighLevel's HTTP interface: typed answers, one error tree. No database in here.

    HighLevelError
    ├── NotSent            nothing left this machine: safe to repeat
    ├── Unknown            sent, and no usable answer: a refresh token in it may be spent
    │   ├── ServerError    5xx
    │   └── Unreadable     2xx, but not what was documented
    ├── RateLimited        429, with the wait asked for
    ├── Inactive           the sub-account is not active; its refresh token stays good
    ├── Refused            a clear no: code or refresh token is invalid, expired or spent
    ├── CredentialsRefused 401 that may mean our client id and secret, or this one install
    ├── TokenRejected      an API call's access token is expired or invalid
    └── OurFault           any other 4xx or a redirect: the request itself is wrong
        ├── ScopeMissing   the token is good, but may not do this
        ├── WrongClass     an agency's token where a sub-account's is wanted, or the reverse
        └── OtherAccount   the token is for another sub-account

Source: HighLevel docs/oauth/Authorization.md at 0af86a4 and apps/oauth.json (2026-06-19), and
integrators' reports; what is unverified is named in docs/architecture.md.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import quote

import requests
from django.conf import settings
from django.utils.dateparse import parse_datetime
from requests.adapters import HTTPAdapter
from structlog.contextvars import get_contextvars
from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, NewConnectionError

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 3.05
# HighLevel forgives a repeat within 30 s of the first call: two calls must fit in.
READ_TIMEOUT_S = 10.0
# When the answer does not say how long its token lives we do not count on a whole day.
ASSUMED_LIFE_S = 7200
_LONGEST_LIFE_S = 10 * 365 * 86400
# What a name and a mail address may be long in an install's row.
_LONGEST_NAME, _LONGEST_EMAIL = 200, 254

_NEVER_SENT = (NewConnectionError, ConnectTimeoutError)
_TOKENISH = re.compile(r"[A-Za-z0-9_\-./+=]{25,}")


class HighLevelError(Exception):
    """Base of all. `cause`: a code of causes.py; `detail`: HighLevel's text, secrets removed."""

    cause = "our_request"
    retry_after_s: float | None = None  # the wait that a 429 or 5xx asked for

    def __init__(
        self, detail: str = "", *, http_status: int | None = None, trace_id: str = ""
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.http_status = http_status
        self.trace_id = trace_id


class NotSent(HighLevelError):
    cause = "not_reached"


class Unknown(HighLevelError):
    cause = "no_answer"


class ServerError(Unknown):
    cause = "server_error"


class Unreadable(Unknown):
    cause = "unreadable_answer"


class RateLimited(HighLevelError):
    cause = "rate_limited"


class Inactive(HighLevelError):
    cause = "location_inactive"


class Refused(HighLevelError):
    cause = "refused"


class CredentialsRefused(HighLevelError):
    cause = "our_credentials"


class TokenRejected(HighLevelError):
    cause = "refused"


class OurFault(HighLevelError):
    cause = "our_request"


class ScopeMissing(OurFault):
    cause = "scope_missing"


class WrongClass(OurFault):
    cause = "token_class_wrong"


class OtherAccount(OurFault):
    cause = "account_mismatch"


@dataclass(frozen=True)
class TokenSet:
    """One token answer. `expires_in_s` counts from the moment the call was sent."""

    access_token: str
    refresh_token: str
    expires_in_s: int
    token_type: str
    scope: str
    user_type: str
    company_id: str
    location_id: str
    user_id: str
    plan_id: str
    refresh_token_id: str
    trace_id: str
    is_bulk_installation: bool
    install_to_future_locations: bool | None
    approve_all_locations: bool | None
    approved_locations: tuple[str, ...]
    life_is_assumed: bool = False  # the answer did not say it in a usable way

    def __repr__(self) -> str:
        return f"<TokenSet of {self.user_type} {self.location_id or self.company_id}>"


@dataclass(frozen=True)
class Contact:
    """How an account is called, and whom to write to; empty where HighLevel does not say."""

    name: str
    email: str


@dataclass(frozen=True)
class InstalledLocation:
    location_id: str
    name: str
    version_id: str
    installed_at: datetime | None = None


@dataclass(frozen=True)
class InstalledPage:
    locations: tuple[InstalledLocation, ...]
    install_to_future_locations: bool | None


def make_session() -> requests.Session:
    """Return a session that never repeats or redirects a call by itself and ignores proxies."""
    session = requests.Session()
    session.trust_env = False
    # A cookie of one install's answer must not go out with another one's call.
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.mount("https://", HTTPAdapter(pool_maxsize=32))
    session.mount("http://", HTTPAdapter(pool_maxsize=32))
    return session


# One per process, shared by its threads: connections are kept and reused.
SESSION = make_session()


@dataclass(frozen=True)
class HighLevel:
    """A client for one app's credentials. All calls block, 3 s to connect, 10 s to answer."""

    client_id: str
    client_secret: str = field(repr=False)
    base_url: str
    app_id: str
    api_version: str
    session: requests.Session
    # While the secret is changed at HighLevel: which of the two is good is not known beforehand.
    next_secret: str = field(default="", repr=False)

    @classmethod
    def from_settings(cls) -> HighLevel:
        return cls(
            client_id=settings.GHL_CLIENT_ID,
            client_secret=settings.GHL_CLIENT_SECRET,
            base_url=settings.GHL_API_BASE_URL.rstrip("/"),
            app_id=settings.GHL_APP_ID,
            api_version=settings.GHL_API_VERSION,
            session=SESSION,
            next_secret=settings.GHL_CLIENT_SECRET_NEXT,
        )

    def exchange_code(self, code: str, *, redirect_uri: str = "") -> TokenSet:
        """Trade an authorization code (good once) for the first pair of an install.

        `redirect_uri`: the one that the code was sent to; a reconnect code was sent to none.
        Errors: NotSent, Unknown, RateLimited, Refused, CredentialsRefused, OurFault.
        """
        sent_to = {"redirect_uri": redirect_uri} if redirect_uri else {}
        return self._token_call({"grant_type": "authorization_code", "code": code, **sent_to})

    def refresh(self, refresh_token: str, *, user_type: str) -> TokenSet:
        """Trade a refresh token for a new pair; the old one is spent once HighLevel reads it.

        Errors: all of the tree but TokenRejected.
        Source: docs/oauth/Authorization.md: access about a day, refresh one year or until used.
        """
        return self._token_call(
            {
                "grant_type": "refresh_token",
                "refresh_token": refresh_token,
                "user_type": user_type,
            }
        )

    def credentials_are_accepted(self) -> bool | None:
        """Ask with a made-up refresh token whether client id and secret are good; None: no verdict.

        Integrators report that HighLevel names the made-up token when the secret is right and the
        credentials when it is not. A hint, not a proof.
        """
        try:
            self.refresh("made-up-refresh-token", user_type="Location")
        except Refused:
            return True
        except CredentialsRefused:
            return False
        except HighLevelError:
            return None
        return None

    def accepted_secrets(self) -> dict[str, bool | None]:
        """Ask for each client secret that is set, by the name of its setting, as
        `credentials_are_accepted` does for both together."""
        secrets = {"GHL_CLIENT_SECRET": self.client_secret}
        if self.next_secret:
            secrets["GHL_CLIENT_SECRET_NEXT"] = self.next_secret
        return {
            name: replace(self, client_secret=secret, next_secret="").credentials_are_accepted()
            for name, secret in secrets.items()
        }

    def mint_location_token(
        self, agency_access_token: str, *, company_id: str, location_id: str
    ) -> TokenSet:
        """Get a sub-account's own pair by its agency's access token. Repeating it does no harm.

        Errors: NotSent, Unknown, RateLimited, Inactive, TokenRejected, OurFault.
        """
        response = self._call(
            "POST",
            "/oauth/locationToken",
            token=agency_access_token,
            data={"companyId": company_id, "locationId": location_id},
        )
        return _read_token_set(response)

    def reconnect(self, *, user_type: str, resource_id: str) -> str:
        """Ask for a new authorization code without a person; return the code.

        Documented until 2025; since September 2026 reported removed ("API endpoint has been
        removed"), which comes out as OurFault. Errors: NotSent, Unknown, RateLimited, OurFault.
        """
        name = "locationId" if user_type == "Location" else "companyId"
        credentials = {"clientKey": self.client_id, "clientSecret": self.client_secret}
        response = self._send("POST", "/oauth/reconnect", json={**credentials, name: resource_id})
        if not 200 <= response.status_code < 300:
            raise _api_error(response)
        code = _text(_dict(_json(response)).get("authorizationCode"))
        if not code:
            raise Unreadable("the answer has no code", http_status=response.status_code)
        return code

    def installed_locations(
        self,
        agency_access_token: str,
        *,
        company_id: str,
        skip: int = 0,
        limit: int = 100,
        location_id: str = "",
    ) -> InstalledPage:
        """Return one page of the agency's locations that have the app; or only the named one.

        HighLevel may give fewer than `limit`: an empty page is the one after the last.
        """
        only = {"locationId": location_id} if location_id else {}
        data = self._api(
            "GET",
            "/oauth/installedLocations",
            token=agency_access_token,
            params={
                "companyId": company_id,
                "appId": self.app_id,
                "isInstalled": "true",
                "skip": str(skip),
                "limit": str(limit),
                **only,
            },
        )
        rows = [row for row in _list(data.get("locations")) if isinstance(row, dict)]
        return InstalledPage(
            locations=tuple(
                InstalledLocation(
                    location_id=_short(row.get("_id")),
                    name=_short(row.get("name"), _LONGEST_NAME),
                    version_id=_short(row.get("versionId")),
                    installed_at=_time(row.get("installedAt")),
                )
                for row in rows
                if _text(row.get("_id"))
            ),
            install_to_future_locations=_optional_bool(data.get("installToFutureLocations")),
        )

    def location(self, access_token: str, location_id: str) -> Contact:
        """Return what HighLevel's record of a sub-account says of it."""
        data = self._api("GET", f"/locations/{quote(location_id, safe='')}", token=access_token)
        location = _dict(data.get("location"))
        return _contact(location.get("name"), location.get("email"))

    def installation_details(self, access_token: str) -> Contact:
        """Return what HighLevel says of the agency that holds this token."""
        path = f"/marketplace/app/{quote(self.app_id, safe='')}/installations"
        data = self._api("GET", path, token=access_token)
        details = _dict(data.get("installationDetails"))
        return _contact(details.get("companyName"), details.get("companyEmail"))

    def uninstall(
        self, access_token: str, *, company_id: str = "", location_id: str = "", reason: str
    ) -> None:
        """Remove the app from the account that the token is for: a sub-account by its own token
        and `location_id`, an agency with all below it by its token and `company_id`.

        Errors: NotSent, Unknown, RateLimited, Inactive, TokenRejected, OurFault.
        Source: HighLevel apps/marketplace.json at 0af86a4, and the review guidelines.
        """
        names = {"companyId": company_id, "locationId": location_id}
        self._call(
            "DELETE",
            f"/marketplace/app/{quote(self.app_id, safe='')}/installations",
            token=access_token,
            json={**{name: value for name, value in names.items() if value}, "reason": reason},
        )

    def _token_call(self, fields: dict[str, str]) -> TokenSet:
        """Send it with the secret, and with the next one only if HighLevel refused the first.

        That does not spend a refresh token twice: HighLevel looks at the credentials before the
        token (with bad ones it names them even for a made-up token), so a call that it refused
        for them has spent nothing. No other answer, and no lost one, is followed by the second.
        """
        try:
            return self._token_call_with(self.client_secret, fields)
        except CredentialsRefused:
            if self.next_secret in ("", self.client_secret):
                raise
            return self._token_call_with(self.next_secret, fields)

    def _token_call_with(self, secret: str, fields: dict[str, str]) -> TokenSet:
        credentials = {"client_id": self.client_id, "client_secret": secret}
        response = self._send("POST", "/oauth/token", data=credentials | fields)
        if not 200 <= response.status_code < 300:
            raise _token_error(response)
        return _read_token_set(response)

    def _api(self, method: str, path: str, *, token: str, **request: Any) -> dict[str, Any]:
        return _dict(_json(self._call(method, path, token=token, **request)))

    def _call(self, method: str, path: str, *, token: str, **request: Any) -> requests.Response:
        response = self._send(method, path, headers={"Authorization": f"Bearer {token}"}, **request)
        if not 200 <= response.status_code < 300:
            raise _api_error(response)
        return response

    def _send(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **request: Any
    ) -> requests.Response:
        try:
            response = self.session.request(
                method,
                self.base_url + path,
                headers={"Accept": "application/json", "Version": self.api_version}
                | request_id_header()
                | dict(headers or {}),
                timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S),
                allow_redirects=False,
                **request,
            )
        except requests.ConnectTimeout:
            raise NotSent("no connection within the time limit") from None
        except requests.Timeout:
            raise Unknown("no answer within the time limit") from None
        except requests.ConnectionError as error:
            raise _connection_error(error) from None
        except requests.RequestException as error:
            raise Unknown(type(error).__name__) from None
        _log(method, path, response)
        return response


def request_id_header() -> dict[str, str]:
    """The header that tells what the call belongs to, where something set such an id."""
    request_id = get_contextvars().get("request_id")
    return {"X-Request-ID": str(request_id)} if request_id else {}


def _log(method: str, path: str, response: requests.Response) -> None:
    # Hundreds of good answers an hour tell nobody anything; the journal has their trace ids.
    level = logging.DEBUG if response.ok else logging.INFO
    if not logger.isEnabledFor(level):
        return
    about = {
        "method": method,
        "path": path,
        "status": response.status_code,
        "ms": round(response.elapsed.total_seconds() * 1000),
        "trace_id": _trace_id(response),
    }
    logger.log(level, "HighLevel answered", extra=about)


def _connection_error(error: requests.ConnectionError) -> HighLevelError:
    inner = error.args[0] if error.args else None
    if isinstance(inner, MaxRetryError) and isinstance(inner.reason, _NEVER_SENT):
        return NotSent("no connection")
    return Unknown("connection lost")


def _common_error(response: requests.Response, text: str) -> HighLevelError | None:
    """The errors that mean the same on every call; None for those that depend on it."""
    about: dict[str, Any] = {"http_status": response.status_code, "trace_id": _trace_id(response)}
    if response.status_code == 429 or response.status_code >= 500:
        kind = RateLimited if response.status_code == 429 else ServerError
        error = kind(text, **about)
        error.retry_after_s = _retry_after_s(response)
        return error
    if "not active" in text.lower():
        return Inactive(text, **about)
    return None


def _token_error(response: requests.Response) -> HighLevelError:
    text = _error_text(response)
    about: dict[str, Any] = {"http_status": response.status_code, "trace_id": _trace_id(response)}
    common = _common_error(response, text)
    if common is not None:
        return common
    lowered = text.lower()
    if response.status_code == 401:
        refused = "code not found" in lowered or "invalid refresh token" in lowered
        return (Refused if refused else CredentialsRefused)(text, **about)
    if "invalid client" in lowered or "invalid_client" in lowered:
        return CredentialsRefused(text, **about)
    if "invalid grant" in lowered or "invalid_grant" in lowered:
        return Refused(text, **about)
    return OurFault(text, **about)


def _api_error(response: requests.Response) -> HighLevelError:
    """Only the two documented texts of a 401 speak of the token; other ones are about scopes,
    classes and versions, and renewing for them would spend a token for nothing."""
    text = _error_text(response)
    about: dict[str, Any] = {"http_status": response.status_code, "trace_id": _trace_id(response)}
    common = _common_error(response, text)
    if common is not None:
        return common
    if response.status_code == 401 and says_token_is_bad(text):
        return TokenRejected(text, **about)
    for kind, words in _TOKEN_IS_GOOD_BUT.items():
        if any(word in text.lower() for word in words):
            return kind(text, **about)
    return OurFault(text, **about)


# Source: live answers of August 2026, reported by integrators.
_TOKEN_IS_GOOD_BUT: dict[type[OurFault], tuple[str, ...]] = {
    ScopeMissing: ("not authorized for this scope",),
    WrongClass: ("authclass type is not allowed", "user type mismatch", "user type is not yet"),
    OtherAccount: ("does not have access to this location",),
}


def says_token_is_bad(text: str) -> bool:
    """Whether the words of a 401 speak of the access token itself."""
    lowered = text.lower()
    return "access token is invalid" in lowered or "invalid jwt" in lowered


def _read_token_set(response: requests.Response) -> TokenSet:
    data = _dict(_json(response))
    access_token, life_s = _text(_field(data, "access_token")), _seconds(_field(data, "expires_in"))
    if not access_token:
        raise Unreadable("the answer has no access token", http_status=response.status_code)
    location_id = _short(_field(data, "location_id"))
    return TokenSet(
        access_token=access_token,
        refresh_token=_text(_field(data, "refresh_token")),
        expires_in_s=life_s or ASSUMED_LIFE_S,
        life_is_assumed=life_s is None,
        token_type=_short(_field(data, "token_type"), 20) or "Bearer",
        scope=_text(_field(data, "scope")),
        user_type=_text(_field(data, "user_type")) or ("Location" if location_id else "Company"),
        company_id=_short(_field(data, "company_id")),
        location_id=location_id,
        user_id=_short(_field(data, "user_id")),
        plan_id=_short(_field(data, "plan_id")),
        refresh_token_id=_short(_field(data, "refresh_token_id")),
        trace_id=_short(_field(data, "trace_id")),
        is_bulk_installation=_optional_bool(_field(data, "is_bulk_installation")) or False,
        install_to_future_locations=_optional_bool(_field(data, "install_to_future_locations")),
        approve_all_locations=_optional_bool(_field(data, "approve_all_locations")),
        approved_locations=tuple(map(_text, _list(_field(data, "approved_locations")))),
    )


def _field(data: dict[str, Any], name: str) -> Any:
    """HighLevel has answered in both casings: `access_token`, and `accessToken` with v3."""
    head, *rest = name.split("_")
    camel = head + "".join(part.capitalize() for part in rest)
    return data.get(name, data.get(camel))


def _json(response: requests.Response) -> Any:
    """Errors: Unreadable."""
    data = _data(response)
    if data is None:
        raise Unreadable("the answer is not JSON", http_status=response.status_code)
    return data


def _data(response: requests.Response) -> Any:
    """Return what the answer's JSON says; None where it is none, or nested without end."""
    try:
        return response.json()
    except (ValueError, RecursionError):
        return None


def _error_text(response: requests.Response) -> str:
    """Return the answer's own words, without anything that might be a token, at most 300 long."""
    data = _data(response)
    if data is None:
        return f"HTTP {response.status_code}, not JSON"
    words = []
    for name in ("message", "error", "error_description"):
        value = data.get(name) if isinstance(data, dict) else data
        if isinstance(value, dict):  # v3: {"error": {"code": …, "message": …}}
            value = value.get("message")
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, str) and part not in words:
                words.append(part)
    return _TOKENISH.sub("…", " · ".join(words))[:300]


def _trace_id(response: requests.Response) -> str:
    return _short(_dict(_data(response)).get("traceId"))


def _retry_after_s(response: requests.Response) -> float | None:
    """Return the wait asked for: Retry-After, else the length of the rate limit's interval."""
    asked_for_s = _seconds(response.headers.get("Retry-After"))
    interval_ms = _seconds(response.headers.get("X-RateLimit-Interval-Milliseconds"))
    return asked_for_s or (interval_ms / 1000 if interval_ms else None)


def _seconds(value: Any) -> int | None:
    """Return a life time in seconds; None for what cannot be one."""
    try:
        seconds = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return seconds if 0 < seconds <= _LONGEST_LIFE_S else None


def _text(value: Any) -> str:
    """Return a text without what a database refuses: NUL and halves of surrogate pairs."""
    if not isinstance(value, str):
        return ""
    return value.replace("\0", "").encode(errors="ignore").decode()


def _short(value: Any, longest: int = 64) -> str:
    """Return a text as long as its column: an oversized id must not cost the token beside it."""
    return _text(value)[:longest]


def _contact(name: Any, email: Any) -> Contact:
    return Contact(_short(name, _LONGEST_NAME), _short(email, _LONGEST_EMAIL))


def _time(value: Any) -> datetime | None:
    try:
        told = parse_datetime(_text(value))
        if told is None:
            return None
        return told.astimezone(UTC) if told.tzinfo else told.replace(tzinfo=UTC)
    except (ValueError, OverflowError):  # no such day, or in UTC before the year 1
        return None


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _optional_bool(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None
