"""Alerts, snoozes and the channels that carry them."""

from __future__ import annotations

from django.urls import path

from dashboard import alert_views

urlpatterns = [
    path("alerts/", alert_views.alert_list, name="alert-list"),
    path("live/alerts/", alert_views.live_alerts, name="live-alerts"),
    path("alerts/link/<str:token>/", alert_views.alert_link, name="alert-link"),
    path("alerts/incidents/<uuid:pk>/snooze/", alert_views.alert_snooze, name="alert-snooze"),
    path(
        "alerts/incidents/<uuid:pk>/acknowledge/",
        alert_views.alert_acknowledge,
        name="alert-acknowledge",
    ),
    path("alerts/snoozes/<uuid:pk>/end/", alert_views.alert_unsnooze, name="alert-unsnooze"),
    path("alerts/channels/new/", alert_views.channel_add, name="alert-channel-add"),
    path("alerts/channels/<uuid:pk>/", alert_views.channel_change, name="alert-channel-change"),
    path("alerts/channels/<uuid:pk>/test/", alert_views.channel_test, name="alert-channel-test"),
    path(
        "alerts/channels/<uuid:pk>/switch/", alert_views.channel_switch, name="alert-channel-switch"
    ),
    path(
        "alerts/channels/<uuid:pk>/remove/", alert_views.channel_remove, name="alert-channel-remove"
    ),
]
