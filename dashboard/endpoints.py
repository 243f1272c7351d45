"""Endpoints as pages show them: which ones a person may see, how they are, what was sent."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import Count
from django.http import Http404, QueryDict
from django.utils import timezone

from access.models import User
from dashboard.agency import agency_choices
from dashboard.sentences import Look, Tone
from dashboard.times import clock
from integrations.models import COMPANY, GoHighLevelIntegration
from webhooks.forwarding_models import clean_types
from webhooks.guarded_http import BadUrl, check_url
from webhooks.models import Delivery, Endpoint, EventStock

PER_PAGE = 50
MOST_TYPES = 200
SINCE = [("1", "the last hour"), ("24", "the last day"), ("168", "the last week")]

_OFF = Look("Off", "player-pause", Tone.GREY)
_GIVEN_UP = Look("Switched off", "alert-octagon", Tone.RED)
_RESTING = Look("Not taking events", "clock", Tone.AMBER)
_FAILING = Look("Failing", "history", Tone.AMBER)
_WORKS = Look("Works", "circle-check", Tone.GREEN)
_NEW = Look("Nothing sent yet", "circle-dotted", Tone.GREY)

_DELIVERY_LOOKS = {
    Delivery.WAITING: Look("Waiting", "circle-dotted", Tone.GREY),
    Delivery.DELIVERED: Look("Delivered", "circle-check", Tone.GREEN),
    Delivery.FAILED: Look("Failed", "alert-octagon", Tone.RED),
}
_TRYING_AGAIN = Look("Trying again", "history", Tone.AMBER)
STATUSES = [(status, look.label) for status, look in _DELIVERY_LOOKS.items()]


@dataclass(frozen=True)
class EndpointLine:
    """An endpoint, how it is, and what waits for it or was given up."""

    endpoint: Endpoint
    look: Look
    sentence: str
    waiting: int
    failed: int


@dataclass(frozen=True)
class DeliveryLine:
    delivery: Delivery
    look: Look


@dataclass(frozen=True)
class Log:
    """Newest first. `older`: the `before` of the next page, empty on the last."""

    lines: list[DeliveryLine]
    status: str
    older: str
    is_newest: bool


def endpoints_of(person: User) -> list[Endpoint]:
    rows = Endpoint.objects.without_secrets()
    return [endpoint for endpoint in rows if endpoint.is_visible_to(person)]


def get_endpoint(person: User, pk: uuid.UUID, *, with_secrets: bool = False) -> Endpoint:
    """Errors: Http404, also for one that gets the events of others than the person's agencies."""
    rows = Endpoint.objects.all() if with_secrets else Endpoint.objects.without_secrets()
    endpoint = rows.filter(pk=pk).first()
    if endpoint is None or not endpoint.is_visible_to(person):
        raise Http404
    return endpoint


def lines(endpoints: list[Endpoint], now: datetime) -> list[EndpointLine]:
    """Return a line for each, in one query for all counts."""
    open_ones = Delivery.objects.filter(
        endpoint__in=endpoints, status__in=(Delivery.WAITING, Delivery.FAILED)
    )
    grouped = open_ones.order_by().values_list("endpoint", "status").annotate(n=Count("pk"))
    counts = {(pk, status): n for pk, status, n in grouped}
    return [
        EndpointLine(
            endpoint=endpoint,
            look=look_of(endpoint, now),
            sentence=sentence_of(endpoint, now),
            waiting=counts.get((endpoint.pk, Delivery.WAITING), 0),
            failed=counts.get((endpoint.pk, Delivery.FAILED), 0),
        )
        for endpoint in endpoints
    ]


def look_of(endpoint: Endpoint, now: datetime) -> Look:
    if not endpoint.is_active:
        return _OFF if endpoint.disabled_reason == Endpoint.STAFF else _GIVEN_UP
    if endpoint.probe_at is not None:
        return _RESTING
    if endpoint.failures:
        return _FAILING
    return _WORKS if endpoint.delivered_at else _NEW


def sentence_of(endpoint: Endpoint, now: datetime) -> str:
    """Say how it is, and what comes next."""
    if not endpoint.is_active:
        by_whom = f" By {endpoint.disabled_by}." if endpoint.disabled_by else ""
        return f"{endpoint.get_disabled_reason_display()}{by_whom} What waits is kept."
    since = f" since {clock(endpoint.failing_since, now)}" if endpoint.failing_since else ""
    if endpoint.probe_at is not None:
        next_try = max(endpoint.probe_at, now)
        return f"It does not take events{since}. Next try: {clock(next_try, now)}, by itself."
    if endpoint.failures:
        return f"The last delivery failed{since}. It is tried again by itself."
    if endpoint.delivered_at is None:
        return "Send a test event to see whether it arrives."
    return "Events arrive."


def read_log(endpoint: Endpoint, query: QueryDict) -> Log:
    """Return the page of the log that the URL asks for; what cannot be read in it is left out.

    It is cut by id, never counted or skipped through.
    """
    status = query.get("state", "")
    before = query.get("before", "")
    rows = Delivery.objects.filter(endpoint=endpoint)
    if status in _DELIVERY_LOOKS:
        rows = rows.filter(status=status)
    is_newest = not _is_id(before)
    if not is_newest:
        rows = rows.filter(pk__lt=int(before))
    rows = rows.select_related("event").defer("event__body", "event__headers")
    found = list(rows.order_by("-pk")[: PER_PAGE + 1])
    return Log(
        lines=[DeliveryLine(delivery, _look_of(delivery)) for delivery in found[:PER_PAGE]],
        status=status if status in _DELIVERY_LOOKS else "",
        older=str(found[PER_PAGE - 1].pk) if len(found) > PER_PAGE else "",
        is_newest=is_newest,
    )


def names_of(agencies: list[str]) -> list[tuple[str, str]]:
    """Return (id, name) of these agencies; the id in place of a name that is not known."""
    rows = GoHighLevelIntegration.objects.filter(user_type=COMPANY, resource_id__in=agencies)
    known = dict(rows.values_list("resource_id", "name")) if agencies else {}
    return [(agency, known.get(agency) or agency) for agency in agencies]


def since_of(hours: str) -> datetime | None:
    """Return the time that a choice of SINCE stands for."""
    return timezone.now() - timedelta(hours=int(hours)) if hours in dict(SINCE) else None


class EndpointForm(forms.Form):
    """A new or changed endpoint. Whoever is limited to agencies makes endpoints for these alone."""

    # The endpoint's own id: the form sent a second time makes no second one.
    id = forms.UUIDField(widget=forms.HiddenInput)
    name = forms.CharField(max_length=100, help_text="Which back end it is.")
    url = forms.CharField(
        label="Address",
        max_length=500,
        widget=forms.URLInput(attrs={"placeholder": "https://"}),
        help_text="Gets a POST for each event.",
    )
    description = forms.CharField(required=False, max_length=300)
    event_types = forms.CharField(
        required=False,
        label="Only these types of events",
        max_length=10_000,
        widget=forms.Textarea(attrs={"rows": 3, "class": "form-control"}),
        help_text="Separated by spaces or lines; * stands for anything, as in Contact*. "
        "Empty: all types, also those that HighLevel adds later.",
    )
    agencies = forms.MultipleChoiceField(
        required=False,
        label="Only of these agencies",
        widget=forms.CheckboxSelectMultiple,
        help_text="None ticked: of all that you may see.",
    )

    def __init__(self, *args: Any, person: User, endpoint: Endpoint | None = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.person = person
        field: Any = self.fields["agencies"]
        field.choices = agency_choices(person, endpoint.agencies if endpoint else ())
        if not field.choices:
            field.help_text = "No agency is known yet: it gets the events of all."

    @classmethod
    def initial_of(cls, endpoint: Endpoint) -> dict[str, Any]:
        return {
            "id": endpoint.pk,
            "name": endpoint.name,
            "url": endpoint.url,
            "description": endpoint.description,
            "event_types": "\n".join(endpoint.event_types),
            "agencies": endpoint.agencies,
        }

    def clean_url(self) -> str:
        url: str = self.cleaned_data["url"]
        try:
            check_url(url)
        except BadUrl as error:
            raise ValidationError(str(error)) from None
        return url

    def clean_event_types(self) -> list[str]:
        types = clean_types(self.cleaned_data["event_types"].replace(",", " ").split())
        if len(types) > MOST_TYPES or any(len(kind) > 80 for kind in types):
            raise ValidationError(f"At most {MOST_TYPES} types of at most 80 characters.")
        return types

    def clean_agencies(self) -> list[str]:
        return self.cleaned_data["agencies"] or list(self.person.agencies)

    @property
    def fields_of_row(self) -> dict[str, Any]:
        return {name: value for name, value in self.cleaned_data.items() if name != "id"}


def known_types() -> list[str]:
    """The types of the events that are kept, as counted each night."""
    kept = EventStock.objects.exclude(type="").order_by("type")
    return list(kept.values_list("type", flat=True)[:MOST_TYPES])


def _look_of(delivery: Delivery) -> Look:
    if delivery.status == Delivery.WAITING and delivery.error:
        return _TRYING_AGAIN
    return _DELIVERY_LOOKS[delivery.status]


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19
