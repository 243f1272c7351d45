from __future__ import annotations

from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.urls import include, path, re_path, reverse_lazy
from django.views.generic import RedirectView

from config.health import healthz, readyz
from integrations.views import help_page
from operations.metrics import metrics

# The same sign-in for everybody, with its limits on wrong tries.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]

urlpatterns = [
    path("app/", include("integrations.urls")),
    path("app/", include("webhooks.urls")),
    # Older deployments registered these addresses with HighLevel.
    path("ghl/", include("integrations.urls", namespace="ghl")),
    path("ghl/", include("webhooks.urls", namespace="ghl-webhooks")),
    path("help/", help_page, name="help"),
    # An address that nobody checks would be somebody else's way in.
    re_path(
        r"^accounts/(?:email|confirm-email)/",
        RedirectView.as_view(url=reverse_lazy("dashboard:own-account")),
        name="account_no_email",
    ),
    path("accounts/", include("allauth.account.urls")),
    path("accounts/2fa/", include("allauth.mfa.urls")),
    path("accounts/sessions/", include("allauth.usersessions.urls")),
    path("admin/", admin.site.urls),
    path("healthz", healthz, name="healthz"),
    path("readyz", readyz, name="readyz"),
    path("metrics", metrics, name="metrics"),
    path("", include("dashboard.urls")),
]

handler400 = "dashboard.errors.bad_request"
handler403 = "dashboard.errors.permission_denied"
handler404 = "dashboard.errors.page_not_found"
handler500 = "dashboard.errors.server_error"
