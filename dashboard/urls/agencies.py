"""Agencies, their sub-accounts beside HighLevel's list, and what accounts allow."""

from __future__ import annotations

from django.urls import path, register_converter

from dashboard import agency_views, scope_views
from dashboard.converters import HighLevelId

register_converter(HighLevelId, "highlevel_id")

urlpatterns = [
    path("agencies/", agency_views.agency_list, name="agency-list"),
    path("live/agencies/", agency_views.live_agency_list, name="live-agency-list"),
    path("agencies/compare/", agency_views.agency_compare_all, name="agency-compare-all"),
    path("agencies/<highlevel_id:company_id>/", agency_views.agency_detail, name="agency-detail"),
    path("live/agencies/<highlevel_id:company_id>/", agency_views.live_agency, name="live-agency"),
    path(
        "agencies/<highlevel_id:company_id>/reconcile/",
        agency_views.agency_reconcile,
        name="agency-reconcile",
    ),
    path(
        "live/agencies/<highlevel_id:company_id>/reconcile/",
        agency_views.live_reconcile,
        name="live-reconcile",
    ),
    path(
        "agencies/<highlevel_id:company_id>/compare/",
        agency_views.agency_compare,
        name="agency-compare",
    ),
    path(
        "agencies/<highlevel_id:company_id>/fetch/", agency_views.agency_fetch, name="agency-fetch"
    ),
    path(
        "agencies/<highlevel_id:company_id>/end-missing/",
        agency_views.agency_end_missing,
        name="agency-end-missing",
    ),
    path("permissions/", scope_views.scope_list, name="scope-list"),
    path("live/permissions/", scope_views.live_scopes, name="live-scopes"),
    path("permissions/accounts.csv", scope_views.scope_csv, name="scope-csv"),
    path("permissions/<uuid:pk>/catch-up/", scope_views.scope_catch_up, name="scope-catch-up"),
]
