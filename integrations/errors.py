"""The one shape of an error in JSON, whichever part of the product answers it."""

from __future__ import annotations

import logging

from django.core.exceptions import ObjectDoesNotExist, RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, JsonResponse
from django.http.request import UnreadablePostError

from integrations import database_faults
from integrations.causes import CAUSES, WhoActs

logger = logging.getLogger(__name__)

DATABASE_RETRY_AFTER_S = 5


class ApiError(Exception):
    """An answer that is not what the caller asked for. `code`: one of causes.py."""

    def __init__(
        self, code: str, status: int, *, details: str = "", retry_after_s: int | None = None
    ) -> None:
        super().__init__(code)
        self.code = code
        self.status = status
        self.details = details
        self.retry_after_s = retry_after_s


def json_error(
    code: str, status: int, *, details: str = "", retry_after_s: int | None = None
) -> JsonResponse:
    """Return the error `code` of causes.py as {"error", "details", "who_acts", …}."""
    cause = CAUSES[code]
    who = WhoActs.YOU if cause.who_acts is WhoActs.NOBODY else cause.who_acts
    response = JsonResponse(
        {
            "error": code,
            "details": details or cause.sentence,
            "who_acts": who,
            "retry_after": retry_after_s,
            "help_url": f"/help/#{code}",
        },
        status=status,
    )
    response["Cache-Control"] = "no-store"
    if retry_after_s is not None:
        response["Retry-After"] = str(retry_after_s)
    if status == 401:
        response["WWW-Authenticate"] = "Bearer"
    return response


def answer(error: Exception) -> JsonResponse:
    """Return what a caller is told of any error that ended the request."""
    match error:
        case ApiError():
            return json_error(
                error.code, error.status, details=error.details, retry_after_s=error.retry_after_s
            )
        case ObjectDoesNotExist() | Http404():
            return json_error("not_found", 404)
        case RequestDataTooBig():
            return json_error("body_too_large", 413)
        case SuspiciousOperation() | UnreadablePostError():
            return json_error("invalid_input", 400)
        case OperationalError() | InterfaceError():
            return _database_unavailable(error)
        case _:
            logger.error("Fault", exc_info=error)
            return json_error("internal_error", 500)


def _database_unavailable(error: Exception) -> JsonResponse:
    fault = database_faults.in_words(error)
    logger.error("%s: %s", fault.capitalize(), type(error).__name__)
    return json_error(
        "database_unavailable",
        503,
        details="WhatReach's own database is full." if fault == database_faults.FULL else "",
        retry_after_s=DATABASE_RETRY_AFTER_S,
    )
