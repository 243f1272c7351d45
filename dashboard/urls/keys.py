"""API keys, and the page that explains the API."""

from __future__ import annotations

from django.urls import path

from dashboard import api_docs, key_views

urlpatterns = [
    path("keys/", key_views.key_list, name="key-list"),
    path("keys/new/", key_views.key_new, name="key-new"),
    path("keys/<uuid:pk>/", key_views.key_detail, name="key-detail"),
    path("keys/<uuid:pk>/change/", key_views.key_change, name="key-change"),
    path("keys/<uuid:pk>/rotate/", key_views.key_rotate, name="key-rotate"),
    path("keys/<uuid:pk>/end-old/", key_views.key_end_old_secret, name="key-end-old-secret"),
    path("keys/<uuid:pk>/disable/", key_views.key_disable, name="key-disable"),
    path("keys/<uuid:pk>/enable/", key_views.key_enable, name="key-enable"),
    path("keys/alerts/<int:pk>/accept/", key_views.key_alert_accept, name="key-alert-accept"),
    path("api/docs", api_docs.docs, name="api-docs"),
    path("api/openapi.json", api_docs.openapi, name="api-openapi"),
]
