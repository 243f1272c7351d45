from __future__ import annotations

from django.urls import path

from webhooks import views

app_name = "webhooks"

urlpatterns = [
    path("webhook/", views.receive, name="receive"),
    # Registered without the slash an event would be lost to a redirect: those are not followed.
    path("webhook", views.receive),
]
