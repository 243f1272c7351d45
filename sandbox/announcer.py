"""Turns what happens into events in the outbox, and makes canned ones on request."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sandbox import bodies, ids, knobs
from sandbox.bodies import Stamp
from sandbox.errors import NotFound
from sandbox.knobs import Knobs
from sandbox.outbox import Event, Outbox
from sandbox.people import Install, Location, People


class Announcer:
    """Writes event bodies with the knobs of the moment and queues them."""

    def __init__(
        self,
        people: People,
        queue: Outbox,
        now: Callable[[], float],
        knobs: Callable[[], Knobs],
        default_client_id: str,
    ) -> None:
        self._people = people
        self._queue = queue
        self._now = now
        self._knobs = knobs
        self._default_client_id = default_client_id

    def installed(self, place: Install, *, waits_for: str = "", later: bool = False) -> None:
        stamp, company = self._stamp(place), self._people.company(place.company_id)
        body = bodies.install(stamp, self._knobs(), company, place, later=later)
        self._put(body, stamp, place.resource_id, waits_for=waits_for)

    def uninstalled(self, place: Install) -> None:
        stamp = self._stamp(place)
        body = bodies.uninstall(stamp, self._knobs(), place.company_id, place.location_id)
        self._put(body, stamp, place.resource_id)

    def location_created(self, agency_install: Install, location: Location) -> None:
        stamp = self._stamp(agency_install)
        body = bodies.location_changed("LocationCreate", stamp, self._knobs(), location)
        self._put(body, stamp, location.id)

    def send(
        self, kind: str, resource_id: str, body: Mapping[str, object], raw: str, signature: str
    ) -> Event:
        """Queue a canned event of this type with `body` laid over it, or `raw` as it is.

        Errors: NotFound, BadKnob for an unknown signature mode.
        """
        if signature:
            knobs.read_values({"signatures": signature})
        if raw or not kind:
            stamp = self._new_stamp(self._default_client_id, "")
            return self._put(raw.encode() or dict(body), stamp, resource_id, signature)
        place = self._place(resource_id)
        stamp, company = self._stamp(place), self._people.company(place.company_id)
        canned = bodies.canned(kind, stamp, self._knobs(), company, place, self._a_location(place))
        return self._put(canned | dict(body), stamp, place.resource_id, signature)

    def _put(
        self,
        body: dict[str, object] | bytes,
        stamp: Stamp,
        resource_id: str,
        signature: str = "",
        waits_for: str = "",
    ) -> Event:
        return self._queue.put(
            body,
            webhook_id=stamp.webhook_id,
            resource_id=resource_id,
            signature=signature,
            waits_for=waits_for,
        )

    def _stamp(self, place: Install) -> Stamp:
        return self._new_stamp(place.client_id, place.version_id)

    def _new_stamp(self, client_id: str, version_id: str) -> Stamp:
        app = ids.app_id(client_id)
        return Stamp(app, version_id or app, ids.webhook_id(), ids.timestamp(self._now()))

    def _place(self, resource_id: str) -> Install:
        """The install of a place (the first sub-account by default), or what one would be."""
        if resource_id:
            company_id, location_id = self._people.place(resource_id)
        else:
            locations = self._people.locations()
            if not locations:
                raise NotFound("no sub-account to send an event for")
            company_id, location_id = locations[0].company_id, locations[0].id
        return self._people.install(company_id, location_id) or Install(
            company_id=company_id,
            location_id=location_id,
            client_id=self._default_client_id,
            user_id=self._people.users(company_id)[0].id,
            version_id="",
            scope="",
            bulk=False,
            future=False,
            installed_at=self._now(),
            active=False,
        )

    def _a_location(self, place: Install) -> Location | None:
        if place.location_id:
            return self._people.location(place.location_id)
        return next(iter(self._people.locations(place.company_id)), None)
