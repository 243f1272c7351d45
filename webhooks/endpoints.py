"""The endpoints that get the events too: which event goes where, and what staff do to them.

Passing on has nothing to do with our own handlers: every event is looked at once, before it is
processed, whatever its type and whatever comes of it here.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django_q.tasks import async_task

from integrations.crypto import DecryptError
from integrations.models import LOCATION, GoHighLevelIntegration
from webhooks.forwarding_models import Delivery, DeliveryQuerySet, Endpoint, make_secret
from webhooks.models import GoHighLevelWebhook

# All of them are looked at for each batch of events.
MOST = 100
OLD_SECRET_WORKS_FOR = timedelta(hours=24)
BATCH = 200
BUDGET_S = 20
PURGE_BATCH = 1000
# Between two rings of one process for new events; a delivering worker goes on looking for longer.
RING_EVERY_S = 0.5
_last_ring = -RING_EVERY_S


class TooManyEndpoints(Exception):
    pass


# --- Which event goes where ---


def fan_out(events: Iterable[GoHighLevelWebhook]) -> int:
    """Have a delivery of each new event for each endpoint that wants it; return how many.

    For events that no handler has been tried on. It may run again over the same ones.
    """
    fresh = [event for event in events if not event.attempts]
    targets = list(Endpoint.objects.active().without_secrets()) if fresh else []
    if not targets:
        return 0
    made = _make_deliveries(targets, fresh, timezone.now())
    if made and time.monotonic() - _last_ring >= RING_EVERY_S:
        ring()
    return made


def ring() -> None:
    """Ask the worker to deliver. It looks each minute anyway."""
    global _last_ring
    _last_ring = time.monotonic()
    async_task("webhooks.tasks.deliver")


def _make_deliveries(
    targets: Sequence[Endpoint], events: Sequence[GoHighLevelWebhook], now: datetime
) -> int:
    agency_of = _agencies(events) if any(target.agencies for target in targets) else {}
    wanted = [
        Delivery(endpoint=target, event=event, created_at=now, send_at=now)
        for event in events
        for target in targets
        if event.received_at >= target.active_since
        and target.wants(event.type, event.company_id or agency_of.get(event.location_id, ""))
    ]
    if wanted:
        Delivery.objects.bulk_create(wanted, ignore_conflicts=True)
    return len(wanted)


def _agencies(events: Iterable[GoHighLevelWebhook]) -> dict[str, str]:
    """Return the agency of each location of events that do not name it, as its install says."""
    locations = {e.location_id for e in events if e.location_id and not e.company_id}
    if not locations:
        return {}
    rows = GoHighLevelIntegration.objects.filter(user_type=LOCATION, resource_id__in=locations)
    return dict(rows.values_list("resource_id", "company_id"))


# --- What staff do ---


def create(*, by: str, **fields: Any) -> Endpoint:
    """Store a new endpoint with a fresh secret. Errors: TooManyEndpoints."""
    if Endpoint.objects.count() >= MOST:
        raise TooManyEndpoints
    now = timezone.now()
    endpoint = Endpoint(created_at=now, active_since=now, created_by=by, **fields)
    endpoint.secret_encrypted = endpoint.seal("secret", make_secret())
    endpoint.save(force_insert=True)
    return endpoint


def change(endpoint: Endpoint, fields: Mapping[str, Any]) -> None:
    """Change address, filter and names. A changed filter counts for the events from now on."""
    told = dict(fields)
    if any(told[name] != getattr(endpoint, name) for name in ("event_types", "agencies")):
        told["active_since"] = timezone.now()
    if told["url"] != endpoint.url:
        told |= {"probe_at": None, "failures": 0, "failing_since": None}
    Endpoint.objects.filter(pk=endpoint.pk).update(**told)


def disable(endpoint: Endpoint, *, by: str) -> bool:
    """Send nothing more; what waits is kept. Whether it was on."""
    return bool(
        Endpoint.objects.filter(pk=endpoint.pk, disabled_at=None).update(
            disabled_at=timezone.now(), disabled_reason=Endpoint.STAFF, disabled_by=by
        )
    )


def enable(endpoint: Endpoint) -> bool:
    """Send again, at once what waits. Whether it was off."""
    now = timezone.now()
    with transaction.atomic():
        was_off = Endpoint.objects.filter(pk=endpoint.pk, disabled_at__isnull=False).update(
            disabled_at=None,
            disabled_reason="",
            disabled_by="",
            active_since=now,
            failures=0,
            failing_since=None,
            probe_at=None,
        )
        if was_off:
            Delivery.objects.filter(endpoint=endpoint, send_at__gt=now).update(send_at=now)
            ring()
    return bool(was_off)


def delete(endpoint: Endpoint) -> None:
    """Delete it and its deliveries, in batches: there may be many."""
    Endpoint.objects.filter(pk=endpoint.pk).update(disabled_at=timezone.now())
    _delete(Delivery.objects.filter(endpoint=endpoint).order_by("pk"))
    Endpoint.objects.filter(pk=endpoint.pk).delete()


def rotate_secret(endpoint: Endpoint) -> None:
    """Sign with a new secret, and for a day with the present one too."""
    now = timezone.now()
    try:
        old, until = endpoint.seal("old_secret", endpoint.open_secret()), now + OLD_SECRET_WORKS_FOR
    except DecryptError:  # nobody can sign with it any more
        old, until = b"", None
    Endpoint.objects.filter(pk=endpoint.pk).update(
        old_secret_encrypted=old,
        old_secret_until=until,
        secret_encrypted=endpoint.seal("secret", make_secret()),
        rotated_at=now,
    )


def send_test(endpoint: Endpoint) -> Delivery:
    now = timezone.now()
    with transaction.atomic():
        # A click asks whether it works now, also while it is left in peace.
        Endpoint.objects.filter(pk=endpoint.pk, probe_at__gt=now).update(probe_at=now)
        delivery = Delivery.objects.create(endpoint=endpoint, created_at=now, send_at=now)
        ring()
    return delivery


def send_again(endpoint: Endpoint, **which: Any) -> int:
    """Send these deliveries again: `pk=…` or `status=…`; return how many there are."""
    with transaction.atomic():
        asked = Delivery.objects.filter(endpoint=endpoint, **which).send_again(timezone.now())
        if asked:
            ring()
    return asked


def request_resend(endpoint: Endpoint, since: datetime, until: datetime) -> None:
    """Leave it to the worker to send all that came within this time, also what was never sent."""
    async_task(
        "webhooks.tasks.send_again_since",
        str(endpoint.pk),
        since.isoformat(),
        until.isoformat(),
    )


def resend_batches(endpoint: Endpoint, since: datetime, until: datetime) -> datetime | None:
    """Make a delivery due for each event that the endpoint wants, received within this time.

    Goes from the oldest on, in batches, for a while; returns from when on it has to go on, None
    when all is done. It may run again over the same events: those in between are sent twice.
    """
    stop_at = time.monotonic() + BUDGET_S
    while time.monotonic() < stop_at:
        events = _events_between(since, until)
        if not events:
            ring()
            return None
        _resend(endpoint, events)
        since = events[-1].received_at + timedelta(microseconds=1)
    ring()
    return since


def _events_between(since: datetime, until: datetime) -> list[GoHighLevelWebhook]:
    """Return a batch, whole: all that came in its last microsecond belong to it."""
    columns = ("type", "company_id", "location_id", "received_at")
    rows = GoHighLevelWebhook.objects.order_by("received_at").only(*columns)
    batch = list(rows.filter(received_at__gte=since, received_at__lte=until)[:BATCH])
    if len(batch) == BATCH:
        last = batch[-1].received_at
        known = {event.pk for event in batch}
        batch += [event for event in rows.filter(received_at=last) if event.pk not in known]
    return batch


def _resend(endpoint: Endpoint, events: Sequence[GoHighLevelWebhook]) -> None:
    now = timezone.now()
    anytime = Endpoint(
        pk=endpoint.pk,
        event_types=endpoint.event_types,
        agencies=endpoint.agencies,
        active_since=events[0].received_at,
    )
    with transaction.atomic():
        known = Delivery.objects.filter(endpoint=endpoint, event__in=[e.pk for e in events])
        known.send_again(now)
        _make_deliveries([anytime], events, now)


def purge(now: datetime) -> int:
    """Delete deliveries older than FORWARD_KEEP_DAYS (0: none); return how many."""
    if not settings.FORWARD_KEEP_DAYS:
        return 0
    too_old = now - timedelta(days=settings.FORWARD_KEEP_DAYS)
    return _delete(Delivery.objects.filter(created_at__lt=too_old).order_by("created_at"))


def _delete(rows: DeliveryQuerySet) -> int:
    deleted = 0
    while ids := list(rows.values_list("pk", flat=True)[:PURGE_BATCH]):
        deleted += Delivery.objects.filter(pk__in=ids).delete()[0]
    return deleted
