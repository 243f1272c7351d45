"""The audit trail as people ask for it: by action, by who, by what, by outcome, by day."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import datetime, time, timedelta
from operator import itemgetter
from typing import Any, cast

from django import forms
from django.db.models import Q
from django.http import QueryDict
from django.utils import timezone

from access.actions import ACTIONS
from access.models import ApiKey, AuditEvent, AuditEventQuerySet, User
from integrations.models import GoHighLevelIntegration

PER_PAGE = 50
# So many people, keys or accounts of a name are looked for in the trail.
MOST_OF_A_NAME = 50
BATCH = 1000


class ActivityForm(forms.Form):
    """What to look for. Every field may be empty; what cannot be read filters nothing."""

    who = forms.CharField(
        required=False,
        max_length=150,
        label="Who",
        widget=forms.TextInput(attrs={"placeholder": "Person or key"}),
    )
    what = forms.CharField(
        required=False,
        max_length=200,
        label="What",
        widget=forms.TextInput(attrs={"placeholder": "Account, name or id"}),
    )
    action = forms.ChoiceField(required=False, label="Action")
    outcome = forms.ChoiceField(
        required=False,
        label="Outcome",
        choices=[
            ("", "Any outcome"),
            (AuditEvent.DONE, "Done"),
            (AuditEvent.REFUSED, "Refused"),
            (AuditEvent.FAILED, "Failed"),
        ],
    )
    since = forms.DateField(required=False, label="From", widget=forms.DateInput({"type": "date"}))
    until = forms.DateField(required=False, label="To", widget=forms.DateInput({"type": "date"}))

    def __init__(self, query: QueryDict) -> None:
        super().__init__(query)
        action = cast(forms.ChoiceField, self.fields["action"])
        action.choices = [("", "Every action"), *sorted(ACTIONS.items(), key=itemgetter(1))]
        for name, field in self.fields.items():
            kind = "form-select" if name in ("action", "outcome") else "form-control"
            field.widget.attrs |= {"class": kind, "aria-label": field.label}

    def apply(self, events: AuditEventQuerySet, user: User) -> AuditEventQuerySet:
        self.is_valid()
        asked: dict[str, Any] = self.cleaned_data
        if asked.get("action"):
            events = events.filter(action=asked["action"])
        if asked.get("outcome"):
            events = events.filter(outcome=asked["outcome"])
        if asked.get("who"):
            events = events.filter(_by(asked["who"].strip()))
        if asked.get("what"):
            events = events.filter(_about(asked["what"].strip(), user))
        if asked.get("since"):
            events = events.filter(at__gte=_midnight(asked["since"]))
        if asked.get("until"):
            events = events.filter(at__lt=_midnight(asked["until"] + timedelta(days=1)))
        return events


def page_before(
    events: AuditEventQuerySet, before: str
) -> tuple[list[AuditEvent], AuditEvent | None]:
    """Return a page of the events older than the one with the id `before`, and the event that
    the next page goes on from. Pages are cut by place, not counted: the last costs what the
    first does."""
    rows = events.order_by("-at", "-pk")
    last = events.filter(pk=int(before)).first() if before.isdecimal() else None
    if last is not None:
        rows = rows.filter(Q(at__lt=last.at) | Q(at=last.at, pk__lt=last.pk))
    found = list(rows[: PER_PAGE + 1])
    return found[:PER_PAGE], found[PER_PAGE - 1] if len(found) > PER_PAGE else None


def csv_rows(events: AuditEventQuerySet) -> Iterator[list[object]]:
    """Yield every event, the newest first, read in batches."""
    last: int | None = None
    while True:
        rows = (
            events.order_by("-pk") if last is None else events.order_by("-pk").filter(pk__lt=last)
        )
        found = list(rows[:BATCH])
        yield from map(_cells, found)
        if len(found) < BATCH:
            return
        last = found[-1].pk


CSV_HEADER = (
    "at",
    "who",
    "kind",
    "address",
    "action",
    "outcome",
    "object",
    "object_id",
    "agency_id",
    "details",
    "request_id",
)


def _cells(event: AuditEvent) -> list[object]:
    return [
        event.at.isoformat(timespec="seconds"),
        event.actor_name,
        event.get_actor_kind_display(),
        event.address,
        event.action,
        event.outcome,
        event.target_name,
        event.target_id,
        event.company_id,
        event.details or "",
        event.request_id,
    ]


def _by(name: str) -> Q:
    """People and keys whose name begins so; the trail is asked by their ids, which are indexed."""
    people = User.objects.filter(Q(username__istartswith=name) | Q(email__iexact=name))
    keys = ApiKey.objects.filter(Q(name__istartswith=name) | Q(prefix=name))
    ids = [str(pk) for pk in people.values_list("pk", flat=True)[:MOST_OF_A_NAME]]
    ids += [str(pk) for pk in keys.values_list("pk", flat=True)[:MOST_OF_A_NAME]]
    return Q(actor_id__in=[*ids, name])


def _about(text: str, user: User) -> Q:
    installs = GoHighLevelIntegration.objects.visible_to(user).order_by()
    named = installs.filter(Q(name__startswith=text) | Q(resource_id=text))
    ids = [str(pk) for pk in named.values_list("pk", flat=True)[:MOST_OF_A_NAME]]
    people = User.objects.filter(username=text).values_list("pk", flat=True)
    ids += [str(pk) for pk in people]
    try:
        ids.append(str(uuid.UUID(text)))
    except ValueError:
        ids.append(text)
    return Q(target_id__in=ids)


def _midnight(day: Any) -> datetime:
    """When the day begins for the person who asks."""
    return timezone.make_aware(datetime.combine(day, time()), timezone.get_current_timezone())
