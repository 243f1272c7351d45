"""The queue of events: when each is due, what was answered, whether it is sent again."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from sandbox.errors import NotFound
from sandbox.knobs import Knobs
from sandbox.signing import Signer
from sandbox.store import Store

Send = Callable[[str, bytes, dict[str, str]], int]

_USER_AGENT = "HighLevel-Sandbox"
# 429 only: 10 minutes each. Any non-2xx: no intervals are published; ours double from a minute.
_RETRY_429_S = 600.0
_RETRY_FIRST_S, _RETRY_MOST_S = 60.0, 6 * 3600.0
_MOST_RETRIES = {"any-non-2xx": 12, "429-only": 6, "none": 0}


@dataclass(frozen=True)
class Event:
    """One webhook. `state`: pending, held, sending, done or given_up.

    `last_status` is 0 when nobody answered, None before the first attempt. Units: times in
    seconds of the sandbox's clock.
    """

    id: int
    webhook_id: str
    type: str
    body: bytes
    resource_id: str
    signature: str
    created_at: float
    next_at: float
    attempts: int
    state: str
    waits_for: str
    last_status: int | None

    def json(self) -> dict[str, object]:
        """The body read back. Errors: ValueError for a raw body that is not JSON."""
        parsed: dict[str, object] = json.loads(self.body)
        return parsed


@dataclass(frozen=True)
class Delivery:
    """One attempt; `status` 0: no answer, then `error` says why."""

    event: Event
    at: float
    status: int
    error: str


class Outbox:
    """Keeps events until the app has taken them."""

    def __init__(
        self,
        store: Store,
        signer: Signer,
        now: Callable[[], float],
        knobs: Callable[[], Knobs],
        wake: Callable[[], None],
    ) -> None:
        self._store = store
        self._signer = signer
        self._now = now
        self._knobs = knobs
        self._wake = wake
        # A process that died while sending sends again: HighLevel gives no promise either.
        store.run("UPDATE events SET state = 'pending' WHERE state = 'sending'")

    def put(
        self,
        body: dict[str, object] | bytes,
        *,
        webhook_id: str,
        resource_id: str = "",
        signature: str = "",
        waits_for: str = "",
    ) -> Event:
        """Queue one event, held back until the code `waits_for` has been exchanged."""
        raw = body if isinstance(body, bytes) else json.dumps(body, separators=(",", ":")).encode()
        kind = "" if isinstance(body, bytes) else str(body.get("type", ""))
        now = self._now()
        event_id = self._store.insert(
            "events",
            webhook_id=webhook_id,
            type=kind,
            body=raw,
            resource_id=resource_id,
            signature=signature,
            created_at=now,
            next_at=now,
            state="held" if waits_for else "pending",
            waits_for=waits_for,
        )
        self._wake()
        return self._event(event_id)

    def release(self, code: str) -> None:
        """The code was exchanged: events that waited for it are due now."""
        released = self._store.run(
            "UPDATE events SET state = 'pending', next_at = ? WHERE state = 'held' "
            "AND waits_for = ?",
            self._now(),
            code,
        )
        if released:
            self._wake()

    def resend(self, webhook_id: str) -> Event:
        """Queue the same payload again, as the button on HighLevel's log page. Errors: NotFound."""
        row = self._store.one(
            "SELECT id FROM events WHERE webhook_id = ? ORDER BY id DESC", webhook_id
        )
        if row is None:
            raise NotFound(f"no event with webhookId {webhook_id!r}")
        self._store.run(
            "UPDATE events SET state = 'pending', next_at = ?, attempts = 0 WHERE id = ?",
            self._now(),
            row["id"],
        )
        self._wake()
        return self._event(row["id"])

    def due(self) -> list[Event]:
        """Events to send now, in the order of the `event_order` knob."""
        rows = self._store.all(
            "SELECT * FROM events WHERE state = 'pending' AND next_at <= ? ORDER BY id",
            self._now(),
        )
        events = [_event(row) for row in rows]
        order = self._knobs().event_order
        if order == "reversed":
            events.reverse()
        elif order == "shuffled":
            random.shuffle(events)
        return events

    def held(self) -> list[Event]:
        rows = self._store.all("SELECT * FROM events WHERE state = 'held' ORDER BY id")
        return [_event(row) for row in rows]

    def seconds_to_next(self) -> float | None:
        """How long until an event is due; None when none is waiting or nobody takes any."""
        if not self._knobs().webhook_url:
            return None
        row = self._store.one("SELECT min(next_at) AS at FROM events WHERE state = 'pending'")
        return None if row is None or row["at"] is None else max(0.0, row["at"] - self._now())

    def deliver(self, send: Send) -> list[Delivery]:
        """Send every due event (and its copies); the lock is not held meanwhile."""
        if not self._knobs().webhook_url:
            return []
        deliveries = []
        for event in self.due():
            if not self._claim(event):
                continue
            for _ in range(1 + self._knobs().duplicate_events):
                deliveries.append(self._attempt(event, send))
            self._settle(deliveries[-1])
        return deliveries

    def headers_and_body(self, event: Event) -> tuple[dict[str, str], bytes]:
        """What is sent for this event under the present knobs."""
        mode = event.signature or self._knobs().signatures
        body, signature = self._signer.signed(event.body, mode)
        return {"Content-Type": "application/json", "User-Agent": _USER_AGENT} | signature, body

    def events(self, limit: int = 200) -> list[Event]:
        """Newest first."""
        rows = self._store.all("SELECT * FROM events ORDER BY id DESC LIMIT ?", limit)
        return [_event(row) for row in rows]

    def deliveries(self, limit: int = 200) -> list[Delivery]:
        """Newest first."""
        rows = self._store.all(
            "SELECT d.at, d.status, d.error, d.event_id FROM deliveries d "
            "ORDER BY d.id DESC LIMIT ?",
            limit,
        )
        return [
            Delivery(self._event(row["event_id"]), row["at"], row["status"], row["error"])
            for row in rows
        ]

    def counts(self) -> dict[str, int]:
        """Number of events by state."""
        rows = self._store.all("SELECT state, count(*) AS n FROM events GROUP BY state")
        return {row["state"]: row["n"] for row in rows}

    def _claim(self, event: Event) -> bool:
        sql = "UPDATE events SET state = 'sending' WHERE id = ? AND state = 'pending'"
        return self._store.run(sql, event.id) == 1

    def _attempt(self, event: Event, send: Send) -> Delivery:
        headers, body = self.headers_and_body(event)
        status, error = 0, ""
        try:
            status = send(self._knobs().webhook_url, body, headers)
        except OSError as failure:  # requests' errors are OSErrors
            error = type(failure).__name__
        now = self._now()
        self._store.insert("deliveries", event_id=event.id, at=now, status=status, error=error)
        return Delivery(event, now, status, error)

    def _settle(self, last: Delivery) -> None:
        event, policy = last.event, self._knobs().retry_policy
        wants_retry = last.status == 429 if policy == "429-only" else not 200 <= last.status < 300
        state, next_at = "done", event.next_at
        if wants_retry and event.attempts < _MOST_RETRIES[policy]:
            state, next_at = "pending", last.at + self._wait(policy, event.attempts)
        elif not 200 <= last.status < 300:
            state = "given_up"
        self._store.run(
            "UPDATE events SET state = ?, next_at = ?, attempts = attempts + 1, last_status = ? "
            "WHERE id = ? AND state = 'sending'",
            state,
            next_at,
            last.status,
            event.id,
        )

    def _wait(self, policy: str, attempts: int) -> float:
        wait = _RETRY_429_S
        if policy == "any-non-2xx":
            wait = min(_RETRY_FIRST_S * 2**attempts, _RETRY_MOST_S)
        return wait * random.uniform(1.0, 1.1) * self._knobs().retry_scale

    def _event(self, event_id: int) -> Event:
        row = self._store.one("SELECT * FROM events WHERE id = ?", event_id)
        assert row is not None, f"event {event_id} exists"
        return _event(row)


def _event(row: sqlite3.Row) -> Event:
    return Event(**dict(row))
