"""The API does what its OpenAPI description says: made-up calls against a running server.

SCHEMA_EXAMPLES=200 tries harder than the few calls to each address that a test run makes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from integrations.openapi import openapi

pytestmark = pytest.mark.one_database

EXAMPLES = os.environ.get("SCHEMA_EXAMPLES")
# The same few each time, unless somebody asks for more.
MADE_UP = hypothesis_settings(
    max_examples=int(EXAMPLES or 10),
    deadline=None,
    database=None,
    derandomize=not EXAMPLES,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def calls() -> Iterator[tuple[str, str, GenerationMode]]:
    for path, methods in openapi()["paths"].items():
        for method, operation in methods.items():
            yield method, path, GenerationMode.POSITIVE
            # Where there is nothing to send, nothing can be wrong with it.
            if operation["parameters"] or "requestBody" in operation:
                yield method, path, GenerationMode.NEGATIVE


@pytest.fixture
def headers(transactional_db: None, api: Any, world: Any, settings: Any) -> dict[str, str]:
    settings.API_RATE_PER_MINUTE = settings.API_FAILED_KEYS_PER_MINUTE = 0
    return {"Authorization": api().defaults["HTTP_AUTHORIZATION"]}


@pytest.fixture
def known_ids(install_location: Any, headers: dict[str, str]) -> dict[str, str]:
    """An id: an install, or a job where the address is about jobs."""
    from integrations.bulk import create_job

    row = install_location()
    return {"install": str(row.pk), "job": str(create_job([row.pk], caller="billing").pk)}


@pytest.mark.parametrize(("method", "path", "mode"), list(calls()))
def test_answers_are_as_described(live_server, headers, known_ids, method, path, mode):
    schema = schemathesis.openapi.from_dict(openapi())
    schema.config.update(base_url=live_server.url)
    # Each call carries a good key: calls without one have tests of their own (test_api.py).
    schema.config.generation.update(with_security_parameters=False)
    operation = schema[path][method]
    known = known_ids["job" if "jobs" in path else "install"]

    @given(case=operation.as_strategy(generation_mode=mode), is_known=st.booleans())
    @MADE_UP
    def call(case: schemathesis.Case, is_known: bool) -> None:
        if is_known and mode is GenerationMode.POSITIVE and "id" in case.path_parameters:
            case.path_parameters["id"] = known
        case.call_and_validate(headers=headers, timeout=30)

    call()
