from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.cache import add_never_cache_headers
from django.utils.deprecation import MiddlewareMixin
from django_htmx.http import HttpResponseClientRedirect

from access.mfa import UnreadableFactor, lacks_required_factor
from access.times import zone_of

# What a person with a one-time password still needs.
_OPEN_VIEWS = {"account_change_password", "account_logout", "account_login"}
# What a person who has yet to set up a second factor still needs.
_FACTOR_VIEWS = _OPEN_VIEWS | {"account_reauthenticate"}


class PasswordChangeMiddleware(MiddlewareMixin):
    """Send whoever signed in with a one-time password to choose their own before anything else."""

    def process_view(
        self, request: HttpRequest, view: object, args: object, kwargs: object
    ) -> HttpResponse | None:
        if _view_name(request) in _OPEN_VIEWS or not _has_session(request):
            return None
        if getattr(request.user, "must_change_password", False):
            return _lead_to(request, "account_change_password")
        return None


class SecondFactorMiddleware(MiddlewareMixin):
    """Send whoever has a role of REQUIRE_MFA_FOR, and no second factor, to set one up first."""

    def process_view(
        self, request: HttpRequest, view: object, args: object, kwargs: object
    ) -> HttpResponse | None:
        name = _view_name(request)
        if name in _FACTOR_VIEWS or name.startswith("mfa_") or not _has_session(request):
            return None
        if request.user.is_authenticated and lacks_required_factor(request.user):
            return _lead_to(request, "mfa_index")
        return None

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """The pages about second factors read them to show what is left."""
        if isinstance(error, UnreadableFactor):
            return render(request, "errors/409_factor.html", status=409)
        return None


class TimeZoneMiddleware:
    """Show times in the person's own zone."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        try:
            return self.get_response(request)
        finally:
            timezone.deactivate()

    def process_view(
        self, request: HttpRequest, view: object, args: object, kwargs: object
    ) -> HttpResponse | None:
        name = getattr(request.user, "time_zone", "") if _has_session(request) else ""
        if name:
            timezone.activate(zone_of(name))
        return None


class HtmlNotKeptMiddleware(MiddlewareMixin):
    """Let nobody keep a page that says nothing about it: allauth's show recovery codes."""

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        is_html = response.get("Content-Type", "").startswith("text/html")
        if is_html and not response.has_header("Cache-Control"):
            add_never_cache_headers(response)
        return response


def _has_session(request: HttpRequest) -> bool:
    """Machine calls carry no session; looking at request.user would cost them a query."""
    return settings.SESSION_COOKIE_NAME in request.COOKIES


def _view_name(request: HttpRequest) -> str:
    match = request.resolver_match
    return (match.url_name or "") if match else ""


def _lead_to(request: HttpRequest, name: str) -> HttpResponse:
    target = reverse(name)
    is_htmx = bool(getattr(request, "htmx", False))
    return HttpResponseClientRedirect(target) if is_htmx else redirect(target)
