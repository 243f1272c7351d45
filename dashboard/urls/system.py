"""What the operator looks at."""

from __future__ import annotations

from django.urls import path

from dashboard import rotation_views, system_views

urlpatterns = [
    path("system/", system_views.system, name="system"),
    path("live/system/", system_views.live_system, name="live-system"),
    path("system/tasks/<str:pk>/retry/", system_views.task_retry, name="task-retry"),
    path("system/tasks/<int:pk>/cancel/", system_views.task_cancel, name="task-cancel"),
    path("setup/", system_views.setup, name="setup"),
    path("live/setup/", system_views.live_setup, name="live-setup"),
    path("encryption/", rotation_views.encryption, name="encryption"),
    path("encryption/rotate/", rotation_views.encryption_rotate, name="encryption-rotate"),
    path(
        "encryption/client-secrets/",
        rotation_views.encryption_ask_secrets,
        name="encryption-ask-secrets",
    ),
    path("live/encryption/", rotation_views.live_encryption, name="live-encryption"),
]
