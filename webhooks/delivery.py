"""From a waiting delivery to the endpoint: taken once, sent, tried again, given up.

One thread speaks to the database, many to the endpoints. The first takes deliveries by a
conditional UPDATE that also plans their next try, so that a kill -9 loses none; the others only
send. No transaction is open meanwhile. At least once, in no promised order.

An endpoint that fails again and again is left in peace, and then asked with a single delivery at
growing distance (`probe_at`). The others do not notice.
"""

from __future__ import annotations

import json
import logging
import random
import time
import uuid
from collections import defaultdict, deque
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from queue import Empty, SimpleQueue
from typing import Any

from django.db import transaction
from django.db.models import Exists, F, Min, OuterRef, Q, Subquery
from django.utils import timezone

from integrations.crypto import DecryptError
from webhooks import endpoints, sending
from webhooks.forwarding_models import Delivery, Endpoint
from webhooks.sending import Answer, Message

logger = logging.getLogger(__name__)

PAUSES = (
    timedelta(seconds=5),
    timedelta(seconds=30),
    timedelta(minutes=2),
    timedelta(minutes=10),
    timedelta(hours=1),
    timedelta(hours=6),
    timedelta(hours=24),
    timedelta(hours=24),
)
MOST_ATTEMPTS = len(PAUSES) + 1
JITTER = 0.2
# So many failures in a row, and the endpoint is left in peace: first briefly, then longer.
BREAK_AT = 5
PROBE_FIRST, PROBE_LONGEST = timedelta(seconds=30), timedelta(minutes=30)
GIVE_UP_AFTER = timedelta(days=5)

BATCH = 50
# So many threads send to one endpoint at the same time, a single one after a failure.
LANES = 4
# Longer than a run begins new sends, and the last of them lasts.
LEASE = timedelta(seconds=120)
BUDGET_S = 20.0
LOOK_EVERY_S = 0.25
# What is due that soon after the last work is waited for: it would lie until the next minute.
LINGER_S = 6.0


@dataclass
class Batch:
    """Deliveries of one endpoint that were taken, and the lanes that send them."""

    endpoint: Endpoint
    todo: deque[Message]
    stop_at: float
    results: SimpleQueue[tuple[Batch, Message, Answer]]
    lanes: list[Future[None]] = field(default_factory=list)
    failures: int = 0
    is_stopped: bool = False

    def work(self) -> None:
        """Send one after the other. Several lanes share what is left."""
        while not self.is_stopped and time.monotonic() < self.stop_at:
            try:
                message = self.todo.popleft()
            except IndexError:
                return
            answer = _send(message)
            self.failures = 0 if answer.is_good else self.failures + 1
            self.is_stopped |= self.failures >= BREAK_AT or answer.retry_after_s is not None
            self.results.put((self, message, answer))

    @property
    def is_done(self) -> bool:
        return all(lane.done() for lane in self.lanes)


def deliver_due() -> int:
    """Deliver what is due; return how many were tried. What is left after a while rings again.

    One process at a time is enough: a second would only keep a worker from other tasks.
    """
    if Endpoint.objects.filter(sending_until__gt=timezone.now()).exists():
        return 0
    with ThreadPoolExecutor(sending.THREADS) as pool:
        run = _Run(pool)
        run.work()
    # Whoever rang since the last look was told above that somebody is at it.
    if _next_due(timezone.now()) == 0:
        endpoints.ring()
    return run.tried


class _Run:
    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self.tried = 0
        self._pool = pool
        self._claim = uuid.uuid4()
        self._stop_at = time.monotonic() + BUDGET_S
        self._worked_at = time.monotonic()
        self._batches: list[Batch] = []
        self._results: SimpleQueue[tuple[Batch, Message, Answer]] = SimpleQueue()

    def work(self) -> None:
        try:
            while True:
                is_in_time = time.monotonic() < self._stop_at
                if is_in_time:
                    self._begin()
                if self._batches:
                    self._collect()
                elif not is_in_time or not self._waits_for_more():
                    return
        finally:
            self._end()

    def _begin(self) -> None:
        """Take a batch for endpoints that have something due and none under way: healthy ones
        first, and those whose turn is longest ago."""
        running = sum(not lane.done() for batch in self._batches for lane in batch.lanes)
        room = (sending.THREADS - running) // LANES
        if room <= 0:
            return
        now = timezone.now()
        busy = [batch.endpoint.pk for batch in self._batches]
        ready = _with_due(now).exclude(pk__in=busy)
        ready = ready.order_by("failures", F("sending_until").asc(nulls_first=True))
        for endpoint, deliveries in _take(ready[:room], self._claim, now):
            batch = Batch(
                endpoint=endpoint,
                todo=deque(_messages(endpoint, deliveries, now)),
                stop_at=self._stop_at,
                results=self._results,
                failures=endpoint.failures,
            )
            lanes = 1 if endpoint.failures else min(LANES, len(deliveries))
            batch.lanes = [self._pool.submit(batch.work) for _ in range(lanes)]
            self._batches.append(batch)

    def _collect(self) -> None:
        lanes = [lane for batch in self._batches for lane in batch.lanes if not lane.done()]
        wait(lanes, timeout=LOOK_EVERY_S, return_when=FIRST_COMPLETED)
        done = [batch for batch in self._batches if batch.is_done]
        self._record()
        left = [message.delivery_id for batch in done for message in batch.todo]
        if left:
            _give_back(left, self._claim)
        self._batches = [batch for batch in self._batches if batch not in done]

    def _record(self) -> None:
        results = list(_drain(self._results))
        if results:
            _record(results, self._claim)
            self.tried += len(results)
            self._worked_at = time.monotonic()

    def _waits_for_more(self) -> bool:
        """Wait a moment, if something is due soon or may come without a ring of its own."""
        idle_s = time.monotonic() - self._worked_at
        if not (self.tried and idle_s < 2 * endpoints.RING_EVERY_S):
            soon_s = _next_due(timezone.now())
            if soon_s is None or idle_s + soon_s > LINGER_S:
                return False
        time.sleep(LOOK_EVERY_S)
        return True

    def _end(self) -> None:
        for batch in self._batches:  # an error of ours: what was taken comes again after the lease
            batch.is_stopped = True
        Endpoint.objects.filter(sending_until__isnull=False).update(sending_until=None)


# --- Taking ---


def _with_due(now: datetime) -> Any:
    """The endpoints to send to now. One on trial is asked with whatever waits, due or not."""
    waiting = Delivery.objects.filter(endpoint=OuterRef("pk"))
    return Endpoint.objects.reachable(now).filter(
        Exists(waiting.due(now)) | (Q(probe_at__lte=now) & Exists(waiting.waiting()))
    )


def _next_due(now: datetime) -> float | None:
    """Return in how many seconds the next delivery is due, 0 for now; None when none waits."""
    of_endpoint = Delivery.objects.filter(endpoint=OuterRef("pk")).waiting().order_by("send_at")
    reachable = Endpoint.objects.reachable(now).order_by()
    firsts = reachable.annotate(first=Subquery(of_endpoint.values("send_at")[:1]))
    first: datetime | None = firsts.aggregate(soonest=Min("first"))["soonest"]
    return None if first is None else max((first - now).total_seconds(), 0)


def _take(
    targets: Iterable[Endpoint], claim: uuid.UUID, now: datetime
) -> list[tuple[Endpoint, list[Delivery]]]:
    """Take the oldest due deliveries of each endpoint: a batch, or one of an endpoint on trial."""
    chosen = {endpoint: _choose(endpoint, now) for endpoint in targets}
    ids = [pk for pks in chosen.values() for pk in pks]
    if not ids:
        return []
    with transaction.atomic():
        Delivery.objects.filter(_free(now), pk__in=ids).update(
            claim=claim, attempts=F("attempts") + 1, send_at=now + LEASE
        )
        Endpoint.objects.filter(pk__in=[endpoint.pk for endpoint in chosen]).update(
            sending_until=now + LEASE
        )
    taken: dict[uuid.UUID, list[Delivery]] = defaultdict(list)
    rows = Delivery.objects.filter(pk__in=ids, claim=claim).select_related("event")
    for delivery in rows.only("endpoint", "event", "created_at", "event__body"):
        taken[delivery.endpoint_id].append(delivery)
    return [(endpoint, taken[endpoint.pk]) for endpoint in chosen if taken[endpoint.pk]]


def _choose(endpoint: Endpoint, now: datetime) -> list[int]:
    rows = Delivery.objects.filter(endpoint=endpoint).waiting()
    if endpoint.probe_at is None:
        return list(rows.due(now).order_by("send_at").values_list("pk", flat=True)[:BATCH])
    return list(rows.filter(_free(now)).order_by("send_at").values_list("pk", flat=True)[:1])


def _free(now: datetime) -> Q:
    """Nobody is sending it: it is not taken, or whoever took it is long gone."""
    return Q(send_at__isnull=False) & (Q(claim=None) | Q(send_at__lte=now))


def _give_back(ids: list[int], claim: uuid.UUID) -> None:
    Delivery.objects.filter(pk__in=ids, claim=claim).update(
        claim=None, attempts=F("attempts") - 1, send_at=timezone.now()
    )


def _messages(
    endpoint: Endpoint, deliveries: Iterable[Delivery], now: datetime
) -> Iterable[Message]:
    try:
        signers = tuple(endpoint.signers(now))
    except DecryptError:
        signers = ()
    for delivery in deliveries:
        body = delivery.event.body if delivery.event else _test_body(delivery)
        yield Message(
            delivery_id=delivery.pk,
            message_id=delivery.message_id,
            url=endpoint.url,
            body=body,
            signers=signers,
        )


def _test_body(delivery: Delivery) -> str:
    """A body in the form of HighLevel's, with a type that is none of HighLevel's."""
    told = {
        "type": "whatreach.test",
        "webhookId": delivery.message_id,
        "timestamp": delivery.created_at.isoformat(),
    }
    return json.dumps(told)


def _send(message: Message) -> Answer:
    if not message.signers:
        error = "Its signing secret cannot be read with the present TOKEN_ENCRYPTION_KEYS."
        return Answer(at=timezone.now(), took_ms=0, error=error)
    try:
        return sending.send(message)
    except Exception:  # one message must not keep a thread from the others
        logger.exception("Delivery %s could not be sent", message.delivery_id)
        error = "WhatReach itself failed; its log says how."
        return Answer(at=timezone.now(), took_ms=0, error=error)


# --- What came of it ---

_RECORDED = (
    "status",
    "send_at",
    "claim",
    "tried_at",
    "delivered_at",
    "took_ms",
    "http_status",
    "error",
    "answer",
)


def _drain(
    results: SimpleQueue[tuple[Batch, Message, Answer]],
) -> Iterable[tuple[Batch, Message, Answer]]:
    while True:
        try:
            yield results.get_nowait()
        except Empty:
            return


def _record(results: list[tuple[Batch, Message, Answer]], claim: uuid.UUID) -> None:
    """Note what came of these, unless somebody else has taken them since."""
    by_endpoint: dict[Endpoint, list[Answer]] = defaultdict(list)
    for batch, _message, answer in results:
        by_endpoint[batch.endpoint].append(answer)
    mine = Delivery.objects.filter(claim=claim)
    attempts = dict(
        mine.filter(pk__in=[message.delivery_id for _, message, _ in results]).values_list(
            "pk", "attempts"
        )
    )
    rows = [
        _ended(message.delivery_id, attempts[message.delivery_id], answer)
        for _batch, message, answer in results
        if message.delivery_id in attempts
    ]
    with transaction.atomic():
        mine.bulk_update(rows, _RECORDED)
        for endpoint, answers in by_endpoint.items():
            _note_health(endpoint, answers)


def _ended(pk: int, attempts: int, answer: Answer) -> Delivery:
    row = Delivery(
        pk=pk,
        claim=None,
        tried_at=answer.at,
        took_ms=answer.took_ms,
        http_status=answer.http_status,
        error=answer.error,
        answer=answer.text,
    )
    if answer.is_good:
        row.status, row.send_at, row.delivered_at = Delivery.DELIVERED, None, answer.at
    elif attempts >= MOST_ATTEMPTS:
        row.status, row.send_at = Delivery.FAILED, None
    else:
        row.status, row.send_at = Delivery.WAITING, answer.at + pause_after(attempts, answer)
    return row


def pause_after(attempts: int, answer: Answer) -> timedelta:
    """Return how long to wait after the so-many-th failed try, no shorter than it asks for."""
    spread = 1 + random.uniform(-JITTER, JITTER)  # noqa: S311
    asked = timedelta(seconds=answer.retry_after_s or 0)
    return max(PAUSES[attempts - 1] * spread, asked)


def probe_pause(failures: int) -> timedelta:
    """Return how long an endpoint is left in peace after so many failures in a row."""
    doublings = min(max(failures - BREAK_AT, 0), 10)
    return min(PROBE_FIRST * 2**doublings, PROBE_LONGEST)


def _note_health(endpoint: Endpoint, answers: list[Answer]) -> None:
    """Count on from what the endpoint's row said when the batch was taken."""
    was_open = endpoint.probe_at is not None
    for answer in answers:
        if answer.is_good:
            endpoint.failures, endpoint.failing_since, endpoint.probe_at = 0, None, None
            endpoint.delivered_at = answer.at
            continue
        endpoint.failures += 1
        endpoint.failing_since = endpoint.failing_since or answer.at
        if answer.retry_after_s is not None:
            endpoint.probe_at = answer.at + timedelta(seconds=answer.retry_after_s)
        elif endpoint.failures >= BREAK_AT:
            endpoint.probe_at = answer.at + probe_pause(endpoint.failures)
    mine = Endpoint.objects.filter(pk=endpoint.pk)
    mine.update(
        failures=endpoint.failures,
        failing_since=endpoint.failing_since,
        probe_at=endpoint.probe_at,
        delivered_at=endpoint.delivered_at,
    )
    if was_open and endpoint.probe_at is None:
        # What waits for another try need not wait any longer.
        now = timezone.now()
        waiting = Delivery.objects.filter(endpoint=endpoint, claim=None, send_at__gt=now)
        waiting.update(send_at=now)
    _give_up(endpoint, answers)


def _give_up(endpoint: Endpoint, answers: list[Answer]) -> None:
    now = timezone.now()
    reason = ""
    if endpoint.failing_since and now - endpoint.failing_since >= GIVE_UP_AFTER:
        reason = Endpoint.FAILING
    if any(answer.is_gone for answer in answers):
        reason = Endpoint.GONE
    if reason and Endpoint.objects.active().filter(pk=endpoint.pk).update(
        disabled_at=now, disabled_reason=reason
    ):
        logger.warning("Endpoint %s is switched off: %s", endpoint.pk, reason)
