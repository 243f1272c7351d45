"""The control API under /_sandbox/: JSON in and out; the control page's forms post here too."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from django.http import HttpResponse, JsonResponse, QueryDict

from sandbox import bodies, knobs
from sandbox.faults import KINDS
from sandbox.http import SandboxRequest
from sandbox.ids import timestamp
from sandbox.knobs import BadKnob
from sandbox.outbox import Delivery, Event
from sandbox.pages import page, see_other
from sandbox.people import Company, Location
from sandbox.world import World

Data = dict[str, Any]
_HOME = "/_sandbox/"
_LISTS = {"location_ids", "locations"}


def reads(view: Callable[[World], Data]) -> Callable[[SandboxRequest], HttpResponse]:
    """A GET route that answers with a JSON object."""

    @functools.wraps(view)
    def route(request: SandboxRequest) -> HttpResponse:
        if request.method != "GET":
            return _wrong_method("GET")
        return JsonResponse(view(request.world))

    return route


def acts(
    *allowed: str, free: bool = False
) -> Callable[[Callable[[World, Data], Data]], Callable[[SandboxRequest], HttpResponse]]:
    """A POST route that takes these names; a form is answered by the control page again.

    Errors: BadKnob for any other name, unless `free`.
    """

    def decorate(action: Callable[[World, Data], Data]) -> Callable[..., HttpResponse]:
        @functools.wraps(action)
        def route(request: SandboxRequest) -> HttpResponse:
            if request.method != "POST":
                return _wrong_method("POST")
            data, is_form = _read(request)
            for name in data:
                if not free and name not in allowed:
                    raise BadKnob(name, f"unknown; this call takes {', '.join(allowed) or 'none'}")
            result = action(request.world, data)
            return see_other(result.get("redirect_url", _HOME)) if is_form else JsonResponse(result)

        return route

    return decorate


def get_or_post(
    get: Callable[[SandboxRequest], HttpResponse], post: Callable[[SandboxRequest], HttpResponse]
) -> Callable[[SandboxRequest], HttpResponse]:
    """One path, two routes."""

    def route(request: SandboxRequest) -> HttpResponse:
        return post(request) if request.method == "POST" else get(request)

    return route


def root(request: SandboxRequest) -> HttpResponse:
    return see_other(_HOME)


def home(request: SandboxRequest) -> HttpResponse:
    """The control page."""
    world = request.world
    return page(
        "control",
        {
            "summary": world.summary(),
            "now": timestamp(world.now()),
            "agencies": [_agency(world, company) for company in world.companies()],
            "knobs": knobs.describe(world.knobs),
            "resource_knobs": world.resource_knobs(),
            "faults": world.faults.as_list(),
            "fault_kinds": sorted(KINDS),
            "event_types": bodies.CANNED_TYPES,
            "calls": [asdict(c) | {"at": timestamp(c.at)} for c in world.calls()[:30]],
            "deliveries": [_delivery(d) for d in world.queue.deliveries(30)],
            "app_url": world.knobs.app_url.rstrip("/"),
        },
    )


# --- reading ---


def env(request: SandboxRequest) -> HttpResponse:
    """The variables an app needs to use this sandbox under the address it was asked by."""
    host = request.headers.get("Host", "127.0.0.1:8801")
    return JsonResponse(request.world.env(f"http://{host}"))


@reads
def summary(world: World) -> Data:
    return world.summary()


@reads
def tokens(world: World) -> Data:
    return {"tokens": [asdict(use) for use in world.token_uses()]}


@reads
def calls(world: World) -> Data:
    return {"calls": [asdict(call) for call in world.calls()]}


@reads
def events(world: World) -> Data:
    return {
        "events": [_event(event) for event in world.queue.events()],
        "deliveries": [_delivery(delivery) for delivery in world.queue.deliveries()],
    }


@reads
def agencies(world: World) -> Data:
    return {"agencies": [_agency(world, company) for company in world.companies()]}


@reads
def read_knobs(world: World) -> Data:
    return {
        "knobs": asdict(world.knobs),
        "resource_knobs": world.resource_knobs(),
        "about": knobs.describe(world.knobs),
    }


@reads
def read_faults(world: World) -> Data:
    return {"faults": world.faults.as_list()}


# --- acting ---


@acts(free=True)
def turn_knobs(world: World, data: Data) -> Data:
    """{"knob": value, …}; with "resource_id" for one agency or sub-account alone."""
    resource_id = str(data.pop("resource_id", "") or "")
    if resource_id:
        world.set_resource_knobs(resource_id, **data)
    else:
        world.set_knobs(data)
    return {"knobs": asdict(world.knobs), "resource_knobs": world.resource_knobs()}


@acts(free=True)
def plan_faults(world: World, data: Data) -> Data:
    """{"fault": kind, …} plans one; {"clear": true} forgets all, or those of "resource_id"."""
    if data.pop("clear", None):
        world.clear_faults(str(data.get("resource_id", "")))
    else:
        world.fault(str(data.pop("fault", "")), **data)
    return {"faults": world.faults.as_list()}


@acts()
def reset(world: World, data: Data) -> Data:
    world.reset()
    return world.summary()


@acts("name", "email", "locations", "white_label")
def create_agency(world: World, data: Data) -> Data:
    locations = data.get("locations", 0)
    if isinstance(locations, list) and len(locations) == 1 and str(locations[0]).isdecimal():
        locations = int(locations[0])
    if not isinstance(locations, int | list):
        raise BadKnob("locations", "a number, or a list of names")
    company = world.create_agency(
        str(data.get("name", "")),
        locations=locations,
        email=str(data.get("email", "")),
        white_label=_flag(data, "white_label"),
    )
    return _agency(world, company)


@acts("company_id", "name", "email", "timezone")
def create_location(world: World, data: Data) -> Data:
    fields = {name: str(data[name]) for name in ("email", "timezone") if data.get(name)}
    location = world.create_location(
        str(data.get("company_id", "")), str(data.get("name", "")), **fields
    )
    return _location(world, location)


@acts("location_id")
def delete_location(world: World, data: Data) -> Data:
    world.delete_location(str(data.get("location_id", "")))
    return {"deleted": True}


@acts(
    "company_id", "location_ids", "all", "bulk", "future", "redirect_uri", "state", "scope",
    "client_id", "version_id",
)  # fmt: skip
def install(world: World, data: Data) -> Data:
    """Complete a consent: {"code", "redirect_url"}; a form goes on to the app's callback."""
    location_ids = None if _flag(data, "all") else data.get("location_ids")
    if location_ids is not None and not isinstance(location_ids, list):
        raise BadKnob("location_ids", "a list of ids")
    names = ("redirect_uri", "scope", "client_id", "version_id")
    choices = {name: str(data[name]) for name in names if data.get(name)}
    choices.setdefault("redirect_uri", world.knobs.app_url.rstrip("/") + "/app/callback/")
    code = world.install(
        str(data.get("company_id", "")),
        location_ids,
        bulk=_flag(data, "bulk", default=True),
        future=_flag(data, "future"),
        **choices,
    )
    return {"code": code, "redirect_url": world.redirect_url(code, str(data.get("state", "")))}


@acts("company_id", "location_id")
def uninstall(world: World, data: Data) -> Data:
    world.uninstall(_resource(data))
    return {"uninstalled": _resource(data)}


@acts("company_id", "location_id")
def pause(world: World, data: Data) -> Data:
    world.pause(_resource(data))
    return {"paused": _resource(data)}


@acts("company_id", "location_id")
def resume(world: World, data: Data) -> Data:
    world.resume(_resource(data))
    return {"resumed": _resource(data)}


@acts("company_id", "location_id")
def refuse(world: World, data: Data) -> Data:
    world.refuse(_resource(data))
    return {"refused": _resource(data)}


@acts("seconds")
def advance(world: World, data: Data) -> Data:
    try:
        seconds = float(data.get("seconds", ""))
    except (TypeError, ValueError):
        raise BadKnob("seconds", f"{data.get('seconds')!r} is not a number") from None
    if not 0 <= seconds < float("inf"):
        raise BadKnob("seconds", "time only goes forward")
    world.advance(seconds)
    return {"now": timestamp(world.now())}


@acts("type", "company_id", "location_id", "body", "raw", "signature")
def send_event(world: World, data: Data) -> Data:
    """A canned event by "type", a "body" of your own, both (laid over it), or "raw" text."""
    body = data.get("body") or {}
    if not isinstance(body, dict):
        raise BadKnob("body", "a JSON object")
    event = world.send_event(
        str(data.get("type", "")),
        str(data.get("location_id") or data.get("company_id") or ""),
        body=body,
        raw=str(data.get("raw", "")),
        signature=str(data.get("signature", "")),
    )
    return _event(event)


@acts("webhookId")
def resend(world: World, data: Data) -> Data:
    return _event(world.resend(str(data.get("webhookId", ""))))


@acts("client_id", "client_secret")
def put_client(world: World, data: Data) -> Data:
    """Add a key pair, or change the secret of a known client."""
    for name in ("client_id", "client_secret"):
        if not data.get(name):
            raise BadKnob(name, "missing")
    world.put_client(str(data["client_id"]), str(data["client_secret"]))
    return {"client_ids": list(world.tokens.clients())}


@acts("version_id")
def retire(world: World, data: Data) -> Data:
    return {"removed": world.retire_version(str(data.get("version_id", "")))}


# --- details ---


def _read(request: SandboxRequest) -> tuple[Data, bool]:
    """(values, whether they came from a form). Errors: BadKnob for a body that is no object."""
    if request.content_type in ("application/x-www-form-urlencoded", "multipart/form-data"):
        return _read_form(request.POST), True
    try:
        data = json.loads(request.body or b"{}")
    except ValueError:
        raise BadKnob("body", "not JSON") from None
    if not isinstance(data, dict):
        raise BadKnob("body", "not a JSON object")
    return data, False


def _read_form(form: QueryDict) -> Data:
    return {name: form.getlist(name) if name in _LISTS else form[name] for name in form}


def _flag(data: Mapping[str, Any], name: str, *, default: bool = False) -> bool:
    return str(data.get(name, default)).lower() in {"true", "on", "1"}


def _resource(data: Data) -> str:
    return str(data.get("location_id") or data.get("company_id") or "")


def _wrong_method(allowed: str) -> HttpResponse:
    body = {"error": "wrong_method", "details": f"this call takes {allowed}"}
    return JsonResponse(body, status=405, headers={"Allow": allowed})


def _agency(world: World, company: Company) -> Data:
    return {
        "id": company.id,
        "name": company.name,
        "active": company.active,
        "installed": world.people.install(company.id) is not None,
        "exchanged": world.tokens.was_exchanged(company.id),
        "locations": [_location(world, location) for location in world.locations(company.id)],
    }


def _location(world: World, location: Location) -> Data:
    install = world.people.install(location.company_id, location.id)
    return {
        "id": location.id,
        "company_id": location.company_id,
        "name": location.name,
        "active": location.active,
        "installed": install is not None,
        "exchanged": world.tokens.was_exchanged(location.company_id, location.id),
        "bulk": install is not None and install.bulk,
    }


def _event(event: Event) -> Data:
    return {
        "webhook_id": event.webhook_id,
        "type": event.type,
        "resource_id": event.resource_id,
        "state": event.state,
        "attempts": event.attempts,
        "last_status": event.last_status,
        "body": event.body.decode("utf-8", "replace"),
    }


def _delivery(delivery: Delivery) -> Data:
    return {
        "at": timestamp(delivery.at),
        "webhook_id": delivery.event.webhook_id,
        "type": delivery.event.type,
        "resource_id": delivery.event.resource_id,
        "status": delivery.status,
        "error": delivery.error,
    }
