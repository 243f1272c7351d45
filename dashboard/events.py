"""The pages of events: the list and its filter, one event, and what a replay would be for.

The list is cut by time, never counted or skipped through: its cost is that of one page, however
many events are kept.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import django_filters
from django import forms
from django.db.models import Count, Max, Min, Q, QuerySet
from django.http import QueryDict
from django.utils.dateparse import parse_datetime

from access.models import User
from dashboard.sentences import Look, Tone
from dashboard.times import absolute, span
from integrations.models import GoHighLevelIntegration
from webhooks.handlers import HANDLERS, effect_of
from webhooks.models import AnswerCount, EventQuerySet, EventStock, GoHighLevelWebhook, Outcome

PER_PAGE = 50
# As the indexes have it on MariaDB, where they end in the primary key: else it sorts all rows.
NEWEST_FIRST = ("-received_at", "pk")
# A search for text reads bodies: as many as this, then it asks whether to go on.
SEARCH_READS = 5000
TYPES_SEEN_WITHIN = timedelta(days=3)

_STATES = (
    (GoHighLevelWebhook.PENDING, "Waiting"),
    (GoHighLevelWebhook.PROCESSED, "Processed"),
    (GoHighLevelWebhook.IGNORED, "Kept only"),
    (GoHighLevelWebhook.PARKED, "Parked"),
)
_LOOKS = {
    GoHighLevelWebhook.PENDING: Look("Waiting", "circle-dotted", Tone.GREY),
    GoHighLevelWebhook.PROCESSED: Look("Processed", "circle-check", Tone.GREEN),
    GoHighLevelWebhook.IGNORED: Look("Kept only", "circle-minus", Tone.GREY),
    GoHighLevelWebhook.PARKED: Look("Parked", "alert-octagon", Tone.RED),
}
_TRIED_AGAIN = Look("Tried again", "history", Tone.AMBER)


class EventFilter(django_filters.FilterSet):
    """Type, state, account and search, from the URL. A value that is none of ours filters nothing.

    The search comes last: it looks at the newest of what the others let through.
    """

    type = django_filters.CharFilter(widget=forms.Select(attrs={"class": "form-select"}))
    state = django_filters.ChoiceFilter(
        field_name="status",
        empty_label="All states",
        widget=forms.Select(attrs={"class": "form-select", "aria-label": "State"}),
        choices=_STATES,
    )
    account = django_filters.CharFilter(method="of_account", widget=forms.HiddenInput())
    q = django_filters.CharFilter(method="search")

    class Meta:
        model = GoHighLevelWebhook
        fields: list[str] = []

    # How far back the text was looked for; None when everything was looked through.
    looked_back_to: datetime | None = None

    @property
    def is_active(self) -> bool:
        return any(self.form.cleaned_data.values()) if self.form.is_valid() else False

    def of_account(self, rows: EventQuerySet, name: str, value: str) -> EventQuerySet:
        return rows.of_account(value)

    def search(self, rows: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        """By a whole id of any kind, else by a part of the body or the type."""
        text = value.strip().replace("\x00", "")
        for exactly in _ids(text):
            if rows.filter(**exactly).exists():
                return rows.filter(**exactly)
        moments = rows.order_by("-received_at").values_list("received_at", flat=True)
        self.looked_back_to = moments[SEARCH_READS : SEARCH_READS + 1].first()
        if self.looked_back_to is not None:
            rows = rows.filter(received_at__gt=self.looked_back_to)
        return rows.filter(Q(body__icontains=text) | Q(type__icontains=text))


@dataclass(frozen=True)
class Row:
    """One line of the list. `install`: the account's row here, None when there is none."""

    event: GoHighLevelWebhook
    look: Look
    install: GoHighLevelIntegration | None


@dataclass(frozen=True)
class EventPage:
    """`older`: the `before` of the next page, empty on the last; `is_newest`: this is the first.
    `looked_back_to`: a search read no further; `older` goes on from there."""

    rows: list[Row]
    filter: EventFilter
    types: list[str]
    older: str
    is_newest: bool
    looked_back_to: datetime | None


@dataclass(frozen=True)
class Share:
    """What a replay would be for one type."""

    type: str
    count: int
    effect: str


@dataclass(frozen=True)
class Selection:
    """Events to replay. `fields`: the form fields that say the same again."""

    events: EventQuerySet
    fields: list[tuple[str, str]]

    def shares(self) -> list[Share]:
        """Return what would be replayed, the most frequent first, in one query."""
        counted = self.events.order_by().values_list("type").annotate(n=Count("pk"))
        shares = [Share(kind, n, effect_of(kind)) for kind, n in counted]
        return sorted(shares, key=lambda share: (-share.count, share.type))

    def period(self) -> tuple[datetime | None, datetime | None]:
        ends = self.events.aggregate(first=Min("received_at"), last=Max("received_at"))
        return ends["first"], ends["last"]


def read_page(user: User, query: QueryDict, now: datetime) -> EventPage:
    """Return the page that the URL asks for; what cannot be read in it is left out."""
    rows = GoHighLevelWebhook.objects.visible_to(user)
    before = query.get("before", "")
    found = EventFilter(query, _before(rows, before))
    newest = found.qs.order_by(*NEWEST_FIRST).defer("body", "headers")
    events = list(newest[: PER_PAGE + 1])
    older = _cursor(events[PER_PAGE - 1]) if len(events) > PER_PAGE else ""
    if not older and found.looked_back_to:
        older = found.looked_back_to.isoformat()
    events = events[:PER_PAGE]
    return EventPage(
        rows=_rows(user, events),
        filter=found,
        types=_known_types(now),
        older=older,
        is_newest=not before,
        looked_back_to=None if len(events) == PER_PAGE else found.looked_back_to,
    )


def read_selection(user: User, asked: QueryDict, now: datetime) -> Selection:
    """Read `ids`, or `all` with the list's `query`: those that had come by `until`, else by now."""
    rows, query = GoHighLevelWebhook.objects.visible_to(user), asked.get("query", "")
    if not asked.get("all"):
        ids = [pk for text in asked.getlist("ids") if (pk := _uuid(text))][:PER_PAGE]
        fields = [("query", query), *(("ids", str(pk)) for pk in ids)]
        return Selection(rows.filter(pk__in=ids), fields)
    until = _moment(asked.get("until", "")) or now
    found = EventFilter(QueryDict(query), rows.filter(received_at__lte=until))
    fields = [("all", "1"), ("query", query), ("until", until.isoformat())]
    return Selection(found.qs, fields)


def install_of(user: User, event: GoHighLevelWebhook) -> GoHighLevelIntegration | None:
    return _installs(user, [event]).get(event.account_id)


def look_of(event: GoHighLevelWebhook) -> Look:
    if event.status == GoHighLevelWebhook.PENDING and event.attempts:
        return _TRIED_AGAIN
    return _LOOKS[event.status]


def lateness(event: GoHighLevelWebhook) -> str:
    """Say how late it came, where that is remarkable."""
    if not event.is_late:
        return ""
    return f"It happened {span(event.delay)} before it came, at {absolute(event.occurred_at)}."


def _rows(user: User, events: Sequence[GoHighLevelWebhook]) -> list[Row]:
    installs = _installs(user, events)
    return [Row(event, look_of(event), installs.get(event.account_id)) for event in events]


def _installs(
    user: User, events: Iterable[GoHighLevelWebhook]
) -> Mapping[str, GoHighLevelIntegration]:
    ids = {event.account_id for event in events if event.account_id}
    if not ids:
        return {}
    installs = GoHighLevelIntegration.objects.visible_to(user).without_secrets()
    return {install.resource_id: install for install in installs.filter(resource_id__in=ids)}


def _known_types(now: datetime) -> list[str]:
    """The types of what is kept, as far as the nightly count and the last days' answers tell."""
    counted = EventStock.objects.values_list("type", flat=True)
    lately = AnswerCount.objects.filter(hour__gte=now - TYPES_SEEN_WITHIN, outcome=Outcome.STORED)
    types = set(counted) | set(lately.values_list("type", flat=True).distinct())
    return sorted(types | set(HANDLERS), key=str.lower)


def _ids(text: str) -> list[dict[str, Any]]:
    """Where an id may stand; each has an index."""
    found: list[dict[str, Any]] = [
        {"webhook_id": text},
        {"location_id": text},
        {"company_id": text},
    ]
    pk = _uuid(text)
    return [{"pk": pk}, *found] if pk else found


def _cursor(event: GoHighLevelWebhook) -> str:
    return f"{event.received_at.isoformat()}~{event.pk}"


def _before(rows: EventQuerySet, cursor: str) -> EventQuerySet:
    text, _tilde, pk_text = cursor.partition("~")
    moment, pk = _moment(text), _uuid(pk_text)
    if moment is None:
        return rows
    if pk is None:
        return rows.filter(received_at__lte=moment)
    earlier = Q(received_at__lt=moment) | Q(received_at=moment, pk__gt=pk)
    return rows.filter(earlier, received_at__lte=moment)


def _uuid(text: str) -> uuid.UUID | None:
    return _readable(uuid.UUID, text)


def _moment(text: str) -> datetime | None:
    moment = _readable(parse_datetime, text)
    return moment if moment is not None and moment.tzinfo else None


def _readable(read: Callable[[str], Any], text: str) -> Any:
    with suppress(ValueError, OverflowError):
        return read(text)
    return None
