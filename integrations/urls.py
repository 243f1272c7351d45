from __future__ import annotations

from django.urls import path, register_converter

from integrations import api, proxy, views
from integrations.converters import AnyUUID

app_name = "integrations"
register_converter(AnyUUID, "any_uuid")

urlpatterns = [
    path("install/", views.install, name="install"),
    path("callback/", views.callback, name="callback"),
    path("installed/", views.installed, name="installed"),
    path("api/<any_uuid:pk>/<path:path>", proxy.proxy, name="proxy"),
    path("", api.urls()),
]
