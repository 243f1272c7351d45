from __future__ import annotations

import uuid
from contextlib import suppress
from typing import Any

import django_filters
from django import forms
from django.db.models import Q, QuerySet

from dashboard.sentences import LOOKS
from dashboard.summary import TILES, in_group
from integrations.health import WORST_FIRST
from integrations.models import GoHighLevelIntegration

_GROUPS = [(tile.group, tile.label) for tile in TILES]
_STATES = [(state.value, LOOKS[state].label) for state in WORST_FIRST]
_IS_GROUP = {group for group, _label in _GROUPS}


class InstallFilter(django_filters.FilterSet):
    """Search and state, from the URL. A value that is none of ours filters nothing.

    The rows must carry `state_now`.
    """

    q = django_filters.CharFilter(
        method="search", label="Search", widget=forms.TextInput(attrs={"type": "search"})
    )
    state = django_filters.ChoiceFilter(
        method="in_state",
        label="State",
        empty_label="All states",
        widget=forms.Select(attrs={"class": "form-select", "aria-label": "State"}),
        choices=[("Groups", _GROUPS), ("States", [s for s in _STATES if s[0] not in _IS_GROUP])],
    )
    agency = django_filters.CharFilter(field_name="company_id", widget=forms.HiddenInput())

    class Meta:
        model = GoHighLevelIntegration
        fields: list[str] = []

    @property
    def is_active(self) -> bool:
        return any(self.form.cleaned_data.values()) if self.form.is_valid() else False

    @property
    def state_label(self) -> str:
        chosen = self.form.cleaned_data.get("state") if self.form.is_valid() else ""
        return dict(_STATES + _GROUPS).get(chosen or "", "")

    def search(self, rows: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        """By a part of the name or the agency's, or by a whole id of any kind."""
        text = value.strip()
        found = Q(name__icontains=text) | Q(company_name__icontains=text)
        found |= Q(resource_id=text) | Q(company_id=text)
        with suppress(ValueError):
            found |= Q(pk=uuid.UUID(text))
        return rows.filter(found)

    def in_state(self, rows: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        return rows.filter(in_group(value) if value in _IS_GROUP else Q(state_now=value))
