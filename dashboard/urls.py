from __future__ import annotations

from django.urls import path

from dashboard import views

app_name = "dashboard"

urlpatterns = [
    path("", views.overview, name="overview"),
    path("installs/", views.install_list, name="install-list"),
    path("installs/refresh/", views.install_bulk_refresh, name="install-bulk-refresh"),
    path("installs/<uuid:pk>/", views.install_detail, name="install-detail"),
    path("installs/<uuid:pk>/refresh/", views.install_refresh, name="install-refresh"),
    path("live/overview/", views.live_overview, name="live-overview"),
    path("live/installs/", views.live_install_list, name="live-install-list"),
    path("live/installs/<uuid:pk>/", views.live_install_detail, name="live-install-detail"),
    path("jobs/", views.job_list, name="job-list"),
    path("jobs/new/", views.job_create, name="job-create"),
    path("jobs/<uuid:pk>/", views.job_detail, name="job-detail"),
    path("jobs/<uuid:pk>/cancel/", views.job_cancel, name="job-cancel"),
    path("live/jobs/<uuid:pk>/", views.live_job, name="live-job"),
    path("demo-data/remove/", views.demo_data_remove, name="demo-data-remove"),
]
