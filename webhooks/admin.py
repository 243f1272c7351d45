from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest

from webhooks.models import GoHighLevelWebhook


@admin.register(GoHighLevelWebhook)
class WebhookAdmin(admin.ModelAdmin):
    list_display = ["type", "status", "result", "location_id", "company_id", "received_at"]
    list_filter = ["status", "type"]
    search_fields = ["webhook_id", "location_id", "company_id"]
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False
