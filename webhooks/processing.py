"""From a stored event to its effect: once, tried again when it fails, parked when that goes on."""

from __future__ import annotations

import logging
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from functools import partial

from django.conf import settings
from django.db import Error as DatabaseFault
from django.db import InterfaceError, OperationalError, models, transaction
from django.db.models import F, Min
from django.utils import timezone

from access.times import hour_of
from config.logs import Redactor
from integrations import install
from integrations.deadlocks import despite_deadlocks
from webhooks import bell, endpoints, rhythm
from webhooks.handlers import HANDLERS, EventType, keepable
from webhooks.models import Backlog, EventAttempt, EventQuerySet, GoHighLevelWebhook

logger = logging.getLogger(__name__)

PAUSES = [timedelta(minutes=m) for m in (1, 5, 30, 120, 720)]
SWEEP_BATCH = 200
SWEEP_AT_MOST_S = 60.0
LOOK_EVERY_S = 0.1
LOOK_AT_MOST_S = 1.0
NO_HANDLER = "no handler for this type"


class TurnLost(Exception):
    """Somebody else began with the event meanwhile; what was done here must not count."""


def process_event(pk: uuid.UUID) -> str:
    """Run the event's handler if it is this call's turn; return the event's status after it.

    The turn is taken by moving process_at ahead: a crash in between leaves the next try planned.
    """
    event = GoHighLevelWebhook.objects.get(pk=pk)
    if not _take_turn(event):
        return event.status
    try:
        return _process(event)
    except TurnLost:
        return GoHighLevelWebhook.PENDING


def _process(event: GoHighLevelWebhook) -> str:
    if event.attempts > len(PAUSES):  # nobody lived to note what the tries before came to
        return _end(event, GoHighLevelWebhook.PARKED, "failed: its processing never ended")
    kind = HANDLERS.get(event.type)
    if kind is None:
        return _end(event, GoHighLevelWebhook.IGNORED, NO_HANDLER)
    began = time.monotonic()
    try:
        return despite_deadlocks(partial(_handle, kind, event, began))
    except TurnLost:
        raise
    except Exception as error:
        logger.exception("Event %s (%s) failed", event.pk, event.type)
        return _note_failure(event, error, began)


def _handle(kind: EventType, event: GoHighLevelWebhook, began: float) -> str:
    with transaction.atomic():
        did = kind.handle(event)
        if kind.complete is None or did.startswith("ignored"):
            return _end(event, GoHighLevelWebhook.PROCESSED, did, began)
        _note_result(event, did)
    with transaction.atomic():
        did = kind.complete(event) or did
        return _end(event, GoHighLevelWebhook.PROCESSED, did, began)


def sweep(look_for_s: float = 0) -> int:
    """Process the events that are due: new ones, and those whose next try has come.

    Returns how many. Goes on looking for so many seconds, at most LOOK_AT_MOST_S, since events
    that come right after a ring ring no bell of their own. Whatever is left after SWEEP_AT_MOST_S
    rings for the next sweep, so that other tasks of the worker get their turn.
    """
    began = time.monotonic()
    look_until = began + min(look_for_s, LOOK_AT_MOST_S)
    done = 0
    while True:
        taken = _process_due()
        done += taken
        now = time.monotonic()
        if taken == SWEEP_BATCH:
            if now - began < SWEEP_AT_MOST_S:
                continue
            bell.ring()
            return done
        if now >= look_until:
            return done
        time.sleep(LOOK_EVERY_S)


def _process_due() -> int:
    due = GoHighLevelWebhook.objects.filter(process_at__lte=timezone.now())
    events = list(
        due.order_by("process_at", "occurred_at").only(
            "type", "attempts", "company_id", "location_id", "received_at"
        )[:SWEEP_BATCH]
    )
    _note_rhythm(events)
    endpoints.fan_out(events)
    meaningful = _without_the_meaningless(events)
    _process_each(meaningful)
    _ring_for_tokens(event.type for event in meaningful)
    return len(events)


def _process_each(events: Iterable[GoHighLevelWebhook]) -> None:
    """Where two sweeps meet, the database may let one of them fail: the next one takes that event.

    Errors: OperationalError when two events in a row fail so; then the database is away.
    """
    failed_before = False
    for event in events:
        try:
            process_event(event.pk)
            failed_before = False
        except GoHighLevelWebhook.DoesNotExist:  # purged, or its account was forgotten
            continue
        except OperationalError:
            if failed_before:
                raise
            failed_before = True
            logger.warning("Event %s is left to the next sweep", event.pk, exc_info=True)
        except Exception:  # that it failed could not be noted either
            logger.exception("Event %s is left to its next try", event.pk)


def _ring_for_tokens(types: Iterable[str]) -> None:
    """After the events, when what they began is committed."""
    if any(HANDLERS[kind].may_begin for kind in types if kind in HANDLERS):
        install.ring_if_waiting()


def _note_rhythm(events: Sequence[GoHighLevelWebhook]) -> None:
    try:
        rhythm.note(events)
    except DatabaseFault:  # two sweeps can meet there; what is lost is one sign of life
        logger.warning("The rhythm of some accounts could not be noted", exc_info=True)


def _without_the_meaningless(events: Sequence[GoHighLevelWebhook]) -> list[GoHighLevelWebhook]:
    """End those that no handler asks for, most of all events, in one go; return the others."""
    ids = [event.pk for event in events if event.type not in HANDLERS]
    if ids:
        meaningless = GoHighLevelWebhook.objects.filter(
            pk__in=ids, status=GoHighLevelWebhook.PENDING
        )
        end = partial(
            meaningless.update,
            status=GoHighLevelWebhook.IGNORED,
            result=NO_HANDLER,
            attempts=F("attempts") + 1,
            process_at=None,
            processed_at=timezone.now(),
            took_ms=0,
        )
        despite_deadlocks(end)
    return [event for event in events if event.type in HANDLERS]


def longest_wait(now: datetime) -> timedelta:
    """Return for how long the event that waits longest for its processing has been due."""
    due = GoHighLevelWebhook.objects.filter(process_at__lte=now).aggregate(first=Min("process_at"))
    return now - due["first"] if due["first"] else timedelta()


def note_backlog(now: datetime) -> None:
    """Keep the longest wait of each hour, as the sweeps of that hour found it."""
    hour = hour_of(now)
    oldest_s = int(longest_wait(now).total_seconds())
    Backlog.objects.get_or_create(hour=hour, defaults={"oldest_s": oldest_s})
    Backlog.objects.filter(hour=hour, oldest_s__lt=oldest_s).update(oldest_s=oldest_s)


def replay(events: EventQuerySet, tell: Callable[[int], None] | None = None) -> Counter[str]:
    """Process these events again as if they had just come, the oldest first; `tell` now and then
    how many are done.

    Returns how many are now in each status; one that fails is left for the sweep to try again.
    """
    counted: Counter[str] = Counter()
    # Those that come meanwhile are processed anyway.
    for batch in events.filter(received_at__lte=timezone.now()).in_batches():
        endpoints.fan_out(batch.waiting().filter(attempts=0).defer("body"))
        chosen = list(batch.order_by("occurred_at").values_list("pk", "type"))
        for pk, _kind in chosen:
            _as_if_new(GoHighLevelWebhook.objects.filter(pk=pk), timezone.now())
            counted[process_event(pk)] += 1
        _ring_for_tokens(kind for _pk, kind in chosen)
        if tell and chosen:
            tell(counted.total())
    return counted


def request_replay(events: EventQuerySet) -> int:
    """Leave these events to the worker as if they had just come; return how many they are.

    Those that happened first are processed first.
    """
    now = timezone.now()
    asked = sum(_as_if_new(batch.order_by(), now) for batch in events.in_batches())
    if asked:
        bell.ring()
    return asked


def _as_if_new(events: EventQuerySet, now: datetime) -> int:
    write = partial(
        events.update,
        status=GoHighLevelWebhook.PENDING,
        attempts=0,
        process_at=now,
        processed_at=None,
        took_ms=None,
        result="",
    )
    return despite_deadlocks(write)


def _take_turn(event: GoHighLevelWebhook) -> bool:
    now = timezone.now()
    pause = PAUSES[min(event.attempts, len(PAUSES) - 1)]
    mine = GoHighLevelWebhook.objects.filter(
        pk=event.pk,
        status=GoHighLevelWebhook.PENDING,
        attempts=event.attempts,
        process_at__lte=now,
    ).update(attempts=event.attempts + 1, process_at=now + pause)
    event.attempts += mine
    return bool(mine)


def _end(event: GoHighLevelWebhook, status: str, result: str, began: float | None = None) -> str:
    """Errors: TurnLost."""
    mine = _turn(event).update(
        status=status,
        result=result[:200],
        process_at=None,
        processed_at=timezone.now(),
        took_ms=_took_ms(began) if began else 0,
    )
    if not mine:
        raise TurnLost
    return status


def _note_result(event: GoHighLevelWebhook, result: str) -> None:
    """Errors: TurnLost."""
    if not _turn(event).update(result=result[:200]):
        raise TurnLost


def _note_failure(event: GoHighLevelWebhook, error: Exception, began: float) -> str:
    what = f"failed: {_in_words(error)}"
    with transaction.atomic():
        EventAttempt.objects.create(
            event_id=event.pk,
            number=event.attempts,
            at=timezone.now(),
            took_ms=_took_ms(began),
            error=type(error).__name__[:100],
            text=keepable(Redactor(settings.SECRETS).text(str(error)))[:500],
        )
        if event.attempts < len(PAUSES):
            _turn(event).update(result=what, took_ms=_took_ms(began))
            return GoHighLevelWebhook.PENDING
        _turn(event).update(
            status=GoHighLevelWebhook.PARKED,
            result=what,
            process_at=None,
            processed_at=timezone.now(),
            took_ms=_took_ms(began),
        )
        return GoHighLevelWebhook.PARKED


def _in_words(error: Exception) -> str:
    """Say to staff what failed. Developers find the error's own name and text in the attempt."""
    match error:
        case OperationalError() | InterfaceError():
            return "the database did not answer"
        case DatabaseFault():
            return "the database does not take what it tells"
        case _:
            return "an unexpected fault"


def _turn(event: GoHighLevelWebhook) -> models.QuerySet[GoHighLevelWebhook]:
    """The event, as long as the turn is ours."""
    return GoHighLevelWebhook.objects.filter(
        pk=event.pk, status=GoHighLevelWebhook.PENDING, attempts=event.attempts
    )


def _took_ms(began: float) -> int:
    return round((time.monotonic() - began) * 1000)
