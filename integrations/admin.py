from __future__ import annotations

from django.contrib import admin, messages
from django.contrib.admin import ModelAdmin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from integrations import bulk, install
from integrations.health import State
from integrations.models import (
    GoHighLevelIntegration,
    IntegrationQuerySet,
    RefreshAttempt,
    RenewalJob,
)

MASK = "•••••••• (encrypted)"


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> list[tuple[str, str]]:
        return [(state.value, state.value.replace("_", " ").capitalize()) for state in State]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        if self.value() is None:
            return queryset
        return queryset.filter(state_now=self.value())


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
    list_display = ["__str__", "user_type", "company_name", "state", "expires_at", "verified_at"]
    list_filter = ["user_type", StateFilter]
    search_fields = ["name", "company_name", "resource_id", "company_id", "user_email"]
    actions = ["renew", "deactivate"]
    show_full_result_count = False
    exclude = ["access_token_encrypted", "refresh_token_encrypted", "lease_id"]

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
        return row.state(timezone.now()).replace("_", " ").capitalize()

    def access_token(self, row: GoHighLevelIntegration) -> str:
        return MASK if row.generation else "none"

    def refresh_token(self, row: GoHighLevelIntegration) -> str:
        return MASK if row.generation else "none"

    @admin.action(description="Renew the selected installs", permissions=["change"])
    def renew(self, request: HttpRequest, rows: IntegrationQuerySet) -> None:
        ids = rows.renewable().values_list("pk", flat=True)
        job = bulk.create_job(ids, caller=request.user.get_username())
        bulk.hand_to_worker(job)
        messages.success(request, f"{job.total} renewals handed to the worker.")

    @admin.action(description="Switch the selected installs off", permissions=["change"])
    def deactivate(self, request: HttpRequest, rows: QuerySet) -> None:
        ended = install.deactivate(GoHighLevelIntegration.objects.filter(pk__in=rows.values("pk")))
        messages.success(request, f"{ended} switched off.")


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
