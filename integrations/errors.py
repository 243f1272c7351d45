"""The one shape of an error in JSON, whichever part of the product answers it."""

from __future__ import annotations

from django.http import JsonResponse

from integrations.causes import CAUSES, WhoActs


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
    return response
