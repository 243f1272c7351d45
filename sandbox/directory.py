"""HighLevel's directory routes: sub-account, agency and users."""

from __future__ import annotations

from typing import Any

from sandbox import errors
from sandbox.api import Answer, Params, api, bearer, check_company, require_ids
from sandbox.errors import NotFound
from sandbox.http import SandboxRequest
from sandbox.people import Company, Location, User
from sandbox.tokens import Grant
from sandbox.world import World


@api("GET")
def location_detail(request: SandboxRequest, location_id: str) -> Answer:
    grant = bearer(request, "locations.readonly")
    location = _reachable_location(request.world, grant, location_id)
    return Answer({"location": _location_body(location)})


@api("GET")
def company_detail(request: SandboxRequest, company_id: str) -> Answer:
    grant = bearer(request, "companies.readonly", only="Company")
    check_company(grant, company_id)
    return Answer({"company": _company_body(request.world.people.company(company_id))})


@api("GET")
def users(request: SandboxRequest) -> Answer:
    grant = bearer(request, "users.readonly", only="Location")
    location = _reachable_location(request.world, grant, request.GET.get("locationId", ""))
    people = request.world.people.users(location.company_id, location.id)
    return Answer({"users": [_user_body(user) for user in people]})


@api("GET")
def users_search(request: SandboxRequest) -> Answer:
    grant = bearer(request, "users.readonly")
    params = Params({name: str(value) for name, value in request.GET.items()})
    require_ids(params, "companyId")
    check_company(grant, params.get("companyId"))
    location_id = grant.location_id or params.get("locationId") or None
    people = request.world.people.users(grant.company_id, location_id)
    query = params.get("query").lower()
    found = [_user_body(u) for u in people if query in f"{u.name} {u.email}".lower()]
    return Answer({"users": found, "count": len(found)})


@api("GET")
def user_detail(request: SandboxRequest, user_id: str) -> Answer:
    grant = bearer(request, "users.readonly")
    try:
        user = request.world.people.user(user_id)
    except NotFound as error:
        raise errors.bad_request(str(error)) from None
    if user.company_id != grant.company_id:
        raise errors.wrong_location()
    return Answer(_user_body(user))


def _reachable_location(world: World, grant: Grant, location_id: str) -> Location:
    """A sub-account this token may read. Errors: ApiError 403 for any other."""
    try:
        location = world.people.location(location_id)
    except NotFound:
        raise errors.wrong_location() from None
    if location.company_id != grant.company_id or grant.location_id not in ("", location.id):
        raise errors.wrong_location()
    return location


def _location_body(location: Location) -> dict[str, object]:
    return {
        "id": location.id,
        "companyId": location.company_id,
        "name": location.name,
        "address": location.address,
        "email": location.email,
        "timezone": location.timezone,
        "country": "US",
    }


def _company_body(company: Company) -> dict[str, object]:
    return {
        "id": company.id,
        "name": company.name,
        "email": company.email,
        "domain": company.domain,
        "relationshipNumber": "0-000-001",
    }


def _user_body(user: User) -> dict[str, object]:
    first, _, last = user.name.partition(" ")
    kind = "account" if user.location_id else "agency"
    roles: dict[str, Any] = {
        "type": kind,
        "role": "admin",
        "locationIds": [user.location_id] if user.location_id else [],
    }
    return {
        "id": user.id,
        "name": user.name,
        "firstName": first,
        "lastName": last,
        "email": user.email,
        "roles": roles,
    }
