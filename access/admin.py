from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin

from access.models import ApiKey, User


@admin.register(User)
class StaffUserAdmin(UserAdmin):
    fieldsets = (*(UserAdmin.fieldsets or ()), ("Sign-in", {"fields": ["must_change_password"]}))


@admin.register(ApiKey)
class ApiKeyAdmin(admin.ModelAdmin):
    """Keys are made by `create_api_key`, the one place that shows a key's text."""

    list_display = ["name", "prefix", "scopes", "expires_at", "disabled_at", "last_used_at"]
    readonly_fields = ["prefix", "scopes", "installs", "last_used_at", "last_used_address"]

    def has_add_permission(self, request: object) -> bool:
        return False
