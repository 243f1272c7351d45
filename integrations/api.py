"""The JSON API (docs/api.md). Views parse, authorise and answer; the work is done elsewhere."""

from __future__ import annotations

import logging
import uuid
from datetime import datetime, timedelta
from typing import Annotated, Any

from django.db import InterfaceError, OperationalError
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from ninja import NinjaAPI, Query, Schema, Status
from ninja.errors import HttpError, ValidationError
from ninja.parser import Parser
from pydantic import Field

from access.models import Scope
from integrations import bulk, connectivity
from integrations.auth import ApiError, Caller, Requires
from integrations.causes import CAUSES, WhoActs
from integrations.errors import json_error
from integrations.health import OFF, State
from integrations.models import GoHighLevelIntegration, RenewalJob, RenewalJobItem
from integrations.refresh import CALL_S, Outcome, RefreshResult, refresh_integration
from integrations.tokens import NoToken, Source, get_access_token

logger = logging.getLogger(__name__)

# So many are renewed side by side while the caller waits; more become a job of the worker.
INLINE_LIMIT = 8
LIST_LIMIT = 500
DATABASE_RETRY_AFTER_S = 5

# Half a day: no token lives much longer than one.
MinValidFor = Annotated[int, Query(ge=0, le=43_200)]


class ObjectParser(Parser):
    """Bodies are JSON objects; a form without JSON (curl -X POST -d '') is an empty one."""

    def parse_body(self, request: HttpRequest) -> Any:
        if request.content_type in ("multipart/form-data", "application/x-www-form-urlencoded"):
            return {}
        body = super().parse_body(request)
        if not isinstance(body, dict):
            raise HttpError(400, "The body must be a JSON object.")
        return body


api = NinjaAPI(
    title="WhatReach", version="1", docs_url=None, openapi_url=None, parser=ObjectParser()
)


class ApiRequest(HttpRequest):
    auth: Caller


class InstallSummary(Schema):
    id: uuid.UUID
    user_type: str
    location_id: str
    location_name: str
    company_id: str
    user_email: str
    is_active: bool
    is_token_expired: bool
    state: State
    expires_at: datetime | None
    installed_at: datetime | None


class InstallList(Schema):
    integrations: list[InstallSummary]
    next_cursor: uuid.UUID | None


class InstallStatus(InstallSummary):
    needs_refresh: bool
    cause: str | None
    who_acts: WhoActs
    explanation: str | None
    next_renewal_at: datetime | None
    verified_at: datetime | None
    last_used_at: datetime | None


class TokenHealth(Schema):
    total_integrations: int
    expired_tokens: int
    needs_refresh: int
    healthy_tokens: int
    health_percentage: float
    states: dict[State, int]


class Token(Schema):
    access_token: str
    token_type: str
    expires_at: datetime
    expires_in: int
    was_refreshed: bool
    needs_refresh: bool
    is_expired: bool
    source: Source
    warning: str | None


class Renewed(Schema):
    success: bool
    message: str
    expires_at: datetime | None
    state: State


class BulkRefreshIn(Schema, extra="forbid"):
    ids: list[uuid.UUID] | None = Field(None, max_length=10_000)
    force: bool = False


class BulkRefreshed(Schema):
    success: bool
    refreshed_count: int
    failed_count: int
    skipped_count: int


class Job(Schema):
    job: uuid.UUID
    total: int
    refreshed_count: int
    failed_count: int
    skipped_count: int
    cancelled_count: int
    finished: bool


class FailedItem(Schema):
    id: uuid.UUID
    cause: str


class JobDetail(Job):
    failed: list[FailedItem]


class Service(Schema):
    name: str
    reachable: bool
    latency_ms: int | None
    error: str | None


class Connectivity(Schema):
    success: bool
    services: list[Service]


class ListFilter(Schema):
    state: State | None = None
    agency: str = ""
    q: str = ""
    cursor: uuid.UUID | None = None
    limit: int = Field(100, ge=1, le=LIST_LIMIT)


@api.get("/list/", auth=Requires(Scope.INTEGRATIONS_READ), response=InstallList)
def list_installs(request: ApiRequest, filters: Query[ListFilter]) -> dict[str, Any]:
    """Installs in the order of their ids, a page at a time: pass `next_cursor` as `cursor`."""
    now = timezone.now()
    rows = request.auth.installs().without_secrets().order_by("pk")
    if filters.cursor:
        rows = rows.filter(pk__gt=filters.cursor)
    if filters.agency:
        rows = rows.filter(company_id=filters.agency)
    if filters.q:
        rows = rows.filter(
            Q(name__icontains=filters.q) | Q(resource_id=filters.q) | Q(company_id=filters.q)
        )
    if filters.state:
        rows = rows.in_state(filters.state, now)
    page = list(rows[: filters.limit + 1])
    more = len(page) > filters.limit
    page = page[: filters.limit]
    return {
        "integrations": [_summary(row, now) for row in page],
        "next_cursor": page[-1].pk if more else None,
    }


@api.get("/status/{uuid:pk}/", auth=Requires(Scope.INTEGRATIONS_READ), response=InstallStatus)
def install_status(request: ApiRequest, pk: uuid.UUID) -> dict[str, Any]:
    request.auth.check_install(pk)
    row = GoHighLevelIntegration.objects.without_secrets().get(pk=pk)
    now = timezone.now()
    cause = row.cause_info
    return _summary(row, now) | {
        "needs_refresh": row.needs_refresh(now),
        "cause": row.cause or None,
        "who_acts": cause.who_acts if cause else WhoActs.NOBODY,
        "explanation": f"{cause.sentence} {cause.effect}" if cause else None,
        "next_renewal_at": row.renew_at,
        "verified_at": row.verified_at,
        "last_used_at": row.last_used_at,
    }


@api.get("/token-health/", auth=Requires(Scope.INTEGRATIONS_READ), response=TokenHealth)
def token_health(request: ApiRequest) -> dict[str, Any]:
    """The summary over all installs but those that ended."""
    now = timezone.now()
    states = request.auth.installs().count_by_state(now)
    tokens = request.auth.installs().count_tokens(now)
    total, healthy = tokens["total"], tokens["healthy"]
    return {
        "total_integrations": total,
        "expired_tokens": tokens["expired"],
        "needs_refresh": tokens["needs_refresh"],
        "healthy_tokens": healthy,
        "health_percentage": round(100 * healthy / total, 1) if total else 100.0,
        "states": states,
    }


@api.get("/get-token/{uuid:pk}/", auth=Requires(Scope.TOKENS_READ), response=Token)
def get_token(
    request: ApiRequest, response: HttpResponse, pk: uuid.UUID, min_valid_for: MinValidFor = 300
) -> dict[str, Any]:
    """A valid access token, renewed first if less than `min_valid_for` seconds of it are left."""
    request.auth.check_install(pk)
    token = get_access_token(
        pk, min_valid_for=timedelta(seconds=min_valid_for), caller=request.auth.name
    )
    response["Cache-Control"] = "no-store"
    return {
        "access_token": token.access_token,
        "token_type": token.token_type,
        "expires_at": token.expires_at,
        "expires_in": int((token.expires_at - timezone.now()).total_seconds()),
        "was_refreshed": token.source is Source.REFRESHED,
        "needs_refresh": token.needs_refresh,
        "is_expired": False,
        "source": token.source,
        "warning": CAUSES[token.warning].sentence if token.warning else None,
    }


@api.post("/refresh/{uuid:pk}/", auth=Requires(Scope.TOKENS_REFRESH), response=Renewed)
def refresh(request: ApiRequest, pk: uuid.UUID) -> dict[str, Any]:
    """Renew one install now and answer when it is done."""
    request.auth.check_install(pk)
    result = refresh_integration(pk, trigger="api", caller=request.auth.name, wait_s=2 * CALL_S)
    row = GoHighLevelIntegration.objects.without_secrets().get(pk=pk)
    if not result.success:
        raise _refresh_error(result, row)
    return {
        "success": True,
        "message": "The token was renewed.",
        "expires_at": row.expires_at,
        "state": row.state(timezone.now()),
    }


@api.post(
    "/bulk-refresh/",
    auth=Requires(Scope.TOKENS_REFRESH),
    response={200: BulkRefreshed, 202: Job},
)
def bulk_refresh(request: ApiRequest, body: BulkRefreshIn | None = None) -> Status:
    """Renew all that are due, those in `ids`, or with `force` all. Many become a job (202)."""
    body = body or BulkRefreshIn(ids=None)
    rows = request.auth.installs().renewable()
    if body.ids is not None:
        rows = rows.filter(pk__in=body.ids)
    elif not body.force:
        rows = rows.needing_refresh(timezone.now())
    ids = list(rows.values_list("pk", flat=True))
    job = bulk.create_job(ids, caller=request.auth.name)
    if len(ids) > INLINE_LIMIT:
        bulk.hand_to_worker(job)
        return Status(202, _job(job))
    bulk.run_batch(job, ids)
    progress = job.progress()
    return Status(
        200,
        {
            "success": progress.failed == 0,
            "refreshed_count": progress.renewed,
            "failed_count": progress.failed,
            "skipped_count": progress.skipped,
        },
    )


@api.get("/jobs/{uuid:pk}/", auth=Requires(Scope.TOKENS_REFRESH), response=JobDetail)
def job_status(request: ApiRequest, pk: uuid.UUID) -> dict[str, Any]:
    """How far a bulk renewal is, and which installs it could not renew (the first 500)."""
    job = RenewalJob.objects.get(pk=pk)
    failed = job.items.filter(outcome=RenewalJobItem.FAILED).order_by("pk")
    return _job(job) | {
        "failed": [{"id": item.integration_id, "cause": item.cause} for item in failed[:LIST_LIMIT]]
    }


@api.post("/jobs/{uuid:pk}/cancel/", auth=Requires(Scope.TOKENS_REFRESH), response=Job)
def cancel_job(request: ApiRequest, pk: uuid.UUID) -> dict[str, Any]:
    """Begin nothing more of a bulk renewal; what is done stays done."""
    job = RenewalJob.objects.get(pk=pk)
    bulk.cancel(job)
    return _job(job)


@api.get("/test-connectivity/", auth=Requires(Scope.INTEGRATIONS_READ), response=Connectivity)
def test_connectivity(request: ApiRequest) -> dict[str, Any]:
    services = connectivity.check_services()
    return {"success": all(service.reachable for service in services), "services": services}


def _summary(row: GoHighLevelIntegration, now: datetime) -> dict[str, Any]:
    return {
        "id": row.pk,
        "user_type": row.user_type,
        "location_id": row.location_id,
        "location_name": row.name,
        "company_id": row.company_id,
        "user_email": row.user_email,
        "is_active": row.is_active,
        "is_token_expired": row.is_expired(now),
        "state": row.state(now),
        "expires_at": row.expires_at,
        "installed_at": row.installed_at,
    }


def _job(row: RenewalJob) -> dict[str, Any]:
    progress = row.progress()
    return {
        "job": row.pk,
        "total": row.total,
        "refreshed_count": progress.renewed,
        "failed_count": progress.failed,
        "skipped_count": progress.skipped,
        "cancelled_count": progress.cancelled,
        "finished": progress.is_finished,
    }


def _refresh_error(result: RefreshResult, row: GoHighLevelIntegration) -> ApiError:
    """The status says whose turn it is: 409 the install's state, 410 gone, 503 try again."""
    if result.outcome is Outcome.BUSY:
        return ApiError(
            "highlevel_unavailable", 503, details="A renewal is still running.", retry_after_s=5
        )
    cause = result.cause or row.cause or "highlevel_unavailable"
    status = _STATUS_OF_CAUSE.get(cause, 503)
    if row.status in OFF:
        status = 410
    return ApiError(
        _PUBLIC_CAUSE.get(cause, cause),
        status,
        details=f"{CAUSES[cause].sentence} {CAUSES[cause].effect}",
        retry_after_s=_seconds_until(row.renew_at) if status == 503 else None,
    )


# The codes of the contract for what a row calls by the cause.
_PUBLIC_CAUSE = {
    "refused": "needs_reconnect",
    "answer_lost": "needs_reconnect",
    "location_inactive": "paused_by_highlevel",
    "agency_uninstalled": "uninstalled",
}
_STATUS_OF_CAUSE = {
    "refused": 409,
    "answer_lost": 409,
    "needs_reconnect": 409,
    "location_inactive": 409,
    "paused_by_highlevel": 409,
    "token_damaged": 409,
    "waiting_for_agency": 409,
    "waiting_for_install": 409,
    "uninstalled": 410,
    "agency_uninstalled": 410,
    "deactivated": 410,
}


def _seconds_until(moment: datetime | None) -> int:
    if moment is None:
        return 60
    return max(1, round((moment - timezone.now()).total_seconds()))


@api.exception_handler(ApiError)
def _on_api_error(request: HttpRequest, error: ApiError) -> JsonResponse:
    response = json_error(
        error.code, error.status, details=error.details, retry_after_s=error.retry_after_s
    )
    if error.status == 401:
        response["WWW-Authenticate"] = "Bearer"
    return response


@api.exception_handler(NoToken)
def _on_no_token(request: HttpRequest, error: NoToken) -> JsonResponse:
    status = _STATUS_OF_CAUSE.get(error.cause, 503)
    return json_error(error.cause, status, retry_after_s=error.retry_after_s)


@api.exception_handler(GoHighLevelIntegration.DoesNotExist)
@api.exception_handler(RenewalJob.DoesNotExist)
@api.exception_handler(Http404)
def _on_not_found(request: HttpRequest, error: Exception) -> JsonResponse:
    return json_error("not_found", 404)


@api.exception_handler(ValidationError)
def _on_invalid(request: HttpRequest, error: ValidationError) -> JsonResponse:
    found = "; ".join(
        f"{'.'.join(str(part) for part in item['loc'][1:]) or 'body'}: {item['msg']}"
        for item in error.errors
    )
    return json_error("invalid_input", 422, details=found)


@api.exception_handler(HttpError)
def _on_http_error(request: HttpRequest, error: HttpError) -> JsonResponse:
    return json_error("invalid_input", error.status_code, details=error.message)


@api.exception_handler(OperationalError)
@api.exception_handler(InterfaceError)
def _on_database_away(request: HttpRequest, error: Exception) -> JsonResponse:
    logger.error("The database does not answer: %s %s", request.method, request.path_info)
    return json_error("database_unavailable", 503, retry_after_s=DATABASE_RETRY_AFTER_S)


@api.exception_handler(Exception)
def _on_fault(request: HttpRequest, error: Exception) -> JsonResponse:
    logger.exception("Fault in %s %s", request.method, request.path_info)
    return json_error("internal_error", 500)
