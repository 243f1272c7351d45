"""Event bodies as HighLevel's pages and published deliveries show them, oddities included."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sandbox import ids
from sandbox.knobs import Knobs
from sandbox.people import Company, Install, Location

Body = dict[str, object]

_PLAN_ID = "66a0419a0dffa47fb5f8b22f"


@dataclass(frozen=True)
class Stamp:
    """What newer events carry beside their own fields."""

    app_id: str
    version_id: str
    webhook_id: str
    timestamp: str

    def extras(self) -> Body:
        return {"timestamp": self.timestamp, "webhookId": self.webhook_id}


def install(
    stamp: Stamp, knobs: Knobs, company: Company, place: Install, *, later: bool = False
) -> Body:
    """INSTALL; `later`: a sub-account added after the agency chose "future locations"."""
    sparse = knobs.install_fields == "sparse"
    body: Body = {"type": "INSTALL", "appId": stamp.app_id}
    if not sparse:
        body["versionId"] = stamp.version_id
        body["installType"] = "Location" if place.location_id else "Company"
    if place.location_id:
        body["locationId"] = place.location_id
    if not (later and knobs.future_install_fields == "sparse"):
        body["companyId"] = place.company_id
        if place.location_id or not sparse:
            body["userId"] = place.user_id
    if sparse:
        body |= {"planId": _PLAN_ID, "trial": _trial(stamp)}
    if place.location_id or not sparse:
        body |= _company_fields(company)
    return body if sparse else body | {"trial": {}} | stamp.extras()


def uninstall(stamp: Stamp, knobs: Knobs, company_id: str, location_id: str) -> Body:
    """UNINSTALL names the sub-account or the agency, never both."""
    body: Body = {"type": "UNINSTALL", "appId": stamp.app_id}
    place: Body = {"locationId": location_id} if location_id else {"companyId": company_id}
    if knobs.uninstall_fields == "sparse":
        return body | place
    return body | {"versionId": stamp.version_id} | place | stamp.extras()


def update(stamp: Stamp, knobs: Knobs, company: Company, place: Install) -> Body:
    """UPDATE: the app's version on this place changed."""
    body: Body = {"type": "UPDATE", "appId": stamp.app_id}
    if place.location_id:
        body["locationId"] = place.location_id
    body |= {
        "companyId": place.company_id,
        "userId": place.user_id,
        "planId": _PLAN_ID,
        "previousVersionId": place.version_id,
        "trial": _trial(stamp),
    }
    if place.location_id:
        body |= {**_company_fields(company)}
    return _with_extras(body, stamp, knobs)


def location_changed(kind: str, stamp: Stamp, knobs: Knobs, location: Location) -> Body:
    """LocationCreate or LocationUpdate: the sub-account is in `id`."""
    body: Body = {
        "type": kind,
        "id": location.id,
        "companyId": location.company_id,
        "name": location.name,
        "email": location.email,
        "stripeProductId": "prod_xyz123abc",
    }
    if not knobs.ids_only_in_id:
        body["locationId"] = location.id
    return _with_extras(body, stamp, knobs)


def canned(
    kind: str,
    stamp: Stamp,
    knobs: Knobs,
    company: Company,
    place: Install,
    location: Location | None,
) -> Body:
    """An event of any type for this place; an unknown type gets ids alone."""
    if kind in _PLAIN:
        return _with_extras({"type": kind} | _PLAIN[kind](place, stamp), stamp, knobs)
    if kind == "INSTALL":
        return install(stamp, knobs, company, place)
    if kind == "UNINSTALL":
        return uninstall(stamp, knobs, place.company_id, place.location_id)
    if kind == "UPDATE":
        return update(stamp, knobs, company, place)
    if kind in ("LocationCreate", "LocationUpdate") and location is not None:
        return location_changed(kind, stamp, knobs, location)
    return _with_extras({"type": kind, "locationId": place.location_id}, stamp, knobs)


def _plan_change(place: Install, stamp: Stamp) -> Body:
    return {
        "appId": stamp.app_id,
        "locationId": place.location_id,
        "companyId": place.company_id,
        "userId": place.user_id,
        "currentPlanId": _PLAN_ID,
        "newPlanId": _PLAN_ID,
    }


def _payment_status(place: Install, stamp: Stamp) -> Body:
    return {
        "appId": stamp.app_id,
        "companyId": place.company_id,
        "locationId": place.location_id or None,
        "userId": place.user_id,
        "previousStatus": "PENDING",
        "newStatus": "COMPLETE",
    }


def _contact(place: Install, stamp: Stamp) -> Body:
    return {
        "locationId": place.location_id,
        "id": ids.place_id(),
        "address1": "3535 1st St N",
        "city": "Birmingham",
        "state": "AL",
        "companyName": "Loram ipsum",
        "country": "US",
        "source": "web form",
        "dateAdded": stamp.timestamp,
        "dnd": False,
        "email": "j.deo@mail.example",
        "name": "John Deo",
        "firstName": "John",
        "lastName": "Deo",
        "phone": "+12055550143",
        "postalCode": "35203",
        "tags": ["new"],
        "attachments": [],
        "customFields": [],
    }


def _inbound_message(place: Install, stamp: Stamp) -> Body:
    return {
        "locationId": place.location_id,
        "attachments": [],
        "body": "This is a test message",
        "contactId": ids.place_id(),
        "contentType": "text/plain",
        "conversationId": ids.place_id(),
        "dateAdded": stamp.timestamp,
        "direction": "inbound",
        "messageType": "SMS",
        "status": "delivered",
        "conversationProviderId": ids.place_id(),
    }


def _user_create(place: Install, stamp: Stamp) -> Body:
    person: Body = {
        "id": ids.place_id(),
        "firstName": "Zoë",
        "lastName": "Doe",
        "email": "zoe@mail.example",
        "role": "admin",
    }
    if place.location_id:
        return {"locationId": place.location_id} | person
    return {"companyId": place.company_id} | person | {"locations": []}


_PLAIN: dict[str, Callable[[Install, Stamp], Body]] = {
    "PLAN_CHANGE": _plan_change,
    "APP_PAYMENT_STATUS": _payment_status,
    "ContactCreate": _contact,
    "InboundMessage": _inbound_message,
    "UserCreate": _user_create,
}

CANNED_TYPES = ("INSTALL", "UNINSTALL", "UPDATE", "LocationCreate", "LocationUpdate", *_PLAIN)


def _company_fields(company: Company) -> Body:
    details = {"logoUrl": f"https://{company.domain}/logo.gif", "domain": company.domain}
    return {
        "companyName": company.name,
        "isWhitelabelCompany": company.white_label,
        "whitelabelDetails": details if company.white_label else {},
    }


def _trial(stamp: Stamp) -> Body:
    return {"onTrial": True, "trialDuration": 10, "trialStartDate": stamp.timestamp}


def _with_extras(body: Body, stamp: Stamp, knobs: Knobs) -> Body:
    if not knobs.event_extras:
        return body
    app: Body = {"appId": stamp.app_id, "versionId": stamp.version_id}
    return body | stamp.extras() | app
