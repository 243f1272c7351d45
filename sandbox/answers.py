"""Token answers in HighLevel's words and order."""

from __future__ import annotations

from sandbox.tokens import Pair


def pair_body(pair: Pair) -> dict[str, object]:
    """The answer of /oauth/token in snake_case, in the order of HighLevel's samples."""
    grant = pair.grant
    body: dict[str, object] = {
        "access_token": pair.access_token,
        "token_type": "Bearer",
        "expires_in": pair.expires_in,
        "refresh_token": pair.refresh_token,
        "scope": grant.scope,
        "refreshTokenId": pair.refresh_token_id,
        "userType": grant.user_type,
        "companyId": grant.company_id,
    }
    if grant.location_id:
        body["locationId"] = grant.location_id
    # A Location token says false even when its agency installed in bulk.
    body["isBulkInstallation"] = grant.bulk and not grant.location_id
    body["userId"] = grant.user_id
    return body


def minted_body(pair: Pair) -> dict[str, object]:
    """The answer of /oauth/locationToken: without refreshTokenId and the bulk flag."""
    body = pair_body(pair) | {"expires_in": pair.expires_in + 1}
    del body["refreshTokenId"], body["isBulkInstallation"]
    return body


_CAMEL = {
    "access_token": "accessToken",
    "token_type": "tokenType",
    "expires_in": "expiresIn",
    "refresh_token": "refreshToken",
}


def camel(body: dict[str, object]) -> dict[str, object]:
    """The same answer under the names of API v3 (June to August 2026)."""
    return {_CAMEL.get(name, name): value for name, value in body.items()}
