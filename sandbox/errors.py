"""HighLevel's refusals, word for word.

Where no real answer was ever published the text is ours; docs/sandbox.md lists those.
"""

from __future__ import annotations

from collections.abc import Mapping


class ApiError(Exception):
    """An answer other than 2xx: status, JSON body, extra headers."""

    def __init__(
        self, status: int, body: Mapping[str, object], headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(f"{status} {dict(body)}")
        self.status = status
        self.body = dict(body)
        self.headers = dict(headers or {})


class NotFound(LookupError):
    """The sandbox has no such agency, sub-account, install, event or version."""


def refusal(status: int, message: str, error: str = "") -> ApiError:
    body: dict[str, object] = {"statusCode": status, "message": message}
    if error:
        body["error"] = error
    return ApiError(status, body)


def bad_request(message: str) -> ApiError:
    return refusal(400, message)


def invalid_grant() -> ApiError:
    """The refresh token is unknown, expired or already used."""
    return bad_request("Invalid grant: refresh token is invalid")


def location_not_active() -> ApiError:
    """Paused or unpaid: the same refresh token works again later."""
    return bad_request("Location is not active")


def missing_parameter(name: str) -> ApiError:
    return bad_request(f"Missing parameter: {name}")


def unauthorized(description: str) -> ApiError:
    return ApiError(401, {"error": "UnAuthorized!", "error_description": description})


def code_not_found() -> ApiError:
    return unauthorized("Authorization code not found")


def invalid_client() -> ApiError:
    return unauthorized("Invalid client credentials!")


def invalid_refresh_token() -> ApiError:
    return unauthorized("Invalid refresh token")


def invalid_access_token() -> ApiError:
    return refusal(401, "Invalid token: access token is invalid", "Unauthorized")


def invalid_jwt() -> ApiError:
    return refusal(401, "Invalid JWT")


def unprocessable(*messages: str) -> ApiError:
    """422 with an array as `message`; without messages HighLevel's generic one."""
    return ApiError(
        422,
        {
            "statusCode": 422,
            "message": list(messages) or ["Unprocessable Entity"],
            "error": "Unprocessable Entity",
        },
    )


def scope_missing() -> ApiError:
    return refusal(401, "The token is not authorized for this scope.")


def class_not_allowed() -> ApiError:
    """A Company token on a sub-account's scope."""
    return refusal(
        401,
        "This authClass type is not allowed to access this scope. "
        "Please verify your IAM configuration if this is not the case.",
    )


def user_type_not_supported() -> ApiError:
    """A Location token on an agency's endpoint."""
    return refusal(401, "This token's user type is not yet supported!")


def wrong_location() -> ApiError:
    return refusal(403, "The token does not have access to this location.")


def wrong_company() -> ApiError:
    return refusal(403, "The token does not have access to this company.")


def version_missing() -> ApiError:
    return refusal(401, "version header was not found.")


def version_invalid(version: str, style: str) -> ApiError:
    if style == "401":
        return refusal(401, "version header is invalid")
    return bad_request(f"Invalid API version segment '{version}' at position 0")


def removed_in_v3(target: str) -> ApiError:
    return refusal(
        400,
        f"Endpoint {target} not available in API version v3. This endpoint was removed in "
        "version v3. Please use a version before v3.",
        "Bad Request",
    )


def endpoint_removed() -> ApiError:
    return refusal(400, "API endpoint has been removed", "Bad Request")


def no_such_route(method: str, path: str) -> ApiError:
    return refusal(404, f"Cannot {method} {path}", "Not Found")


def too_many_requests(headers: Mapping[str, str] | None = None) -> ApiError:
    return ApiError(429, {"statusCode": 429, "message": "Too Many Requests"}, headers)
