"""HighLevel's OAuth and marketplace routes: tokens, installed locations, installer details."""

from __future__ import annotations

import base64

from sandbox import errors, ids
from sandbox.answers import camel, minted_body, pair_body
from sandbox.api import (
    Answer,
    Params,
    api,
    bearer,
    check_company,
    check_version,
    count_call,
    read_params,
    require_ids,
)
from sandbox.errors import NotFound
from sandbox.http import SandboxRequest
from sandbox.ids import app_id
from sandbox.people import Location
from sandbox.tokens import Grant, Pair
from sandbox.world import World

_V3_NAMES = {
    "client_id": "clientId",
    "client_secret": "clientSecret",
    "grant_type": "grantType",
    "refresh_token": "refreshToken",
    "user_type": "userType",
    "redirect_uri": "redirectUri",
}


# --- POST /oauth/token ---


@api("POST")
def token(request: SandboxRequest) -> Answer:
    """Both grants, form or JSON, snake_case or camelCase."""
    params = _snake_params(read_params(request))
    grant_type = _required(params, "grant_type")
    if grant_type not in ("authorization_code", "refresh_token"):
        raise errors.bad_request("Invalid parameter: grantType")
    for name in ("client_id", "client_secret"):
        _required(params, name)
    _count_token_call(request, params)
    trade = _exchange if grant_type == "authorization_code" else _refresh
    pair = trade(request.world, params)
    body = pair_body(pair) | _future_flags(request.world, pair)
    return Answer(_cased(request.world, params, body))


def _snake_params(values: dict[str, str]) -> Params:
    """Parameters under their v2 names, remembering which casing the request used."""
    is_camel = any(name in values for name in _V3_NAMES.values())
    for snake, camel_name in _V3_NAMES.items():
        if camel_name in values:
            values.setdefault(snake, values[camel_name])
    return Params(values, is_camel)


def _required(params: Params, name: str) -> str:
    value = params.get(name)
    if not value:
        raise errors.missing_parameter(_V3_NAMES.get(name, name))
    return value


def _count_token_call(request: SandboxRequest, params: Params) -> None:
    if request.world.knobs.limit_token_endpoint:
        tokens = request.world.tokens
        resource_id = tokens.resource_of(params.get("refresh_token"))
        count_call(request, resource_id or tokens.resource_of_code(params.get("code")) or "-")


def _exchange(world: World, params: Params) -> Pair:
    code = _required(params, "code")
    pair = world.tokens.exchange(
        code=code,
        client_id=params.get("client_id"),
        client_secret=params.get("client_secret"),
        redirect_uri=params.get("redirect_uri"),
    )
    world.queue.release(code)
    return pair


def _refresh(world: World, params: Params) -> Pair:
    return world.tokens.refresh(
        refresh_token=_required(params, "refresh_token"),
        client_id=params.get("client_id"),
        client_secret=params.get("client_secret"),
        user_type=params.get("user_type"),
    )


def _future_flags(world: World, pair: Pair) -> dict[str, object]:
    grant = pair.grant
    if world.knobs.omit_future_flags or grant.location_id:
        return {}
    installs = world.people.installs(grant.company_id)
    approved = [install.location_id for install in installs if install.location_id]
    everywhere = len(approved) == len(world.locations(grant.company_id))
    return {
        "approvedLocations": approved,
        "installToFutureLocations": _installs_later(world, grant.company_id),
        "approveAllLocations": everywhere,
    }


def _cased(world: World, params: Params, body: dict[str, object]) -> dict[str, object]:
    casing = world.knobs.token_casing
    wants_camel = casing == "camel-v3" or (casing == "mirror" and params.is_camel)
    return camel(body) if wants_camel else body


# --- POST /oauth/locationToken and /oauth/location-token ---


@api("POST")
def location_token(request: SandboxRequest) -> Answer:
    grant = bearer(request, "oauth.write", only="Company", removed_in_v3=True)
    return _mint(request, grant)


@api("POST")
def location_token_v3(request: SandboxRequest) -> Answer:
    _only_v3(request)
    return _mint(request, bearer(request, "oauth.write", only="Company"))


def _mint(request: SandboxRequest, grant: Grant) -> Answer:
    world, params = request.world, Params(read_params(request))
    require_ids(params, "companyId", "locationId")
    location_id = params.get("locationId")
    check_company(grant, params.get("companyId"))
    try:
        location = world.people.location(location_id)
    except NotFound:
        raise errors.wrong_location() from None
    if location.company_id != grant.company_id:
        raise errors.wrong_location()
    if world.people.install(grant.company_id, location_id) is None:
        raise errors.bad_request("The app is not installed on this location")
    if not world.people.is_active(grant.company_id, location_id):
        raise errors.location_not_active()
    pair = world.tokens.mint(grant, location_id, world.knobs_for(location_id))
    is_camel = world.knobs.token_casing == "camel-v3"
    body = camel(minted_body(pair)) if is_camel else minted_body(pair)
    return Answer(body, world.knobs.location_token_status)


# --- GET /oauth/installedLocations and /oauth/installed-locations ---


@api("GET")
def installed_locations(request: SandboxRequest) -> Answer:
    grant = bearer(request, "oauth.readonly", only="Company", removed_in_v3=True)
    params = _installed_params(request, grant)
    skip, limit = _whole(params, "skip", 0), _whole(params, "limit", 20)
    if not 1 <= limit <= 500:
        raise errors.unprocessable("limit must be between 1 and 500")
    rows = _installed_rows(request.world, grant, params)
    return Answer(
        {
            "locations": rows[skip : skip + limit],
            "count": len(request.world.locations(grant.company_id)),
            "installToFutureLocations": _installs_later(request.world, grant.company_id),
        }
    )


@api("GET")
def installed_locations_v3(request: SandboxRequest) -> Answer:
    _only_v3(request)
    grant = bearer(request, "oauth.readonly", only="Company")
    params = _installed_params(request, grant)
    size, start = _whole(params, "pageSize", 20), _page_start(params.get("pageToken"))
    if not 1 <= size <= 100:
        raise errors.unprocessable("pageSize must be between 1 and 100")
    rows = _installed_rows(request.world, grant, params)
    page, total = rows[start : start + size], len(rows)
    has_next, has_previous = start + size < total, start > 0
    return Answer(
        {
            "items": page,
            "pagination": {
                "totalRecords": total,
                "hasNextPage": has_next,
                "hasPrevPage": has_previous,
                "nextPageToken": _page_token(start + size) if has_next else None,
                "prevPageToken": _page_token(max(0, start - size)) if has_previous else None,
                "currentPageSize": len(page),
                "estimatedTotalRecords": total,
            },
            "metadata": {"filterApplied": {}, "sortApplied": {}},
            "installToFutureLocations": _installs_later(request.world, grant.company_id),
        }
    )


def _installed_params(request: SandboxRequest, grant: Grant) -> Params:
    params = Params({name: str(value) for name, value in request.GET.items()})
    require_ids(params, "companyId", "appId")
    check_company(grant, params.get("companyId"))
    if params.get("appId") != app_id(grant.client_id):
        raise errors.unprocessable("appId is not the app of this token")
    return params


def _installed_rows(world: World, grant: Grant, params: Params) -> list[dict[str, object]]:
    wanted = params.get("isInstalled").lower()
    query, only_id = params.get("query").lower(), params.get("locationId")
    rows = []
    for location in world.locations(grant.company_id):
        row = _installed_row(world, location)
        if wanted in ("true", "false") and row["isInstalled"] != (wanted == "true"):
            continue
        if (only_id and location.id != only_id) or query not in location.name.lower():
            continue
        if params.get("versionId") not in ("", row.get("versionId")):
            continue
        rows.append(row)
    return rows


def _installed_row(world: World, location: Location) -> dict[str, object]:
    install = world.people.install(location.company_id, location.id)
    row: dict[str, object] = {
        "_id": location.id,
        "name": location.name,
        "address": location.address,
        "isInstalled": install is not None,
    }
    if install is not None:
        row["versionId"] = install.version_id
        row["installedAt"] = ids.timestamp(install.installed_at)
    return row


def _installs_later(world: World, company_id: str) -> bool:
    install = world.people.install(company_id)
    return install is not None and install.future


def _page_token(start: int) -> str:
    return base64.urlsafe_b64encode(f"from:{start}".encode()).decode()


def _page_start(page_token: str) -> int:
    if not page_token:
        return 0
    try:
        return int(base64.urlsafe_b64decode(page_token).decode().removeprefix("from:"))
    except ValueError:
        raise errors.unprocessable("pageToken is invalid") from None


# --- POST /oauth/reconnect ---


@api("POST")
def reconnect(request: SandboxRequest) -> Answer:
    """Removed by HighLevel in September 2026; the `reconnect` knob revives it."""
    world = request.world
    if world.knobs.reconnect == "removed":
        raise errors.endpoint_removed()
    params = Params(read_params(request))
    world.tokens.check_client(params.get("clientKey"), params.get("clientSecret"))
    company_id, location_id = params.get("companyId"), params.get("locationId")
    try:
        company_id, location_id = world.people.place(location_id or company_id)
    except NotFound as error:
        raise errors.bad_request(str(error)) from None
    install = world.people.install(company_id, location_id)
    if install is None or install.client_id != params.get("clientKey"):
        raise errors.bad_request("The app is not installed")
    grant = Grant(
        client_id=install.client_id,
        company_id=company_id,
        location_id=location_id,
        user_id=install.user_id,
        scope=install.scope,
        bulk=install.bulk,
    )
    code, expires_at = world.tokens.issue_code(grant, "")
    return Answer({"authorizationCode": code, "expiresAt": ids.timestamp(expires_at)})


# --- /marketplace/app/{appId}/installations ---


@api("GET", "DELETE")
def installations(request: SandboxRequest, app: str) -> Answer:
    is_delete = request.method == "DELETE"
    scope = "oauth.write" if is_delete else "marketplace-installer-details.readonly"
    grant = bearer(request, scope)
    if app != app_id(grant.client_id):
        raise errors.unprocessable("appId is not the app of this token")
    return _uninstall(request, grant) if is_delete else _installer_details(request.world, grant)


def _installer_details(world: World, grant: Grant) -> Answer:
    company = world.people.company(grant.company_id)
    details: dict[str, object] = {
        "companyId": grant.company_id,
        "locationId": grant.location_id or None,
        "companyName": company.name,
        "relationshipNumber": "0-000-001",
        "companyEmail": company.email,
        "companyOwnerFullName": world.people.users(company.id, "")[0].name,
        "userId": grant.user_id,
        "isWhitelabelCompany": company.white_label,
        "companyPlan": None,
        "marketplaceAppPlanId": None,
        "whitelabelDetails": {"domain": company.domain, "logoUrl": ""}
        if company.white_label
        else {},
    }
    return Answer({"installationDetails": details})


def _uninstall(request: SandboxRequest, grant: Grant) -> Answer:
    world, params = request.world, Params(read_params(request))
    needed = "locationId" if grant.location_id else "companyId"
    require_ids(params, needed)
    location_id = params.get("locationId")
    if grant.location_id and location_id != grant.location_id:
        raise errors.wrong_location()
    if not grant.location_id:
        check_company(grant, params.get("companyId"))
    try:
        if location_id and world.people.location(location_id).company_id != grant.company_id:
            raise errors.wrong_location()
        world.uninstall(location_id or grant.company_id)
    except NotFound as error:
        raise errors.bad_request(str(error)) from None
    return Answer({"success": True})


# --- shared checks ---


def _only_v3(request: SandboxRequest) -> None:
    """A v3 path does not exist for older versions."""
    if check_version(request) != "v3" and request.world.knobs.version_gate:
        raise errors.no_such_route(request.method or "", request.path_info)


def _whole(params: Params, name: str, default: int) -> int:
    value = params.get(name) or str(default)
    if not value.isdecimal():
        raise errors.unprocessable(f"{name} must be a number string")
    return int(value)
