"""The whole local HighLevel as plain Python: tests call it, the HTTP face calls it.

    world = World(":memory:")
    agency = world.create_agency("Northwind Marketing", locations=3)
    code = world.install(agency.id)
    world.pause(world.locations(agency.id)[0].id)
    world.fault("drop_after_commit", route="/oauth/token")
    world.deliver(send)

An agency's admin allowed the app, one sub-account stopped paying, the next answer of the token
endpoint gets lost, and the INSTALL events go out.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from threading import Event as Signal
from urllib.parse import urlencode

from sandbox import knobs
from sandbox.announcer import Announcer
from sandbox.faults import Fault, FaultPlan, read_fault
from sandbox.ids import app_id
from sandbox.installs import Choice, Installs
from sandbox.knobs import Knobs
from sandbox.limits import RateLimiter
from sandbox.names import sample_names
from sandbox.outbox import Delivery, Event, Outbox, Send
from sandbox.people import Company, Location, People
from sandbox.signing import Signer
from sandbox.store import Store
from sandbox.tokens import TokenDesk, TokenUse

DEMO_CLIENT_ID = "5eed5eed5eed5eed5eed5eed-whatrdmo"
DEMO_CLIENT_SECRET = "5eed5eed-0000-4000-8000-000000005eed"
DEFAULT_SCOPE = (
    "locations.readonly oauth.readonly oauth.write marketplace-installer-details.readonly"
)
DEFAULT_REDIRECT_URI = "http://127.0.0.1:8000/app/callback/"
_CALLS_KEPT = 300


@dataclass(frozen=True)
class ApiCall:
    """One answered API call; `route` is its path with names in place of ids.

    Shapes: `status` 0 when a fault came first. Units: `at` in seconds, `ms` milliseconds.
    """

    at: float
    method: str
    path: str
    route: str
    grant_type: str
    resource_id: str
    status: int
    message: str
    fault: str
    ms: float


class World:
    """Agencies, sub-accounts, installs, tokens, events and knobs in one SQLite file.

    `clock` gives seconds since 1970; `advance()` moves the sandbox ahead of it, restarts included.
    Errors: sqlite3.OperationalError when the file cannot be opened.
    """

    def __init__(self, path: str = ":memory:", clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._store = Store(path)
        self._offset: float = self._store.get("clock_offset", 0.0)
        self._knobs = knobs.changed(Knobs(), self._store.get("knobs", {}))
        self._resource_knobs: dict[str, dict[str, object]] = self._store.get("resource_knobs", {})
        self.faults = FaultPlan(self._store.get("faults", []))
        self.event_is_due = Signal()
        self.limiter = RateLimiter()
        self._calls: deque[ApiCall] = deque(maxlen=_CALLS_KEPT)
        self._call_counts: Counter[str] = Counter()
        self.signer = Signer(self._store)
        self.people = People(self._store, self.now)
        self.tokens = TokenDesk(self._store, self.people, self.now, self.knobs_for)
        self.queue = Outbox(
            self._store, self.signer, self.now, lambda: self._knobs, self.event_is_due.set
        )
        self._announcer = Announcer(
            self.people, self.queue, self.now, lambda: self._knobs, DEMO_CLIENT_ID
        )
        self._installs = Installs(
            self.people, self.tokens, self._announcer, self.now, lambda: self._knobs
        )
        if not self.tokens.clients():
            self.put_client(DEMO_CLIENT_ID, DEMO_CLIENT_SECRET)

    def close(self) -> None:
        self._store.close()

    # --- time, knobs, faults ---

    def now(self) -> float:
        return self._clock() + self._offset

    def advance(self, seconds: float) -> None:
        """Move the sandbox's clock forward; nothing waits."""
        self._offset += seconds
        self._store.put("clock_offset", self._offset)
        self.event_is_due.set()

    @property
    def knobs(self) -> Knobs:
        return self._knobs

    def knobs_for(self, resource_id: str) -> Knobs:
        """The knobs that hold for one agency or sub-account."""
        own = self._resource_knobs.get(resource_id)
        return knobs.changed(self._knobs, own) if own else self._knobs

    def set_knobs(self, values: Mapping[str, object] | None = None, **named: object) -> Knobs:
        """Turn some knobs for everybody. Errors: BadKnob, then nothing is changed."""
        wanted = dict(values or {}) | named
        self._knobs = knobs.changed(self._knobs, wanted)
        self._store.put("knobs", asdict(self._knobs))
        self.event_is_due.set()
        return self._knobs

    def set_resource_knobs(self, resource_id: str, **values: object) -> None:
        """Turn some knobs for one agency or sub-account. Errors: BadKnob, NotFound."""
        self.people.place(resource_id)
        read = knobs.read_values(values, per_resource=True)
        self._resource_knobs[resource_id] = self._resource_knobs.get(resource_id, {}) | read
        self._store.put("resource_knobs", self._resource_knobs)

    def resource_knobs(self) -> dict[str, dict[str, object]]:
        """Values that differ for one agency or sub-account, by its id."""
        return self._resource_knobs

    def fault(self, fault: str, **fields: object) -> Fault:
        """Plan a fault, by default for the next call only. Errors: BadKnob."""
        planned = read_fault({"fault": fault} | fields)
        with self._store.lock:
            self.faults.add(planned)
            self._save_faults()
        return planned

    def clear_faults(self, resource_id: str = "") -> None:
        with self._store.lock:
            self.faults.clear(resource_id)
            self._save_faults()

    def next_fault(self, path: str, resources: Callable[[], set[str]]) -> Fault | None:
        """The fault that strikes this call, counted down."""
        if not self.faults:
            return None
        with self._store.lock:
            fault = self.faults.take(path, resources)
            if fault is not None and fault.times is not None:
                self._save_faults()
            return fault

    def reset(self) -> None:
        """Forget everything but the signing keys, the client pairs and where the app is."""
        with self._store.transaction():
            self._store.clear()
            self._offset = 0.0
            self._store.put("clock_offset", 0.0)
            app = {"webhook_url": self._knobs.webhook_url, "app_url": self._knobs.app_url}
            self._resource_knobs = {}
            self._store.put("resource_knobs", {})
            self._knobs = Knobs()
            self.set_knobs(app)
            self.clear_faults()
        self.limiter.clear()
        self._calls.clear()
        self._call_counts.clear()

    # --- people ---

    def create_agency(
        self,
        name: str = "",
        *,
        locations: int | Iterable[str] = 0,
        email: str = "",
        white_label: bool = False,
    ) -> Company:
        """A new agency with so many sub-accounts, or with sub-accounts of these names."""
        known = len(self.people.companies())
        agency_name, location_names = sample_names(known)
        names = [locations] if isinstance(locations, str) else locations
        if isinstance(names, int):
            names = [location_names[i % len(location_names)] for i in range(names)]
        with self._store.transaction():
            company = self.people.create_company(
                name or agency_name, email=email, white_label=white_label
            )
            for location_name in names:
                self.people.create_location(company.id, location_name)
        return company

    def create_location(self, company_id: str, name: str = "", **fields: str) -> Location:
        """A new sub-account; where the app is on the agency it hears of it (LocationCreate).

        When the agency chose "future locations" the app is installed there too (INSTALL).
        """
        with self._store.transaction():
            location = self.people.create_location(company_id, name or "New sub-account", **fields)
            self._installs.add_location(location)
        return location

    def rename_agency(self, company_id: str, name: str) -> None:
        self.people.rename_company(company_id, name)

    def companies(self) -> list[Company]:
        return self.people.companies()

    def locations(self, company_id: str = "") -> list[Location]:
        return self.people.locations(company_id)

    def pause(self, resource_id: str) -> None:
        """HighLevel pauses a sub-account or agency: renewals get 400 Location is not active."""
        self.people.set_active(resource_id, active=False)

    def resume(self, resource_id: str) -> None:
        self.people.set_active(resource_id, active=True)

    def delete_location(self, location_id: str) -> None:
        """The sub-account disappears and, as with HighLevel, no event says so."""
        with self._store.transaction():
            company_id, _ = self.people.place(location_id)
            self.people.delete_location(location_id)
            self.people.end_installs(company_id, location_id)
            self.tokens.revoke(company_id, location_id)

    def refuse(self, resource_id: str) -> None:
        """HighLevel no longer accepts this place's refresh tokens; access tokens live on.

        A reinstall, or for a sub-account a newly minted pair, ends it.
        """
        company_id, location_id = self.people.place(resource_id)
        self.tokens.revoke(company_id, location_id, access=False)

    # --- installs ---

    def put_client(self, client_id: str, client_secret: str) -> None:
        """Add a client key pair, or give a known client another secret."""
        self.tokens.put_client(client_id, client_secret)

    def install(
        self,
        company_id: str = "",
        location_ids: Iterable[str] | None = None,
        *,
        bulk: bool = True,
        future: bool = False,
        redirect_uri: str = DEFAULT_REDIRECT_URI,
        scope: str = DEFAULT_SCOPE,
        client_id: str = DEMO_CLIENT_ID,
        version_id: str = "",
    ) -> str:
        """What Allow on the consent page does; returns the authorization code.

        bulk: an agency admin installs on these sub-accounts, or on all (None): a Company token.
        Not bulk: one sub-account, by its own user: a Location token; none: on the agency alone.
        Errors: NotFound, BadKnob.
        """
        choice = Choice(bulk, future, redirect_uri, scope, client_id, version_id)
        with self._store.transaction():
            return self._installs.allow(company_id, location_ids, choice)

    def redirect_url(self, code: str, state: str = "") -> str:
        """Where the browser goes with this code."""
        query = {"code": code}
        if state and self._knobs.return_state:
            query["state"] = state
        return with_query(self.tokens.redirect_uri_of(code), query)

    def uninstall(self, resource_id: str) -> None:
        """End the app on a sub-account, or on an agency and all below it; one UNINSTALL tells.

        Errors: NotFound, also when the app is not installed there.
        """
        with self._store.transaction():
            self._installs.end(resource_id)

    def retire_version(self, version_id: str) -> int:
        """A version's deprecation date: every install still on it is removed; returns how many."""
        with self._store.transaction():
            return self._installs.retire(version_id)

    # --- events ---

    @property
    def outbox(self) -> list[Event]:
        """The events that are due now, oldest first."""
        return self.queue.due()

    def send_event(
        self,
        kind: str = "",
        resource_id: str = "",
        *,
        body: Mapping[str, object] | None = None,
        raw: str = "",
        signature: str = "",
    ) -> Event:
        """Queue an event: a canned one of this type with `body` laid over it, or `raw` as it is.

        `signature` is a value of the `signatures` knob for this event alone. It changes no state.
        Errors: NotFound, BadKnob.
        """
        with self._store.transaction():
            return self._announcer.send(kind, resource_id, body or {}, raw, signature)

    def resend(self, webhook_id: str) -> Event:
        """Send a former event again, same payload and time. Errors: NotFound."""
        return self.queue.resend(webhook_id)

    def deliver(self, send: Send) -> list[Delivery]:
        """Send the due events by `send(url, body, headers) -> status`; OSError = no answer."""
        return self.queue.deliver(send)

    # --- witnesses ---

    def uses_of(self, refresh_token: str) -> int:
        """How often this refresh token was presented by a good client."""
        return self.tokens.uses_of(refresh_token)

    def max_uses(self) -> int:
        """The most presentations of any one refresh token."""
        return self.tokens.max_uses()

    def max_accepted(self) -> int:
        """The most times any one refresh token was answered with a pair."""
        return self.tokens.max_accepted()

    def token_uses(self) -> list[TokenUse]:
        return self.tokens.token_uses()

    def log_call(self, call: ApiCall) -> None:
        with self._store.lock:
            self._calls.appendleft(call)
            self._call_counts[f"{call.route} {call.status}"] += 1

    def calls(self) -> list[ApiCall]:
        """The latest API calls, newest first."""
        with self._store.lock:
            return list(self._calls)

    def summary(self) -> dict[str, object]:
        """Counts of everything, for the control API."""
        installs = self.people.installs()
        return {
            "agencies": len(self.people.companies()),
            "locations": len(self.people.locations()),
            "installs": len(installs),
            "agency_installs": sum(not install.location_id for install in installs),
            "clock_offset_seconds": self._offset,
            "calls": dict(self._call_counts),
            "events": self.queue.counts(),
            "max_uses": self.max_uses(),
            "max_accepted": self.max_accepted(),
            "faults": self.faults.as_list(),
        }

    def env(self, base_url: str) -> dict[str, str]:
        """The environment variables an app needs to use this sandbox."""
        return {
            "GHL_CLIENT_ID": DEMO_CLIENT_ID,
            "GHL_CLIENT_SECRET": self.tokens.clients()[DEMO_CLIENT_ID],
            "GHL_APP_ID": app_id(DEMO_CLIENT_ID),
            "GHL_MARKETPLACE_URL": base_url,
            "GHL_API_BASE_URL": base_url,
            "GHL_WEBHOOK_PUBLIC_KEYS": self.signer.ed25519_public_key(),
            "GHL_WEBHOOK_RSA_PUBLIC_KEYS": self.signer.rsa_public_key(),
        }

    # --- details ---

    def _save_faults(self) -> None:
        self._store.put("faults", self.faults.as_list())


def with_query(url: str, query: Mapping[str, str]) -> str:
    """The URL with further query parameters."""
    return f"{url}{'&' if '?' in url else '?'}{urlencode(query)}"
