"""The consent page (chooselocation): who installs, on which sub-accounts, Allow or Deny."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from django.http import HttpResponse, QueryDict

from sandbox.errors import NotFound
from sandbox.http import SandboxRequest
from sandbox.knobs import BadKnob
from sandbox.pages import page, see_other
from sandbox.world import DEFAULT_SCOPE, World, with_query

_LOCAL_HOSTS = {"localhost", "127.0.0.1", "::1"}


class _Refused(Exception):
    """The link is wrong; the page says why, nobody is sent anywhere."""


@dataclass(frozen=True)
class _Link:
    """The checked parameters of a consent link."""

    client_id: str
    redirect_uri: str
    scope: str
    state: str
    version_id: str


def choose_location(request: SandboxRequest) -> HttpResponse:
    """GET shows the page (agencies first, then one agency's choices); POST is Allow or Deny."""
    world = request.world
    try:
        link = _checked_link(world, request.GET)
        if request.method == "POST":
            return _decide(world, link, request.GET, request.POST)
        return _choices(world, link, request.GET)
    except (_Refused, BadKnob, NotFound) as refused:
        return page("consent_error", {"message": str(refused)}, status=400)


def _checked_link(world: World, query: QueryDict) -> _Link:
    client_id = query.get("client_id", "")
    if client_id not in world.tokens.clients():
        raise _Refused(f"No integration found with the ID: {client_id}")
    if world.knobs.require_version_id and not query.get("version_id"):
        raise _Refused("error.noversionid")
    if query.get("response_type") != "code":
        raise _Refused("response_type must be code")
    redirect_uri = query.get("redirect_uri", "")
    if not _is_registered(redirect_uri, world.knobs.redirect_uris):
        raise _Refused(f"redirect_uri is not registered for this app: {redirect_uri}")
    scope = " ".join(query.get("scope", "").split()) or DEFAULT_SCOPE
    unknown = set(scope.split()) - set(world.knobs.scopes.split())
    if unknown:
        raise _Refused(f"This integration cannot be added (scope {', '.join(sorted(unknown))})")
    return _Link(
        client_id, redirect_uri, scope, query.get("state", ""), query.get("version_id", "")
    )


def _is_registered(redirect_uri: str, registered: str) -> bool:
    if redirect_uri in registered.split():
        return True
    parts = urlsplit(redirect_uri)
    return parts.scheme in ("http", "https") and parts.hostname in _LOCAL_HOSTS


def _choices(world: World, link: _Link, query: QueryDict) -> HttpResponse:
    company_id = query.get("company", "")
    if not company_id:
        agencies = [(c, len(world.locations(c.id))) for c in world.companies()]
        return page("consent_agencies", {"agencies": agencies, "query": query.urlencode()})
    company = world.people.company(company_id)
    installed = {i.location_id for i in world.people.installs(company.id)}
    locations = [(location, location.id in installed) for location in world.locations(company.id)]
    return page(
        "consent",
        {
            "company": company,
            "locations": locations,
            "scopes": link.scope.split(),
            "query": query.urlencode(),
        },
    )


def _decide(world: World, link: _Link, query: QueryDict, form: QueryDict) -> HttpResponse:
    if form.get("decision") != "allow":
        return _denied(world, link)
    kind, location_ids = form.get("kind", "bulk"), None
    if kind == "user":
        location_ids = [form.get("location_id", "")]
    elif kind == "bulk" and form.get("all") != "on":
        location_ids = form.getlist("location_ids")
        if not location_ids:
            raise _Refused("Choose at least one sub-account")
    code = world.install(
        query.get("company", ""),
        location_ids,
        bulk=kind == "bulk",
        future=form.get("future") == "on",
        redirect_uri=link.redirect_uri,
        scope=link.scope,
        client_id=link.client_id,
        version_id=link.version_id,
    )
    return see_other(world.redirect_url(code, link.state))


def _denied(world: World, link: _Link) -> HttpResponse:
    if world.knobs.deny_answer == "silent":
        return page("consent_denied", {})
    answer = {"error": "access_denied", "error_description": "The user denied access"}
    if link.state and world.knobs.return_state:
        answer["state"] = link.state
    return see_other(with_query(link.redirect_uri, answer))
