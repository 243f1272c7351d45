"""What pages and fragments share: who may see them, and how a fragment is answered."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import resolve_url
from django.template.loader import render_to_string
from django.utils.cache import add_never_cache_headers, patch_vary_headers
from django.utils.http import url_has_allowed_host_and_scheme, urlencode
from django_htmx.http import HttpResponseClientRedirect, trigger_client_event
from django_htmx.middleware import HtmxDetails

VERSION_HEADER = "X-Panel-Version"
_CSRF_VALUE = re.compile(r'(?<=name="csrfmiddlewaretoken" value=")[^"]*')


class HtmxRequest(HttpRequest):
    htmx: HtmxDetails


View = Callable[..., HttpResponse]


def staff_page(view: View) -> View:
    """Let signed-in staff in; send others to sign-in (also from within an htmx request), or 403."""

    @wraps(view)
    def guarded(request: HtmxRequest, *args: object, **kwargs: object) -> HttpResponse:
        if not request.user.is_authenticated:
            return _to_sign_in(request)
        if not request.user.is_staff:
            raise PermissionDenied
        response = view(request, *args, **kwargs)
        add_never_cache_headers(response)
        patch_vary_headers(response, ["HX-Request"])
        return response

    return guarded


def wants_partial(request: HtmxRequest) -> bool:
    """Whether htmx swaps the answer into a page that is already there."""
    htmx = request.htmx
    return bool(htmx) and not htmx.boosted and not htmx.history_restore_request


def panel(request: HtmxRequest, template: str, context: Mapping[str, Any]) -> HttpResponse:
    """Return a fragment, or 204 when the page already shows the same.

    The browser sends back the version it got; a CSRF token in it differs each time by design.
    """
    html = render_to_string(template, dict(context), request)
    version = hashlib.sha256(_CSRF_VALUE.sub("", html).encode()).hexdigest()[:16]
    if request.headers.get(VERSION_HEADER) == version:
        return HttpResponse(status=204)
    return HttpResponse(html, headers={VERSION_HEADER: version})


def announce_change(response: HttpResponse) -> HttpResponse:
    """Have the live parts of the page look at once."""
    return trigger_client_event(response, "install-changed")


def toast(response: HttpResponse, text: str, tone: str = "green") -> HttpResponse:
    """Have the page show a short message."""
    return trigger_client_event(response, "toast", {"text": text, "tone": tone})


def next_page(request: HttpRequest, default: str) -> str:
    """Return the page that a form came from, if it is one of ours; else `default`."""
    target = request.POST.get("next", "")
    hosts = {request.get_host()}
    is_ours = url_has_allowed_host_and_scheme(target, hosts, require_https=request.is_secure())
    return target if is_ours else resolve_url(default)


def _to_sign_in(request: HtmxRequest) -> HttpResponse:
    if request.htmx:
        back_to = request.htmx.current_url_abs_path or resolve_url("dashboard:overview")
        return HttpResponseClientRedirect(
            f"{resolve_url('account_login')}?{urlencode({'next': back_to})}"
        )
    is_page = request.method in ("GET", "HEAD")
    return redirect_to_login(request.get_full_path() if is_page else "/")
