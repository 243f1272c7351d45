"""What is shown outside the dashboard: status badge and wall screen, and the embedded page."""

from __future__ import annotations

from django.urls import path

from dashboard import embedded_views, status_views

urlpatterns = [
    path("status-links/", status_views.status_link_list, name="status-link-list"),
    path(
        "status-links/<uuid:pk>/delete/",
        status_views.status_link_delete,
        name="status-link-delete",
    ),
    path("status/<uuid:pk>/", status_views.status_wall, name="status-wall"),
    path("status/<uuid:pk>/badge.svg", status_views.status_badge, name="status-badge"),
    path("status/<uuid:pk>/status.json", status_views.status_json, name="status-json"),
    path("embedded/", embedded_views.embedded_page, name="embedded"),
    path("embedded/session/", embedded_views.embedded_session, name="embedded-session"),
]
