from __future__ import annotations

from django.urls import path

from integrations import api, proxy, views

app_name = "integrations"

urlpatterns = [
    path("install/", views.install, name="install"),
    path("callback/", views.callback, name="callback"),
    path("installed/", views.installed, name="installed"),
    path("api/<uuid:pk>/<path:path>", proxy.proxy, name="proxy"),
    path("", api.urls()),
]
