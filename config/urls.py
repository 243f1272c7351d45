from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from config import health

urlpatterns = [
    path("app/", include("integrations.urls")),
    path("app/", include("webhooks.urls")),
    # Older deployments registered these addresses with HighLevel.
    path("ghl/", include("integrations.urls", namespace="ghl")),
    path("ghl/", include("webhooks.urls", namespace="ghl-webhooks")),
    path("accounts/", include("allauth.account.urls")),
    path("admin/", admin.site.urls),
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("", include("dashboard.urls")),
]

handler400 = "dashboard.errors.bad_request"
handler403 = "dashboard.errors.permission_denied"
handler404 = "dashboard.errors.page_not_found"
handler500 = "dashboard.errors.server_error"
