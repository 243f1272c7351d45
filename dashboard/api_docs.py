"""The JSON API, for people: a page drawn from its OpenAPI description, and that description."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from django.http import HttpResponse, JsonResponse
from django.shortcuts import render

from dashboard.htmx import HtmxRequest, staff_page
from integrations.openapi import openapi as describe


@dataclass(frozen=True)
class Value:
    """A parameter, or a key of a JSON object. `type` in words, as "string (uuid) or null"."""

    name: str
    type: str
    is_required: bool
    default: str = ""


@dataclass(frozen=True)
class Operation:
    method: str
    path: str
    summary: str
    description: str
    scope: str
    parameters: list[Value]
    body: list[Value]
    answers: list[tuple[str, list[Value]]]
    errors: str

    @property
    def anchor(self) -> str:
        return f"{self.method}{self.path}".lower().replace("/", "-").replace(", ", "-").strip("-")


@staff_page()
def docs(request: HtmxRequest) -> HttpResponse:
    described = describe()
    operations = [
        _operation(methods, path, operation, described["components"]["schemas"])
        for path, operations in described["paths"].items()
        for methods, operation in _alike(operations)
    ]
    return render(request, "dashboard/api_docs.html", {"operations": operations})


@staff_page()
def openapi(request: HtmxRequest) -> JsonResponse:
    return JsonResponse(describe())


def _alike(operations: dict[str, Any]) -> Iterator[tuple[list[str], dict[str, Any]]]:
    """Yield the methods of one address, those that are described by the same words together."""
    by_words: dict[str, list[str]] = {}
    for method, operation in operations.items():
        by_words.setdefault(operation.get("description", ""), []).append(method)
    for methods in by_words.values():
        yield methods, operations[methods[0]]


def _operation(
    methods: list[str], path: str, operation: dict[str, Any], schemas: dict[str, Any]
) -> Operation:
    answers: list[tuple[str, list[Value]]] = []
    errors: list[str] = []
    for status, answer in sorted(operation["responses"].items()):
        if status == "default":
            answers.append((answer["description"], []))
        elif int(status) < 400:
            phrase = f"{status} {HTTPStatus(int(status)).phrase}"
            answers.append((phrase, list(_values(_schema_of(answer), schemas))))
        else:
            errors.append(str(status))
    return Operation(
        method=", ".join(methods).upper(),
        path=path,
        summary=operation.get("summary", ""),
        description=operation.get("description", "").replace("`", ""),
        scope=operation["x-scope"],
        parameters=[
            Value(
                item["name"],
                _type(item["schema"], schemas),
                item["required"],
                str(item["schema"].get("default", "") or ""),
            )
            for item in operation.get("parameters", [])
        ],
        body=list(_values(_schema_of(operation.get("requestBody", {})), schemas)),
        answers=answers,
        errors=", ".join(errors),
    )


def _schema_of(content: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = content.get("content", {}).get("application/json", {})
    return schema.get("schema", {})


def _values(schema: dict[str, Any], schemas: dict[str, Any]) -> Iterator[Value]:
    """Yield the keys of an object; those of the objects in a list too, as "integrations[].id"."""
    schema = _resolved(schema, schemas)
    for name, value in schema.get("properties", {}).items():
        is_required = name in schema.get("required", [])
        yield Value(name, _type(value, schemas), is_required, str(value.get("default") or ""))
        for inner in _values(_resolved(value, schemas).get("items", {}), schemas):
            yield Value(f"{name}[].{inner.name}", inner.type, inner.is_required, inner.default)


def _resolved(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference, and the one choice that is not null."""
    if "$ref" in schema:
        return _resolved(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    choices = [choice for choice in schema.get("anyOf", []) if choice.get("type") != "null"]
    return _resolved(choices[0], schemas) if len(choices) == 1 else schema


def _type(schema: dict[str, Any], schemas: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_type(choice, schemas) for choice in schema["anyOf"])
    schema = _resolved(schema, schemas)
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    name = str(schema.get("type", "object"))
    if name == "array":
        return f"list of {_type(schema.get('items', {}), schemas)}"
    return f"{name} ({schema['format']})" if "format" in schema else name
