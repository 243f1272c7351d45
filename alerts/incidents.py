"""Incidents begin, get worse, calm down, come back and end; who looks decides what is told.

`look` compares what is wrong (watch.py) with the incidents that are open. It is called each minute
by the worker, and by the watchdog when the worker stands still. One looks at a time.

Nothing depends on having seen a change: whoever looks late finds the same state, and tells it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice

from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from alerts import delivery, digest, watch
from alerts.kinds import ACCESS, OF_INSTALLS, STANDSTILL, Kind, rank
from alerts.models import Incident, IncidentQuerySet, Notice, Snooze, SnoozeQuerySet, Turn
from integrations.health import OFF, Status
from integrations.models import GoHighLevelIntegration

# A worker that is killed while it looks keeps its turn: no longer than until it counts as standing
# still (heartbeat.STALE_AFTER), so that the watchdog tells it at its first look.
TURN = timedelta(seconds=60)
REMIND_EVERY = timedelta(hours=24)
# What comes back within this time after it ended, flaps.
FLAPS_WITHIN = timedelta(hours=6)
MOST_RELAPSES = 6
BATCH = 500

News = list[tuple[Incident, str]]


def look(now: datetime) -> bool:
    """Bring the incidents up to date and queue what is to be told; False: another one is at it."""
    Turn.objects.get_or_create(name="look", defaults={"free_at": now})
    mine = Turn.objects.filter(name="look")
    if not mine.filter(free_at__lte=now).update(free_at=now + TURN):
        return False
    try:
        found = watch.troubles(now)
        with transaction.atomic():
            news = [
                *_end_snoozes(now),
                *_compare(found, now),
                *_compare_access(found, now),
                *_compare_besides_access(now),
                *_close(now),
                *_remind(now),
            ]
            delivery.queue(_without_snoozed(news, now), now)
            digest.queue(now)
    finally:
        # Only if it is: after a minute another one may have taken it.
        mine.filter(free_at=now + TURN).update(free_at=now)
    return True


def snooze(
    incident_key: str,
    *,
    until: datetime,
    reason: str,
    by: str,
    subject: str,
    install: GoHighLevelIntegration | None = None,
) -> Snooze:
    """Have nothing told about one thing until then; a snooze that runs already is replaced."""
    with transaction.atomic():
        about = {incident_key: (subject, install)}
        (begun,) = _snooze(about, timezone.now(), until=until, reason=reason, by=by)
    return begun


def snooze_installs(
    installs: Iterable[GoHighLevelIntegration], *, until: datetime, reason: str, by: str
) -> tuple[int, datetime]:
    """Snooze each of them; return how many, and their `created_at`, by which they are found."""
    now, count, left = timezone.now(), 0, iter(installs)
    with transaction.atomic():
        while some := {key_of(one): (str(one), one) for one in islice(left, BATCH)}:
            count += len(_snooze(some, now, until=until, reason=reason, by=by))
    return count, now


def _snooze(
    about: Mapping[str, tuple[str, GoHighLevelIntegration | None]],
    now: datetime,
    *,
    until: datetime,
    reason: str,
    by: str,
) -> list[Snooze]:
    """`about`: {key of the incident: its subject, and its install if it has one}."""
    Snooze.objects.filter(key__in=about, ended_at=None).update(ended_at=now, ending=Snooze.REPLACED)
    worst = dict(Incident.objects.filter(open_key__in=about).values_list("open_key", "kind"))
    return Snooze.objects.bulk_create(
        Snooze(
            key=key,
            integration=install,
            company_id=install.company_id if install else "",
            subject=subject,
            rank=rank(worst[key]) if key in worst else 0,
            reason=reason,
            by=by,
            created_at=now,
            until=until,
        )
        for key, (subject, install) in about.items()
    )


def end_snooze(snooze: Snooze) -> bool:
    """Let alerts come again; what is still wrong is told at the next look. False: it had ended."""
    return bool(end_snoozes(Snooze.objects.filter(pk=snooze.pk)))


def end_snoozes(snoozes: SnoozeQuerySet) -> int:
    """Return how many of them had not ended yet."""
    now = timezone.now()
    running = snoozes.filter(ended_at=None)
    with transaction.atomic():
        about = Incident.objects.filter(open_key__in=running.values("key"), acknowledged_at=None)
        about.update(remind_at=now)
        return running.update(ended_at=now, ending=Snooze.UNDONE)


def acknowledge(incident: Incident, *, by: str) -> bool:
    """Note that somebody is at it: no more reminders. False: it is over, or somebody is already."""
    mine = Incident.objects.open().filter(pk=incident.pk, acknowledged_at=None)
    return bool(
        mine.update(acknowledged_at=timezone.now(), acknowledged_by=by[:150], remind_at=None)
    )


def key_of(install: GoHighLevelIntegration) -> str:
    """The key of an install's access incidents."""
    return f"install:{install.pk}"


# --- Besides what single installs suffer from ---


def _compare(found: Sequence[watch.Trouble], now: datetime) -> News:
    known = {
        incident.key: incident for incident in Incident.objects.open().exclude(kind__in=OF_INSTALLS)
    }
    new = [trouble for trouble in found if trouble.key not in known]
    _follow([known[t.key] for t in found if t.key in known], found)
    seen = {trouble.key for trouble in found}
    gone = [i.pk for i in known.values() if i.key not in seen and i.calm_since is None]
    Incident.objects.filter(pk__in=gone).update(calm_since=now)
    return _open([_from_trouble(trouble, now) for trouble in new], now)


def _follow(known: list[Incident], found: Sequence[watch.Trouble]) -> None:
    """Take over the present numbers, and note a relapse of what had calmed down."""
    troubles = {trouble.key: trouble for trouble in found}
    changed = []
    for incident in known:
        trouble = troubles[incident.key]
        present = (trouble.subject[:200], trouble.detail[:300], trouble.cause)
        known_as = (incident.subject, incident.detail, incident.cause)
        if incident.calm_since is None and present == known_as:
            continue
        if incident.calm_since is not None:
            incident.calm_since = None
            incident.relapses = min(incident.relapses + 1, MOST_RELAPSES)
        incident.subject, incident.detail, incident.cause = present
        changed.append(incident)
    Incident.objects.bulk_update(changed, ["calm_since", "relapses", "subject", "detail", "cause"])


def _from_trouble(trouble: watch.Trouble, now: datetime) -> Incident:
    return Incident(
        key=trouble.key,
        kind=trouble.kind,
        integration_id=trouble.integration_id,
        company_id=trouble.company_id,
        subject=trouble.subject[:200],
        cause=trouble.cause,
        detail=trouble.detail[:300],
        opened_at=min(trouble.since or now, now),
    )


# --- The access of installs ---


def _compare_access(found: Sequence[watch.Trouble], now: datetime) -> News:
    news: News = []
    for kind, installs in watch.accounts_in_trouble(now):
        if kind is Kind.EXPIRED and any(trouble.kind in STANDSTILL for trouble in found):
            continue  # one incident says why: nothing is renewed
        present = Incident.objects.open().filter(kind__in=ACCESS)
        known = {
            incident.integration_id: incident
            for incident in present.filter(integration__in=[row.pk for row in installs])
        }
        worse = [known[row.pk] for row in installs if row.pk in known]
        by_id = {row.pk: row for row in installs}
        for incident in worse:
            incident.kind, incident.calm_since = kind, None
            incident.cause = by_id[incident.integration_id].cause  # type: ignore[index]
            incident.acknowledged_at, incident.acknowledged_by = None, ""
            incident.remind_at = now + REMIND_EVERY
        Incident.objects.bulk_update(
            worse,
            ["kind", "cause", "calm_since", "acknowledged_at", "acknowledged_by", "remind_at"],
            batch_size=BATCH,
        )
        news += [(incident, Notice.WORSE) for incident in worse]
        new = [_of_install(row, kind, now) for row in installs if row.pk not in known]
        news += _open(new, now)
    _calm_or_relapse(Incident.objects.open().filter(kind__in=ACCESS), watch.is_in_trouble(now), now)
    return news


def _compare_besides_access(now: datetime) -> News:
    news: News = []
    for kind, new, goes_on in watch.besides_access(now):
        _calm_or_relapse(Incident.objects.open().filter(kind=kind), goes_on, now)
        news += _open([_from_trouble(trouble, now) for trouble in new], now)
    return news


def _of_install(row: GoHighLevelIntegration, kind: Kind, now: datetime) -> Incident:
    since = row.expires_at if kind is Kind.EXPIRED else row.cause_since
    return Incident(
        key=key_of(row),
        kind=kind,
        integration=row,
        company_id=row.company_id,
        subject=str(row)[:200],
        cause=row.cause,
        opened_at=min(since or now, now),
    )


def _calm_or_relapse(mine: IncidentQuerySet, goes_on: Q, now: datetime) -> None:
    relapsed = mine.filter(goes_on, calm_since__isnull=False)
    relapsed.update(calm_since=None, relapses=F("relapses") + 1)
    mine.filter(~goes_on, calm_since=None).update(calm_since=now)


# --- Beginning and end ---


def _open(new: list[Incident], now: datetime) -> News:
    lately = Incident.objects.filter(
        key__in=[incident.key for incident in new], closed_at__gte=now - FLAPS_WITHIN
    )
    relapses: dict[str, int] = {}
    for key, before in lately.values_list("key", "relapses"):
        relapses[key] = max(relapses.get(key, 0), min(before + 1, MOST_RELAPSES))
    for incident in new:
        incident.open_key = incident.key
        incident.relapses = relapses.get(incident.key, 0)
        incident.remind_at = now + REMIND_EVERY
    Incident.objects.bulk_create(new, batch_size=BATCH)
    return [(incident, Notice.BEGAN) for incident in new]


def _close(now: datetime) -> News:
    """End those that have been well for long enough: at once the first time, for longer each time
    that they came back lately."""
    calm = Incident.objects.open().filter(calm_since__isnull=False).select_related("integration")
    closed: defaultdict[str, list[Incident]] = defaultdict(list)
    for incident in calm.order_by("calm_since")[: watch.MOST]:
        if incident.calm_since and now - incident.calm_since >= _hold(incident.relapses):
            closed[_ending(incident)].append(incident)
    for ending, some in closed.items():
        Incident.objects.filter(pk__in=[incident.pk for incident in some]).update(
            closed_at=F("calm_since"), open_key=None, remind_at=None, ending=ending
        )
    announced = [i for some in closed.values() for i in some if i.announced_at]
    return [(incident, Notice.ENDED) for incident in announced]


def _hold(relapses: int) -> timedelta:
    return timedelta(minutes=2 ** min(relapses, MOST_RELAPSES)) if relapses else timedelta()


def _ending(incident: Incident) -> str:
    install = incident.integration
    if install is None or incident.kind not in ACCESS:
        return ""
    if install.status in OFF:
        return "was removed"
    return "is paused by HighLevel" if install.status == Status.PAUSED else ""


def _remind(now: datetime) -> News:
    due = list(Incident.objects.open().filter(remind_at__lte=now, calm_since=None)[: watch.MOST])
    Incident.objects.filter(pk__in=[i.pk for i in due]).update(remind_at=now + REMIND_EVERY)
    return [(incident, Notice.STILL) for incident in due]


# --- Snoozes ---


def _end_snoozes(now: datetime) -> News:
    """End those whose time is over, and tell what goes on."""
    over = list(Snooze.objects.filter(ended_at=None, until__lte=now)[:BATCH])
    Snooze.objects.filter(pk__in=[snooze.pk for snooze in over]).update(
        ended_at=now, ending=Snooze.OVER
    )
    open_ones = Incident.objects.filter(open_key__in=[snooze.key for snooze in over])
    return [(incident, Notice.STILL) for incident in open_ones.filter(calm_since=None)]


def _without_snoozed(news: News, now: datetime) -> News:
    """Leave out what nobody wants to hear now; a worse state ends the snooze."""
    running = {
        snooze.key: snooze
        for snooze in Snooze.objects.running(now).filter(
            Q(key__in={incident.key for incident, _what in news})
        )
    }
    told, worse = [], []
    for incident, what in news:
        snooze = running.get(incident.key)
        if snooze and what in (Notice.BEGAN, Notice.WORSE) and rank(incident.kind) > snooze.rank:
            worse.append(snooze.pk)
        elif snooze and what != Notice.ENDED:
            continue
        told.append((incident, what))
    Snooze.objects.filter(pk__in=worse).update(ended_at=now, ending=Snooze.WORSE)
    fresh = [incident for incident, _what in told if incident.announced_at is None]
    Incident.objects.filter(pk__in=[incident.pk for incident in fresh]).update(announced_at=now)
    return told
