from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django_htmx.http import HttpResponseClientRedirect

# What a person with a one-time password still needs.
_OPEN_VIEWS = {"account_change_password", "account_logout", "account_login"}


class PasswordChangeMiddleware:
    """Send whoever signed in with a one-time password to choose their own before anything else."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: object, args: object, kwargs: object
    ) -> HttpResponse | None:
        match = request.resolver_match
        if match is None or match.url_name in _OPEN_VIEWS or not self._concerns(request):
            return None
        if getattr(request.user, "must_change_password", False):
            target = reverse("account_change_password")
            is_htmx = bool(getattr(request, "htmx", False))
            return HttpResponseClientRedirect(target) if is_htmx else redirect(target)
        return None

    @staticmethod
    def _concerns(request: HttpRequest) -> bool:
        """Machine calls carry no session; looking at request.user would cost them a query."""
        return settings.SESSION_COOKIE_NAME in request.COOKIES
