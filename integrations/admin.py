from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin import ModelAdmin
from django.contrib.admin.widgets import AdminTextInputWidget
from django.db.models import Count, DateTimeField, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.defaultfilters import pluralize
from django.utils import timezone
from django_q.admin import ScheduleAdmin
from django_q.models import Schedule

from integrations import bulk, ending, snapshots
from integrations.causes import CAUSES
from integrations.health import OFF, State, Status
from integrations.models import (
    GoHighLevelIntegration,
    IntegrationQuerySet,
    Outage,
    RefreshAttempt,
    RenewalJob,
    StateChange,
)

MASK = "•••••••• (encrypted)"
TOKEN_FIELDS = [
    "access_token",
    "refresh_token",
    "state",
    "user_type",
    "scope",
    "is_bulk_installation",
    "token_type",
    "expires_at",
    "renew_at",
    "renewed_at",
    "verified_at",
    "client_id",
    "key_id",
    "generation",
]
# By state, and those that ended by how: both ways are one state.
_STATES = {state.value: state.value.replace("_", " ").capitalize() for state in State} | {
    Status.DEACTIVATED.value: "Switched off"
}


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{pluralize(number)}"


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> list[tuple[str, str]]:
        return list(_STATES.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        value = self.value()
        if value is None:
            return queryset
        return queryset.filter(**{"status" if value in OFF else "state_now": value})


class FieldFilter(admin.SimpleListFilter):
    """By a column whose values are known: Django's own filter would read the whole table."""

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        if self.value() is None:
            return queryset
        return queryset.filter(**{str(self.parameter_name): self.value()})


class StatusFilter(FieldFilter):
    title = parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> list[tuple[str, str]]:
        return [(status.value, status.value.capitalize()) for status in Status]


class CauseFilter(FieldFilter):
    title = parameter_name = "cause"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> list[tuple[str, str]]:
        return [(code, cause.title) for code, cause in CAUSES.items()]


class ReadOnlyAdmin(ModelAdmin):
    """Rows that the product writes: people look at them, and change them by actions."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


@admin.register(GoHighLevelIntegration)
class IntegrationAdmin(ModelAdmin):
    list_display = [
        "__str__",
        "user_type",
        "company_name",
        "state",
        "expires_at",
        "verified_at",
        "is_bulk_installation",
    ]
    list_filter = [StateFilter, "user_type", "is_bulk_installation"]
    search_fields = ["name", "company_name", "resource_id", "company_id", "user_email"]
    actions = ["renew", "deactivate"]
    show_full_result_count = False
    exclude = ["access_token_encrypted", "refresh_token_encrypted", "lease_id", "lease_holder"]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        counts = snapshots.by_state(snapshots.counts_of_agency("", timezone.now()))
        ended = GoHighLevelIntegration.objects.filter(status__in=OFF).order_by()
        counts.pop(State.UNINSTALLED, None)
        counts |= dict(ended.values_list("status").annotate(n=Count("pk")))
        health = [
            (state, label, counts[state]) for state, label in _STATES.items() if counts.get(state)
        ]
        return super().changelist_view(request, {"health": health, **(extra_context or {})})

    def get_fieldsets(self, request: HttpRequest, obj: object = None) -> Any:
        """The token's own facts by themselves; then everything else."""
        names = self.get_readonly_fields(request, obj)
        return [
            ("Token", {"fields": TOKEN_FIELDS}),
            ("Install", {"fields": [name for name in names if name not in TOKEN_FIELDS]}),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        return GoHighLevelIntegration.objects.without_secrets().worst_first(timezone.now())

    def get_readonly_fields(self, request: HttpRequest, obj: object = None) -> list[str]:
        """Everything: a form's save() would write an old row over the engine's."""
        hidden = set(self.exclude or [])
        names = [field.name for field in self.model._meta.fields if field.name not in hidden]
        return [*names, "state", "access_token", "refresh_token"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """An install is switched off; deleting it would throw its tokens away for good."""
        return False

    @admin.display(ordering="severity")
    def state(self, row: GoHighLevelIntegration) -> str:
        return _STATES[row.status if row.status in OFF else row.state(timezone.now())]

    def access_token(self, row: GoHighLevelIntegration) -> str:
        return MASK if row.generation else "none"

    def refresh_token(self, row: GoHighLevelIntegration) -> str:
        return MASK if row.generation else "none"

    @admin.action(description="Renew the selected installs", permissions=["change"])
    def renew(self, request: HttpRequest, rows: IntegrationQuerySet) -> None:
        ids = rows.renewable().values_list("pk", flat=True)
        job = bulk.create_job(ids, caller=request.user.get_username())
        bulk.hand_to_worker(job)
        messages.success(request, f"{_counted(job.total, 'renewal')} handed to the worker.")

    @admin.action(description="Switch the selected installs off", permissions=["change"])
    def deactivate(self, request: HttpRequest, rows: QuerySet) -> None:
        ended = ending.deactivate(
            GoHighLevelIntegration.objects.filter(pk__in=rows.values("pk")),
            caller=request.user.get_username(),
        )
        messages.success(request, f"{_counted(ended, 'install')} switched off.")


@admin.register(RefreshAttempt)
class RefreshAttemptAdmin(ReadOnlyAdmin):
    list_display = ["integration", "way", "outcome", "cause", "trigger", "started_at", "duration"]
    list_filter = ["outcome", "way", "trigger"]
    list_select_related = ["integration"]
    show_full_result_count = False

    def duration(self, attempt: RefreshAttempt) -> str:
        return "" if attempt.duration_ms is None else f"{attempt.duration_ms} ms"


@admin.register(RenewalJob)
class RenewalJobAdmin(ReadOnlyAdmin):
    list_display = ["id", "caller", "created_at", "total", "cancelled_at"]


@admin.register(StateChange)
class StateChangeAdmin(ReadOnlyAdmin):
    list_display = ["integration", "at", "status_before", "status", "cause", "trigger", "caller"]
    list_filter = [StatusFilter, CauseFilter]
    list_select_related = ["integration"]
    search_fields = ["integration__name", "integration__resource_id"]
    show_full_result_count = False


@admin.register(Outage)
class OutageAdmin(ReadOnlyAdmin):
    list_display = ["began_at", "ended_at", "cause", "tries"]
    list_filter = ["is_open", CauseFilter]


admin.site.unregister(Schedule)


@admin.register(Schedule)
class PlanAdmin(ScheduleAdmin):
    """With one field for its next run: of Django's two only the first has a name for screen
    readers."""

    formfield_overrides = {
        DateTimeField: {"form_class": forms.DateTimeField, "widget": AdminTextInputWidget}
    }
