"""HighLevel's events, and the back ends they are passed on to."""

from __future__ import annotations

from django.urls import path

from dashboard import endpoint_views, event_views

urlpatterns = [
    path("events/", event_views.event_list, name="event-list"),
    path("events/figures/", event_views.event_figures_page, name="event-figures"),
    path("events/replay/", event_views.event_bulk, name="event-bulk"),
    path("events/replay/run/", event_views.event_bulk_run, name="event-bulk-run"),
    path("events/<uuid:pk>/", event_views.event_detail, name="event-detail"),
    path("events/<uuid:pk>/replay/", event_views.event_replay, name="event-replay"),
    path("live/events/", event_views.live_event_list, name="live-event-list"),
    path("live/events/figures/", event_views.live_event_figures, name="live-event-figures"),
    path("live/events/<uuid:pk>/", event_views.live_event_detail, name="live-event-detail"),
    path("endpoints/", endpoint_views.endpoint_list, name="endpoint-list"),
    path("endpoints/new/", endpoint_views.endpoint_new, name="endpoint-new"),
    path("endpoints/<uuid:pk>/", endpoint_views.endpoint_detail, name="endpoint-detail"),
    path("endpoints/<uuid:pk>/edit/", endpoint_views.endpoint_edit, name="endpoint-edit"),
    path("endpoints/<uuid:pk>/disable/", endpoint_views.endpoint_disable, name="endpoint-disable"),
    path("endpoints/<uuid:pk>/enable/", endpoint_views.endpoint_enable, name="endpoint-enable"),
    path("endpoints/<uuid:pk>/delete/", endpoint_views.endpoint_delete, name="endpoint-delete"),
    path("endpoints/<uuid:pk>/secret/", endpoint_views.endpoint_secret, name="endpoint-secret"),
    path("endpoints/<uuid:pk>/rotate/", endpoint_views.endpoint_rotate, name="endpoint-rotate"),
    path("endpoints/<uuid:pk>/test/", endpoint_views.endpoint_test, name="endpoint-test"),
    path(
        "endpoints/<uuid:pk>/send-again/",
        endpoint_views.endpoint_send_again,
        name="endpoint-send-again",
    ),
    path(
        "endpoints/<uuid:pk>/deliveries/<int:number>/send-again/",
        endpoint_views.delivery_send_again,
        name="endpoint-delivery-send-again",
    ),
    path("live/endpoints/", endpoint_views.live_endpoint_list, name="live-endpoint-list"),
    path("live/endpoints/<uuid:pk>/", endpoint_views.live_endpoint, name="live-endpoint"),
]
