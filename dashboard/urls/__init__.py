"""The addresses of the pages, one module for each area. `live/` answers the polls."""

from __future__ import annotations

from django.urls import include, path

app_name = "dashboard"

urlpatterns = [
    path("", include("dashboard.urls.accounts")),
    path("", include("dashboard.urls.agencies")),
    path("", include("dashboard.urls.events")),
    path("", include("dashboard.urls.alerts")),
    path("", include("dashboard.urls.keys")),
    path("", include("dashboard.urls.people")),
    path("", include("dashboard.urls.system")),
    path("", include("dashboard.urls.outside")),
]
