from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group

from access.models import ApiKey, User

admin.site.unregister(Group)


@admin.register(Group)
class RoleAdmin(GroupAdmin):
    """With the browser's own list of permissions: Django's two lists have parts without a name for
    screen readers."""

    filter_horizontal = ()


@admin.register(User)
class StaffUserAdmin(UserAdmin):
    """Names and passwords. Who belongs here and what each may do is for the page People, which
    keeps an owner and records it."""

    fieldsets = (
        *(UserAdmin.fieldsets or ()),
        ("Sign-in", {"fields": ["must_change_password", "agencies", "time_zone"]}),
    )
    readonly_fields = [
        "is_active",
        "is_staff",
        "is_superuser",
        "groups",
        "user_permissions",
        "agencies",
        "last_login",
        "date_joined",
    ]

    def has_add_permission(self, request: object) -> bool:
        return False

    def has_delete_permission(self, request: object, obj: object = None) -> bool:
        return False


@admin.register(ApiKey)
class ApiKeyAdmin(admin.ModelAdmin):
    """Only to look at: the page of API keys makes and changes them, and records it."""

    list_display = ["name", "prefix", "scopes", "expires_at", "disabled_at", "last_used_at"]

    def has_add_permission(self, request: object) -> bool:
        return False

    def has_change_permission(self, request: object, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: object, obj: object = None) -> bool:
        return False
