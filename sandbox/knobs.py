"""What can be turned: HighLevel's undocumented choices and its moods."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

SCOPES = (
    "businesses.readonly companies.readonly contacts.readonly contacts.write "
    "conversations.readonly conversations.write conversations/message.readonly "
    "conversations/message.write locations.readonly marketplace-installer-details.readonly "
    "oauth.readonly oauth.write users.readonly"
)


class BadKnob(ValueError):
    """A knob or fault that does not exist, or a value it cannot take."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.reason = reason


def _knob(default: Any, meaning: str) -> Any:
    return field(default=default, metadata={"meaning": meaning})


Signatures = Literal[
    "ed25519", "both", "rsa", "n/a", "none", "bad", "wrong_key", "tampered", "reserialised"
]


@dataclass(frozen=True)
class Knobs:
    """Every knob with its default. Units: seconds, unless the name says otherwise."""

    refresh_grace_seconds: float = _knob(
        30, "a spent refresh token used again within this time gets the same new refresh token"
    )
    grace_same_access_token: bool = _knob(
        False, "a use inside the grace window also gets the same access token"
    )
    access_token_life_seconds: int = _knob(86400, "life of an access token")
    refresh_token_life_seconds: int = _knob(31536000, "life of an unused refresh token")
    code_life_seconds: int = _knob(600, "life of an authorization code")
    revoked_error: Literal["401", "400"] = _knob(
        "401", "refresh after an uninstall: 401 Invalid client credentials!, or 400 Invalid grant"
    )
    wrong_client_pair: Literal["401", "400", "accept"] = _knob(
        "401", "refresh by another key pair of the app"
    )
    unknown_refresh_token: Literal["401", "400"] = _knob(
        "401", "refresh with a made-up token: 401 Invalid refresh token, or 400 Invalid grant"
    )
    expired_access_error: Literal["invalid_token", "invalid_jwt"] = _knob(
        "invalid_token", "text of the 401 for an expired or revoked access token"
    )
    old_access_token_lives: bool = _knob(
        True, "after a renewal the former access token works until its own end"
    )
    mint_revokes_previous: bool = _knob(
        False, "minting a location token ends that location's former pairs"
    )
    reinstall_revokes_previous: bool = _knob(False, "a reinstall ends the former pairs")
    return_state: bool = _knob(True, "the consent page gives `state` back")
    deny_answer: Literal["redirect", "silent"] = _knob(
        "redirect", "Deny sends the user back with error=access_denied, or nowhere"
    )
    require_version_id: bool = _knob(
        False, "the consent page refuses a link without version_id (error.noversionid)"
    )
    redirect_uris: str = _knob(
        "", "registered redirect URIs (space separated) beside any localhost URL"
    )
    scopes: str = _knob(SCOPES, "scopes registered for the app (space separated)")
    reconnect: Literal["removed", "works"] = _knob(
        "removed", "POST /oauth/reconnect: 400 as since September 2026, or as before"
    )
    token_casing: Literal["snake", "camel-v3", "mirror"] = _knob(
        "snake", "names in token answers; mirror = as the request has them"
    )
    location_token_status: Literal[201, 200] = _knob(201, "status of a minted location token")
    omit_future_flags: bool = _knob(
        True, "token answers leave out approvedLocations and installToFutureLocations"
    )
    version_gate: bool = _knob(True, "check the Version header")
    bad_version_error: Literal["400", "401"] = _knob("400", "answer to an unknown Version")
    burst_limit: int = _knob(100, "calls per burst window and resource")
    burst_window_seconds: int = _knob(10, "length of the burst window")
    daily_limit: int = _knob(200000, "calls per day and resource")
    limit_token_endpoint: bool = _knob(False, "/oauth/token counts towards the limits too")
    retry_after_seconds: int | None = _knob(
        None, "Retry-After on 429 answers of the limits; none = no header"
    )
    latency_seconds: float = _knob(0, "every API answer comes this much later")
    webhook_url: str = _knob(
        "http://127.0.0.1:8000/app/webhook/", "where events go; empty: they are held"
    )
    app_url: str = _knob("http://127.0.0.1:8000", "the app, for links on the control page")
    signatures: Signatures = _knob("ed25519", "how events are signed, rightly or wrongly")
    retry_policy: Literal["any-non-2xx", "429-only", "none"] = _knob(
        "any-non-2xx", "which events are sent again: 12 times, 6 times after a 429, never"
    )
    retry_scale: float = _knob(1.0, "factor on the waiting times between retries")
    duplicate_events: int = _knob(0, "further copies of every event")
    event_order: Literal["in_order", "reversed", "shuffled"] = _knob(
        "in_order", "order in which due events are sent"
    )
    install_order: Literal["webhook_first", "callback_first", "interleaved"] = _knob(
        "webhook_first", "INSTALL events before the code exchange, after it, or half and half"
    )
    install_fields: Literal["observed", "sparse"] = _knob(
        "observed", "INSTALL bodies as seen in 2026, or as on the older documentation page"
    )
    uninstall_fields: Literal["observed", "sparse"] = _knob(
        "observed", "UNINSTALL with versionId, timestamp and webhookId, or ids only"
    )
    future_install_fields: Literal["sparse", "full"] = _knob(
        "sparse", "INSTALL of a later sub-account without or with userId and companyId"
    )
    ids_only_in_id: bool = _knob(True, "LocationCreate and LocationUpdate carry `id` alone")
    event_extras: bool = _knob(
        True, "other events carry timestamp, webhookId, appId and versionId too"
    )


# Knobs that may differ for one agency or sub-account.
PER_RESOURCE = frozenset(
    {
        "refresh_grace_seconds",
        "grace_same_access_token",
        "access_token_life_seconds",
        "refresh_token_life_seconds",
        "revoked_error",
        "old_access_token_lives",
        "mint_revokes_previous",
        "latency_seconds",
    }
)

_HINTS = get_type_hints(Knobs)
_TRUE, _FALSE = {"true", "on", "1", "yes"}, {"false", "off", "0", "no", ""}


def changed(knobs: Knobs, values: Mapping[str, object]) -> Knobs:
    """The knobs with some values replaced; text is read as a form would send it.

    Errors: BadKnob names the knob that does not exist or the value it cannot take.
    """
    return replace(knobs, **read_values(values))


def read_values(values: Mapping[str, object], *, per_resource: bool = False) -> dict[str, Any]:
    """Validated values by knob name. Errors: BadKnob."""
    read = {}
    for name, value in values.items():
        if name not in _HINTS:
            raise BadKnob(name, "no such knob")
        if per_resource and name not in PER_RESOURCE:
            raise BadKnob(name, "this knob is global, it cannot be set for one resource")
        read[name] = _read(name, _HINTS[name], value)
    return read


def describe(knobs: Knobs) -> list[dict[str, object]]:
    """One entry for each knob: name, value, default, meaning, choices (empty: free)."""
    values, rows = asdict(knobs), []
    for knob in fields(Knobs):
        hint = _HINTS[knob.name]
        choices = list(get_args(hint)) if get_origin(hint) is Literal else []
        rows.append(
            {
                "name": knob.name,
                "value": values[knob.name],
                "default": knob.default,
                "meaning": knob.metadata["meaning"],
                "choices": [True, False] if hint is bool else choices,
            }
        )
    return rows


def _read(name: str, hint: Any, value: object) -> object:
    origin = get_origin(hint)
    if origin is Literal:
        return _read_choice(name, get_args(hint), value)
    if origin in (Union, types.UnionType):  # int | None
        return None if value in (None, "", "none") else _read_number(name, int, value)
    if hint is bool:
        return _read_bool(name, value)
    if hint is str:
        if not isinstance(value, str):
            raise BadKnob(name, f"{value!r} is not text")
        return value.strip()
    return _read_number(name, hint, value)


def _read_choice(name: str, choices: tuple[Any, ...], value: object) -> object:
    for choice in choices:
        if str(choice) == str(value):
            return choice
    raise BadKnob(name, f"{value!r} is not one of {', '.join(str(c) for c in choices)}")


def _read_bool(name: str, value: object) -> bool:
    text = str(value).lower()
    if text not in _TRUE | _FALSE:
        raise BadKnob(name, f"{value!r} is not true or false")
    return text in _TRUE


def _read_number(name: str, kind: type, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise BadKnob(name, f"{value!r} is not a number")
    try:
        number: float = kind(value)
    except ValueError:
        raise BadKnob(name, f"{value!r} is not a number") from None
    if not 0 <= number < float("inf"):
        raise BadKnob(name, f"{value!r} is not a number from 0 up")
    return number
