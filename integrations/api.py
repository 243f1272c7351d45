"""The JSON API (docs/api.md). Views parse, authorise and answer; the work is done elsewhere."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Annotated, Any

from django.db import transaction
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils import timezone
from ninja import NinjaAPI, Query, Schema, Status
from ninja.errors import HttpError, ValidationError
from ninja.parser import Parser
from ninja.renderers import JSONRenderer
from ninja.responses import NinjaJSONEncoder
from pydantic import Field, StrictBool

from access.audience import ONLY_SHOWS, Audience, Who
from access.audit import record
from access.models import AuditEvent, Scope
from integrations import bulk, connectivity, handouts, health, outage
from integrations.auth import Caller, Requires
from integrations.causes import CAUSES, WhoActs
from integrations.deadlocks import atomically
from integrations.errors import ApiError, answer, json_error
from integrations.health import OFF, State
from integrations.models import GoHighLevelIntegration, RenewalJob, RenewalJobItem
from integrations.refresh import CALL_S, Outcome, RefreshResult, refresh_integration
from integrations.tokens import STATUS_OF_CAUSE, Source, get_access_token, opened

# So many are renewed side by side while the caller waits; more become a job of the worker.
INLINE_LIMIT = 8
LIST_LIMIT = 500

# A day: no token lives much longer than one.
MinValidFor = Annotated[int, Query(ge=0, le=86_400)]
# No name or id has a NUL in it, and PostgreSQL takes none.
Text = Annotated[str, Field(max_length=200, pattern=r"^[^\x00]*$")]


class ObjectParser(Parser):
    """Bodies are JSON objects, also those that come as a form, as curl -d sends them."""

    def parse_body(self, request: HttpRequest) -> Any:
        if request.content_type in ("multipart/form-data", "application/x-www-form-urlencoded"):
            if not request.FILES and request.POST.keys() <= {"csrfmiddlewaretoken"}:
                return {}
            if request.content_type == "multipart/form-data":
                raise HttpError(400, "The body must be a JSON object, not a form.")
        body: Any = super().parse_body(request)
        if body is None:
            return {}
        if not isinstance(body, dict):
            raise HttpError(400, "The body must be a JSON object.")
        return body


class TimeEncoder(NinjaJSONEncoder):
    """Times with milliseconds, also where these are 0."""

    def default(self, o: Any) -> Any:
        if isinstance(o, datetime):
            return f"{o.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"
        return super().default(o)


class TimeRenderer(JSONRenderer):
    encoder_class = TimeEncoder


api = NinjaAPI(
    title="WhatReach",
    version="1",
    docs_url=None,
    openapi_url=None,
    parser=ObjectParser(),
    renderer=TimeRenderer(),
)


class ApiRequest(HttpRequest):
    auth: Caller


class Error(Schema):
    error: str
    details: str
    who_acts: WhoActs
    retry_after: int | None
    help_url: str


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
    # Not 1 or "yes": what was not meant as true must not renew everything.
    force: StrictBool = False


class NotRenewed(Schema):
    id: uuid.UUID
    cause: str


class BulkRefreshed(Schema):
    success: bool
    refreshed_count: int
    failed_count: int
    skipped_count: int
    held_back_count: int
    left_out: list[NotRenewed]


class Job(Schema):
    job: uuid.UUID
    total: int
    refreshed_count: int
    failed_count: int
    skipped_count: int
    held_back_count: int
    cancelled_count: int
    finished: bool


class JobBegun(Job):
    left_out: list[NotRenewed]


class JobDetail(Job):
    failed: list[NotRenewed]


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
    agency: Text = ""
    q: Text = ""
    cursor: uuid.UUID | None = None
    limit: int = Field(100, ge=1, le=LIST_LIMIT)


def _answers(success: Any, *errors: int) -> dict[int, Any]:
    """What an address answers: the success, its own errors, and those of every address."""
    common = (401, 403, 422, 429, 500, 503)
    return {200: success} | dict.fromkeys(sorted({*common, *errors}), Error)


@api.get("/list/", auth=Requires(Scope.INTEGRATIONS_READ), response=_answers(InstallList))
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


@api.get(
    "/status/{any_uuid:pk}/",
    auth=Requires(Scope.INTEGRATIONS_READ),
    response=_answers(InstallStatus, 404),
)
def install_status(request: ApiRequest, pk: uuid.UUID) -> dict[str, Any]:
    request.auth.check_install(pk)
    row = GoHighLevelIntegration.objects.defer("refresh_token_encrypted").get(pk=pk)
    now = timezone.now()
    if row.status == health.Status.ACTIVE and not opened(row):
        # To be shown, not kept: whoever asks for the token, or the next renewal, brings a new one.
        row.status, row.cause = health.Status.DAMAGED, "token_damaged"
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


@api.get("/token-health/", auth=Requires(Scope.INTEGRATIONS_READ), response=_answers(TokenHealth))
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


@api.get(
    "/get-token/{any_uuid:pk}/",
    auth=Requires(Scope.TOKENS_READ),
    response=_answers(Token, 404, 409, 410),
)
def get_token(
    request: ApiRequest,
    response: HttpResponse,
    pk: uuid.UUID,
    min_valid_for: MinValidFor | None = None,
) -> dict[str, Any]:
    """A valid access token, renewed first if less than `min_valid_for` seconds of it are left."""
    request.auth.check_install(pk)
    needed = None if min_valid_for is None else timedelta(seconds=min_valid_for)
    token = get_access_token(pk, min_valid_for=needed, caller=request.auth.name)
    key = request.auth.key
    if key is None:  # nobody but a key has this scope
        raise ApiError("key_missing", 401)
    handouts.count(key, pk, request.auth.address)
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


@api.post(
    "/refresh/{any_uuid:pk}/",
    auth=Requires(Scope.TOKENS_REFRESH),
    response=_answers(Renewed, 404, 409, 410),
)
def refresh(request: ApiRequest, pk: uuid.UUID) -> dict[str, Any]:
    """Renew one install now and answer when it is done."""
    request.auth.check_install(pk)
    result = refresh_integration(pk, trigger="refresh", caller=request.auth.name, wait_s=2 * CALL_S)
    row = GoHighLevelIntegration.objects.without_secrets().get(pk=pk)
    outcome = AuditEvent.DONE if result.success else AuditEvent.FAILED
    record(request, "install.refresh", target=row, outcome=outcome)
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
    response=_answers(BulkRefreshed, 400) | {202: JobBegun},
)
def bulk_refresh(request: ApiRequest, body: BulkRefreshIn | None = None) -> Status:
    """Renew all that are due, those in `ids`, or with `force` all. Many become a job (202)."""
    body = body or BulkRefreshIn(ids=None)
    left_out = _left_out(request.auth, body.ids or [])
    rows = request.auth.installs().renewable()
    if body.ids is not None:
        rows = rows.filter(pk__in=body.ids)
    elif not body.force:
        rows = rows.needing_refresh(timezone.now())
    ids = rows.order_by("pk").values_list("pk", flat=True)
    few = list(ids[: INLINE_LIMIT + 1])
    is_inline = len(few) <= INLINE_LIMIT
    with transaction.atomic():
        job = bulk.create_job(few if is_inline else ids.iterator(), caller=request.auth.name)
        if not is_inline:
            bulk.hand_to_worker(job)
        record(request, "install.bulk_refresh", target=job, total=job.total)
    if not is_inline:
        return Status(202, _job(job) | {"left_out": left_out})
    bulk.run_batch(job, few)
    progress = job.progress()
    ended = sum(one["cause"] in OFF for one in left_out)
    failed = progress.failed + len(left_out) - ended
    return Status(
        200,
        {
            "success": failed == 0,
            "refreshed_count": progress.renewed,
            "failed_count": failed,
            "skipped_count": progress.skipped + ended,
            "held_back_count": job.held_back(),
            "left_out": left_out,
        },
    )


@api.get(
    "/jobs/{any_uuid:pk}/", auth=Requires(Scope.TOKENS_REFRESH), response=_answers(JobDetail, 404)
)
def job_status(request: ApiRequest, pk: uuid.UUID) -> dict[str, Any]:
    """How far a bulk renewal is, and which installs it could not renew (the first 500)."""
    job = _get_job(request.auth, pk)
    failed = job.items.filter(outcome=RenewalJobItem.FAILED).order_by("pk")
    return _job(job) | {
        "failed": [{"id": item.integration_id, "cause": item.cause} for item in failed[:LIST_LIMIT]]
    }


@api.post(
    "/jobs/{any_uuid:pk}/cancel/", auth=Requires(Scope.TOKENS_REFRESH), response=_answers(Job, 404)
)
def cancel_job(request: ApiRequest, pk: uuid.UUID) -> dict[str, Any]:
    """Begin nothing more of a bulk renewal; what is done stays done."""
    job = _get_job(request.auth, pk)

    @atomically
    def cancel() -> None:
        left = bulk.cancel(job)
        record(request, "job.cancel", target=job, left=left)

    cancel()
    return _job(job)


@api.get(
    "/test-connectivity/", auth=Requires(Scope.INTEGRATIONS_READ), response=_answers(Connectivity)
)
def test_connectivity(request: ApiRequest) -> dict[str, Any]:
    services = connectivity.check_services()
    return {"success": all(service.reachable for service in services), "services": services}


def _left_out(caller: Caller, ids: list[uuid.UUID]) -> list[dict[str, Any]]:
    """Which of the ids cannot be renewed, with the cause: what ended, and what is not there for
    this caller, in the words that it gets when it names one alone."""
    statuses = dict(caller.installs().filter(pk__in=ids).values_list("pk", "status"))
    is_limited_key = caller.key is not None and caller.is_limited
    unknown = "key_lacks_install" if is_limited_key else "not_found"
    causes = {pk: statuses.get(pk, unknown) for pk in ids}
    return [
        {"id": pk, "cause": cause}
        for pk, cause in causes.items()
        if cause in OFF or pk not in statuses
    ]


def _get_job(caller: Caller, pk: uuid.UUID) -> RenewalJob:
    """Errors: RenewalJob.DoesNotExist."""
    jobs = RenewalJob.objects.all()
    return (jobs.wholly_about(caller.installs()) if caller.is_limited else jobs).get(pk=pk)


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
        "held_back_count": row.held_back(),
        "cancelled_count": progress.cancelled,
        "finished": progress.is_finished,
    }


def _refresh_error(result: RefreshResult, row: GoHighLevelIntegration) -> ApiError:
    if result.outcome is Outcome.BUSY:
        return ApiError(
            "highlevel_unavailable", 503, details="A renewal is still running.", retry_after_s=5
        )
    cause = result.cause or row.cause or "highlevel_unavailable"
    status = STATUS_OF_CAUSE.get(cause, 503)
    if row.status in OFF:
        status = 410
    return ApiError(
        _PUBLIC_CAUSE.get(cause, cause),
        status,
        details=f"{CAUSES[cause].sentence} {CAUSES[cause].effect}",
        retry_after_s=_seconds_until(_next_try(row)) if status == 503 else None,
    )


# The codes of the contract for what a row calls by the cause.
_PUBLIC_CAUSE = {
    "refused": "needs_reconnect",
    "answer_lost": "needs_reconnect",
    "location_inactive": "paused_by_highlevel",
    "agency_uninstalled": "uninstalled",
}


def _next_try(row: GoHighLevelIntegration) -> datetime | None:
    """When we try again by ourselves: in an outage all wait for the one that tries."""
    present = outage.current()
    return present.try_at if present else row.renew_at


def _seconds_until(moment: datetime | None) -> int:
    if moment is None:
        return 60
    return max(1, round((moment - timezone.now()).total_seconds()))


@api.exception_handler(ValidationError)
def _on_invalid(request: HttpRequest, error: ValidationError) -> HttpResponse:
    found = "; ".join(
        f"{'.'.join(str(part) for part in item['loc'][1:]) or 'body'}: {item['msg']}"
        for item in error.errors
    )
    return json_error("invalid_input", 422, details=found)


@api.exception_handler(HttpError)
def _on_http_error(request: HttpRequest, error: HttpError) -> HttpResponse:
    return json_error("invalid_input", error.status_code, details=error.message)


@api.exception_handler(Http404)
@api.exception_handler(Exception)
def _on_error(request: HttpRequest, error: Exception) -> HttpResponse:
    return answer(error)


# --- Addresses ---

_COUNTED = "It is counted by key, install and hour, which is the record of hand-outs."
AUDIENCES = {
    "list_installs": Audience(Who.KEY, Scope.INTEGRATIONS_READ, no_audit=ONLY_SHOWS),
    "install_status": Audience(Who.KEY, Scope.INTEGRATIONS_READ, no_audit=ONLY_SHOWS),
    "token_health": Audience(Who.KEY, Scope.INTEGRATIONS_READ, no_audit=ONLY_SHOWS),
    "get_token": Audience(Who.KEY, Scope.TOKENS_READ, no_audit=_COUNTED),
    "refresh": Audience(Who.KEY, Scope.TOKENS_REFRESH, audit="install.refresh"),
    "bulk_refresh": Audience(Who.KEY, Scope.TOKENS_REFRESH, audit="install.bulk_refresh"),
    "job_status": Audience(Who.KEY, Scope.TOKENS_REFRESH, no_audit=ONLY_SHOWS),
    "cancel_job": Audience(Who.KEY, Scope.TOKENS_REFRESH, audit="job.cancel"),
    "test_connectivity": Audience(Who.KEY, Scope.INTEGRATIONS_READ, no_audit=ONLY_SHOWS),
}


def urls() -> tuple[list[URLPattern], str, str]:
    """Return what `path` includes: the addresses of the API with their audiences. Each takes HEAD
    where it takes GET, and answers OPTIONS with the methods that it takes."""
    patterns, app_name, namespace = api.urls
    ours = []
    for pattern in patterns:
        # Ninja's own, which only names the prefix, is left out.
        if isinstance(pattern, URLPattern) and pattern.name in AUDIENCES:
            view = _with_head_and_options(pattern.callback)
            view.audience = AUDIENCES[pattern.name]
            pattern.callback = view
            ours.append(pattern)
    return ours, app_name, namespace


def _with_head_and_options(view: Any) -> Any:
    @wraps(view)
    def answering(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        asked = request.method
        if asked == "HEAD":
            request.method = "GET"
        response: HttpResponse = view(request, *args, **kwargs)
        request.method = asked  # the web server leaves the body of a HEAD's answer out
        if response.status_code != 405:
            return response
        allowed = {*response["Allow"].split(", "), "OPTIONS"}
        allowed |= {"HEAD"} if "GET" in allowed else set()
        if asked == "OPTIONS":
            response = HttpResponse(status=204)
        response["Allow"] = ", ".join(sorted(allowed))
        return response

    return answering
