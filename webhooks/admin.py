from __future__ import annotations

from django.contrib import admin

from integrations.admin import ReadOnlyAdmin
from webhooks.models import GoHighLevelWebhook


@admin.register(GoHighLevelWebhook)
class WebhookAdmin(ReadOnlyAdmin):
    list_display = ["type", "status", "result", "location_id", "company_id", "received_at"]
    list_filter = ["status", "type"]
    search_fields = ["webhook_id", "location_id", "company_id"]
    show_full_result_count = False
