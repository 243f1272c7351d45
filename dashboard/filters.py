from __future__ import annotations

import uuid
from contextlib import suppress
from datetime import timedelta
from typing import Any

import django_filters
from django import forms
from django.db.models import Q, QuerySet
from django.utils import timezone

from dashboard.found import Found, any_of, first_of
from dashboard.sentences import LOOKS
from dashboard.summary import TILES, Summary, in_group, narrowed
from integrations import scopes
from integrations.health import OFF, WORST_FIRST
from integrations.models import COMPANY, LOCATION, GoHighLevelIntegration, IntegrationQuerySet
from integrations.snapshots import LIVE_UP_TO

_GROUPS = [(tile.group, tile.label) for tile in TILES]
_STATES = [(state.value, LOOKS[state].label) for state in WORST_FIRST]
_IS_GROUP = {group for group, _label in _GROUPS}
_EXPIRES = {"ended": timedelta(), "1h": timedelta(hours=1), "24h": timedelta(hours=24)}
_USED = {"1d": timedelta(days=1), "30d": timedelta(days=30)}


def _select(label: str) -> forms.Select:
    return forms.Select(attrs={"class": "form-select", "aria-label": label})


class InstallFilter(django_filters.FilterSet):
    """Search and state, from the URL. A value that is none of ours filters nothing."""

    q = django_filters.CharFilter(
        method="search", label="Search", widget=forms.TextInput(attrs={"type": "search"})
    )
    state = django_filters.ChoiceFilter(
        method="in_state",
        label="State",
        empty_label="All states",
        widget=_select("State"),
        choices=[("Groups", _GROUPS), ("States", [s for s in _STATES if s[0] not in _IS_GROUP])],
    )
    expires = django_filters.ChoiceFilter(
        method="expires_within",
        empty_label="Any expiry",
        widget=_select("Expiry"),
        choices=[
            ("ended", "Token ended"),
            ("1h", "Ends within the hour"),
            ("24h", "Ends within a day"),
        ],
    )
    scopes = django_filters.ChoiceFilter(
        method="lacking_scopes",
        empty_label="Any scopes",
        widget=_select("Scopes"),
        choices=[("missing", "Scopes missing")],
    )
    used = django_filters.ChoiceFilter(
        method="last_used",
        empty_label="Any use",
        widget=_select("Last used"),
        choices=[
            ("1d", "Used within a day"),
            ("30d", "Not used for 30 days"),
            ("never", "Never used"),
        ],
    )
    agency = django_filters.CharFilter(field_name="company_id", widget=forms.HiddenInput())

    class Meta:
        model = GoHighLevelIntegration
        fields: list[str] = []

    @property
    def is_active(self) -> bool:
        return bool(self._chosen())

    @property
    def in_use(self) -> int:
        """How many of the lists to choose from are set."""
        return self.more_in_use + self._set("state")

    @property
    def more_in_use(self) -> int:
        """How many of the less frequent ones are set."""
        return self._set("expires", "scopes", "used")

    def found(self, summary: Summary) -> Found:
        """What the list shows of it. `summary`: how many there are by the tiles, which may be of
        some time ago where there are many."""
        chosen = self._chosen()
        if summary.total > LIVE_UP_TO and not chosen.keys() <= {"state", "agency"}:
            return any_of(self.qs)
        known = 0
        if not chosen:
            known = summary.total
        elif chosen.keys() == {"state"}:
            known = summary.counts.get(chosen["state"], 0)
        return first_of(self.qs, known)

    def _chosen(self) -> dict[str, str]:
        self.form.is_valid()  # A value that is not is left out of the cleaned data.
        return {name: value for name, value in self.form.cleaned_data.items() if value}

    def _set(self, *names: str) -> int:
        return len(self._chosen().keys() & set(names))

    @property
    def state_label(self) -> str:
        return dict(_STATES + _GROUPS).get(self._chosen().get("state", ""), "")

    def search(self, rows: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        """By a part of the name or the agency's, or by a whole id of any kind."""
        text = value.strip()
        found = Q(name__icontains=text) | Q(company_name__icontains=text)
        # With the kind, since the index of the ids begins with it.
        found |= Q(user_type__in=(LOCATION, COMPANY), resource_id=text) | Q(company_id=text)
        with suppress(ValueError):
            found |= Q(pk=uuid.UUID(text))
        return rows.filter(found)

    def expires_within(self, rows: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        return rows.exclude(status__in=OFF).filter(expires_at__lte=timezone.now() + _EXPIRES[value])

    def lacking_scopes(
        self, rows: IntegrationQuerySet, name: str, value: str
    ) -> IntegrationQuerySet:
        """Those that granted less than the app asks for now, as the page of permissions has it."""
        return scopes.behind(rows)

    def last_used(self, rows: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        if value == "never":
            # As no index serves it: SQLite would take them for few, and look for nothing else.
            return rows.exclude(last_used_at__isnull=False)
        since = timezone.now() - _USED[value]
        return (
            rows.filter(last_used_at__gte=since)
            if value == "1d"
            else rows.filter(Q(last_used_at__lt=since) | Q(last_used_at=None))
        )

    def in_state(self, rows: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        now = timezone.now()
        few: Any = rows.filter(narrowed(value, now))
        wanted = in_group(value) if value in _IS_GROUP else Q(state_now=value)
        return few.with_state(now).filter(wanted)
