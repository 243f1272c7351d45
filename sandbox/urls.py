"""The sandbox's own urlconf; the product's does not include it."""

from __future__ import annotations

from django.urls import path

from sandbox import consent, control, directory, views

urlpatterns = [
    # HighLevel's own addresses
    path("v2/oauth/chooselocation", consent.choose_location),
    path("oauth/chooselocation", consent.choose_location),
    path("oauth/token", views.token),
    path("oauth/locationToken", views.location_token),
    path("oauth/location-token", views.location_token_v3),
    path("oauth/installedLocations", views.installed_locations),
    path("oauth/installed-locations", views.installed_locations_v3),
    path("oauth/reconnect", views.reconnect),
    path("marketplace/app/<str:app>/installations", views.installations),
    path("locations/<str:location_id>", directory.location_detail),
    path("companies/<str:company_id>", directory.company_detail),
    path("users/", directory.users),
    path("users/search", directory.users_search),
    path("users/<str:user_id>", directory.user_detail),
    # the control page and API
    path("", control.root),
    path("_sandbox/", control.home),
    path("_sandbox/env", control.env),
    path("_sandbox/summary", control.summary),
    path("_sandbox/tokens", control.tokens),
    path("_sandbox/calls", control.calls),
    path("_sandbox/knobs", control.get_or_post(control.read_knobs, control.turn_knobs)),
    path("_sandbox/faults", control.get_or_post(control.read_faults, control.plan_faults)),
    path("_sandbox/events", control.get_or_post(control.events, control.send_event)),
    path("_sandbox/agencies", control.get_or_post(control.agencies, control.create_agency)),
    path("_sandbox/locations", control.create_location),
    path("_sandbox/delete-location", control.delete_location),
    path("_sandbox/install", control.install),
    path("_sandbox/uninstall", control.uninstall),
    path("_sandbox/pause", control.pause),
    path("_sandbox/resume", control.resume),
    path("_sandbox/refuse", control.refuse),
    path("_sandbox/advance", control.advance),
    path("_sandbox/resend", control.resend),
    path("_sandbox/clients", control.put_client),
    path("_sandbox/retire", control.retire),
    path("_sandbox/reset", control.reset),
]
