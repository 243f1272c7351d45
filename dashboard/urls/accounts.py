"""The first screen, the accounts one by one and many at a time, and the bulk renewals."""

from __future__ import annotations

from django.urls import path

from dashboard import alert_views, bulk_views, ending_views, reveal_views, views

urlpatterns = [
    path("", views.overview, name="overview"),
    path("installs/", views.install_list, name="install-list"),
    path("installs/refresh/", views.install_bulk_refresh, name="install-bulk-refresh"),
    path("installs/export.csv", views.install_export, name="install-export"),
    path("installs/bulk/", bulk_views.install_bulk, name="install-bulk"),
    path("installs/bulk/run/", bulk_views.install_bulk_run, name="install-bulk-run"),
    path("undo/", bulk_views.undo, name="undo"),
    path("installs/<uuid:pk>/", views.install_detail, name="install-detail"),
    path("installs/<uuid:pk>/refresh/", views.install_refresh, name="install-refresh"),
    path("live/worst/", views.live_worst, name="live-worst"),
    path("live/overview/", views.live_overview, name="live-overview"),
    path("live/installs/", views.live_install_list, name="live-install-list"),
    path("installs/<uuid:pk>/snooze/", alert_views.install_snooze, name="install-snooze"),
    path("live/installs/<uuid:pk>/", views.live_install_detail, name="live-install-detail"),
    path("jobs/", views.job_list, name="job-list"),
    path("jobs/new/", views.job_create, name="job-create"),
    path("jobs/<uuid:pk>/", views.job_detail, name="job-detail"),
    path("jobs/<uuid:pk>/again/", views.job_again, name="job-again"),
    path("jobs/<uuid:pk>/cancel/", views.job_cancel, name="job-cancel"),
    path("live/jobs/", views.live_job_list, name="live-job-list"),
    path("live/jobs/<uuid:pk>/", views.live_job, name="live-job"),
    path(
        "installs/<uuid:pk>/switch-off/", ending_views.install_switch_off, name="install-switch-off"
    ),
    path("installs/<uuid:pk>/switch-on/", ending_views.install_switch_on, name="install-switch-on"),
    path(
        "installs/<uuid:pk>/disconnect/", ending_views.install_disconnect, name="install-disconnect"
    ),
    path("installs/<uuid:pk>/forget/", ending_views.install_forget, name="install-forget"),
    path("installs/<uuid:pk>/reveal/", reveal_views.install_reveal, name="install-reveal"),
    path("demo-data/remove/", views.demo_data_remove, name="demo-data-remove"),
]
