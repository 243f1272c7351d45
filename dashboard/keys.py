"""API keys as pages show them: which ones a person may see, what they read, a form for new ones."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import Q
from django.http import Http404
from django.utils import timezone

from access.keys import lint
from access.models import ApiKey, KeyAlert, Scope, User
from dashboard.agency import agency_choices
from integrations import handouts
from integrations.models import GoHighLevelIntegration

MOST_KEYS = 500
MOST_READS = 100
MOST_ALERTS = 20
LATELY = timedelta(hours=24)
OVERLAPS = [(0, "at once"), (1, "in an hour"), (24, "in a day"), (168, "in a week")]
LIVES = [("30", "in 30 days"), ("90", "in 90 days"), ("365", "in a year"), ("", "never")]
AS_IT_IS = "same"


@dataclass(frozen=True)
class KeyLine:
    """A key and what a page says of it. `state`: works, expired or disabled."""

    key: ApiKey
    state: str
    doubts: list[str]

    @property
    def tone(self) -> str:
        return {"works": "green", "expired": "grey", "disabled": "grey"}[self.state]


def line(key: ApiKey, now: datetime) -> KeyLine:
    state = "disabled" if key.disabled_at else "works" if key.is_usable(now) else "expired"
    return KeyLine(key, state, lint(key, now))


def keys_of(person: User) -> list[ApiKey]:
    """The keys that the person may see: all, or those that reach nothing but their agencies."""
    return _within(person, ApiKey.objects.order_by("name")[:MOST_KEYS])


def get_key(person: User, pk: uuid.UUID) -> ApiKey:
    """Errors: Http404, also for a key that reaches further than the person."""
    found = _within(person, ApiKey.objects.filter(pk=pk))
    if not found:
        raise Http404
    return found[0]


def _within(person: User, rows: Iterable[ApiKey]) -> list[ApiKey]:
    keys = list(rows)
    if not person.agencies:
        return keys
    own = set(person.agencies)
    keys = [key for key in keys if key.is_limited and own.issuperset(key.agencies)]
    named = {pk for key in keys for pk in key.installs}
    visible = GoHighLevelIntegration.objects.visible_to(person).filter(pk__in=named)
    reachable = {str(pk) for pk in visible.values_list("pk", flat=True)}
    return [key for key in keys if reachable.issuperset(key.installs)]


def open_alerts(keys: Iterable[ApiKey]) -> list[KeyAlert]:
    """The newest unusual uses of these keys that nobody has looked at."""
    found = KeyAlert.objects.filter(accepted_at=None, key__in=list(keys)).select_related("key")
    return list(found.order_by("-at")[:MOST_ALERTS])


def who_has_token(install: GoHighLevelIntegration, now: datetime) -> list[handouts.Reads]:
    """The keys that got this account's token within a day, or called HighLevel with it."""
    return handouts.holders_of(install.pk, now - LATELY)


def detail(person: User, key: ApiKey, now: datetime) -> dict[str, Any]:
    """What the page of one key shows."""
    installs = GoHighLevelIntegration.objects.visible_to(person).without_secrets()
    return {
        "now": now,
        "line": line(key, now),
        "key": key,
        "scopes": [(Scope(name), key.scopes_used.get(name, "")) for name in key.scopes],
        "limited_to": list(installs.filter(pk__in=key.installs).order_by("name")[:MOST_READS]),
        "old_secret_works": key.old_secret_works(now),
        "addresses": list(key.addresses.order_by("-last_at")[:10]),
        "alerts": open_alerts([key]),
        "reads": handouts.reads_of(key, now - LATELY, installs, most=MOST_READS),
        "overlaps": OVERLAPS,
    }


class KeyForm(forms.Form):
    """A new key. Whoever is limited to agencies makes keys for these alone."""

    # The key's own id: the form sent a second time makes no second key.
    id = forms.UUIDField(widget=forms.HiddenInput)
    name = forms.CharField(
        max_length=100, help_text="Which back end uses it: the name stands in logs and records."
    )
    scopes = forms.MultipleChoiceField(
        label="It may",
        choices=Scope.choices,
        widget=forms.CheckboxSelectMultiple,
    )
    agencies = forms.MultipleChoiceField(
        required=False,
        label="Only for these agencies",
        widget=forms.CheckboxSelectMultiple,
        help_text="None ticked and no account named: for all that you may see.",
    )
    installs = forms.CharField(
        required=False,
        label="Only for these accounts",
        max_length=20_000,
        widget=forms.Textarea(attrs={"rows": 3, "class": "form-control"}),
        help_text="Ids of WhatReach or HighLevel, separated by spaces or lines.",
    )
    life = forms.ChoiceField(
        required=False,
        label="It ends",
        choices=LIVES,
        initial="365",
        widget=forms.Select(attrs={"class": "form-select"}),
    )

    # The key that is changed; its limits may stay, known here or not.
    key: ApiKey | None = None

    def __init__(self, *args: Any, person: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.person = person
        field: Any = self.fields["agencies"]
        field.choices = agency_choices(person, self.key.agencies if self.key else ())

    def clean_installs(self) -> list[str]:
        named = set(self.cleaned_data["installs"].split())
        own = GoHighLevelIntegration.objects.visible_to(self.person)
        ids = {text for text in named if _is_uuid(text)}
        found = own.filter(Q(resource_id__in=named) | Q(pk__in=ids))
        known = dict(found.values_list("pk", "resource_id"))
        missing = named - {str(pk) for pk in known} - set(known.values())
        # A UUID may be written in several ways.
        missing = {text for text in missing if not (_is_uuid(text) and uuid.UUID(text) in known)}
        forgotten = missing.intersection(self.key.installs if self.key else ())
        if missing - forgotten:
            raise ValidationError(f"There is no account {', '.join(sorted(missing - forgotten))}.")
        return [*map(str, known), *forgotten]

    def limits(self) -> dict[str, list[str]]:
        """What the key is limited to, as create_api_key takes it."""
        agencies, installs = self.cleaned_data["agencies"], self.cleaned_data["installs"]
        if not agencies and not installs:
            agencies = list(self.person.agencies)
        return {"agencies": agencies, "installs": installs}

    def expires_at(self) -> datetime | None:
        days = self.cleaned_data["life"]
        return timezone.now() + timedelta(days=int(days)) if days else None


class KeyChangeForm(KeyForm):
    """What a key is called, may do and reaches. Its end stays unless another is chosen."""

    id = None  # type: ignore[assignment]  # Django's way to leave a field out

    def __init__(self, *args: Any, key: ApiKey, **kwargs: Any) -> None:
        self.key = key
        now = {
            "name": key.name,
            "scopes": key.scopes,
            "agencies": key.agencies,
            "installs": "\n".join(key.installs),
            "life": AS_IT_IS,
        }
        super().__init__(*args, initial=now, **kwargs)
        life: Any = self.fields["life"]
        life.choices = [(AS_IT_IS, "as it does now"), *LIVES]

    def expires_at(self) -> datetime | None:
        stays = self.cleaned_data["life"] == AS_IT_IS
        return self.key.expires_at if self.key and stays else super().expires_at()


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True
