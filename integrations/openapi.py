"""The JSON API's description for machines (OpenAPI), calls to HighLevel through it included."""

from __future__ import annotations

from functools import cache
from http import HTTPStatus
from typing import Any

from access.models import Scope
from integrations.api import AUDIENCES, api
from integrations.proxy import METHODS

_ERROR = {"$ref": "#/components/schemas/Error"}
_PROXY_ERRORS = (400, 401, 403, 404, 408, 409, 410, 411, 413, 429, 500, 502, 503, 504)
_PROXY_TELLS = (
    "Call HighLevel for the install without seeing its token. Path, query and body go out as they "
    "are; HighLevel's status, headers and body come back as they are, its errors too."
)


@cache
def openapi() -> dict[str, Any]:
    """Return the OpenAPI description of everything a key can call, scopes as `x-scope`."""
    described = dict(api.get_openapi_schema(path_prefix="/app/"))
    described["paths"] = {
        path.replace("{pk}", "{id}"): {
            method: _described(operation) for method, operation in operations.items()
        }
        for path, operations in described["paths"].items()
    }
    described["paths"]["/app/api/{id}/{path}"] = {
        method.lower(): _passed_on(method) for method in METHODS
    }
    return described


def _described(operation: dict[str, Any]) -> dict[str, Any]:
    """Add the scope; call what the code calls `pk` by its name in the contract, `id`."""
    name = operation["operationId"].removeprefix("integrations_api_")
    parameters = [
        parameter | {"name": "id"} if parameter["name"] == "pk" else parameter
        for parameter in operation.get("parameters", [])
    ]
    return operation | {"parameters": parameters, "x-scope": AUDIENCES[name].needs}


def _passed_on(method: str) -> dict[str, Any]:
    """The operation of one method: our own errors by status, and whatever HighLevel answers."""
    own = {"anyOf": [_ERROR, {"description": "HighLevel's own error."}]}
    errors = {
        str(status): {
            "description": HTTPStatus(status).phrase,
            "content": {"application/json": {"schema": own}},
        }
        for status in _PROXY_ERRORS
    }
    operation: dict[str, Any] = {
        "operationId": f"call_highlevel_{method.lower()}",
        "summary": "Call HighLevel",
        "description": _PROXY_TELLS,
        "parameters": [
            _in_path("id", "The install.", format="uuid"),
            _in_path("path", "HighLevel's path, its slashes as they are.", minLength=1),
        ],
        "responses": {"default": {"description": "HighLevel's own answer."}} | errors,
        "security": [{"Requires": []}],
        "x-scope": Scope.PROXY,
    }
    if method in ("POST", "PUT", "PATCH", "DELETE"):
        operation["requestBody"] = {"content": {"*/*": {}}}
    return operation


def _in_path(name: str, description: str, **schema: Any) -> dict[str, Any]:
    return {
        "in": "path",
        "name": name,
        "description": description,
        "required": True,
        "schema": {"type": "string"} | schema,
    }
