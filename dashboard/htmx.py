"""What pages and fragments share: who may see them, and how a fragment is answered."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from allauth.account.adapter import get_adapter
from allauth.core.exceptions import ReauthenticationRequired
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, QueryDict
from django.http.response import HttpResponseBase
from django.middleware.csrf import get_token
from django.shortcuts import resolve_url
from django.template.loader import render_to_string
from django.utils.cache import add_never_cache_headers, patch_vary_headers
from django.utils.http import url_has_allowed_host_and_scheme, urlencode
from django_htmx.http import HttpResponseClientRedirect, trigger_client_event
from django_htmx.middleware import HtmxDetails

from access.audience import ONLY_SHOWS, Who, audience
from access.audit import is_recorded, record
from access.models import AuditEvent, User
from access.roles import Permission
from access.sudo import is_confirmed
from dashboard import looks
from dashboard.worst import HEADER as WORST_HEADER
from dashboard.worst import as_header, worst_for
from integrations.models import GoHighLevelIntegration, IntegrationQuerySet

VERSION_HEADER = "X-Panel-Version"
# What `{% csrf_token %}` draws in a panel until it is known who gets it. No account's name can
# look like that: its quotation marks are escaped.
_NOBODYS = "-"
_CSRF_FIELD = 'name="csrfmiddlewaretoken" value="{}"'


class VisitorRequest(HttpRequest):
    htmx: HtmxDetails


class HtmxRequest(VisitorRequest):
    """What a view behind `staff_page` gets: somebody is signed in."""

    user: User


View = Callable[..., HttpResponseBase]


def staff_page(
    permission: Permission = Permission.VIEW,
    *,
    audit: str = "",
    no_audit: str = "",
    sudo: bool = False,
) -> Callable[[View], View]:
    """Let in signed-in staff with this permission; send others to sign-in (also from within an
    htmx request), or 403.

    `audit`: the action that a change through this page leaves in the trail. The view records it
    with `audit.record`, in the transaction of the change; what it did not record is recorded
    here. A page without `audit` only shows, and takes no other method than GET and HEAD, unless
    `no_audit` says why what it changes needs no record.

    `sudo`: only who proved within the last 15 minutes who they are; others are led through that
    and back. A form that they had sent is then carried out; from within an htmx request they come
    back to the page and click again.
    """

    def decorate(view: View) -> View:
        methods = ["GET", "HEAD", "POST"] if audit or no_audit else ["GET", "HEAD"]

        @wraps(view)
        def guarded(request: VisitorRequest, *args: object, **kwargs: object) -> HttpResponseBase:
            if not request.user.is_authenticated:
                return _to_sign_in(request)
            if not (request.user.is_staff and request.user.has_perm(permission)):
                raise PermissionDenied
            if request.method not in methods:
                return HttpResponseNotAllowed(methods)
            if sudo and not is_confirmed(request):
                return _to_confirmation(request)
            response = view(request, *args, **kwargs)
            if audit and request.method == "POST" and not is_recorded(request):
                _record_ending(request, audit, response)
            add_never_cache_headers(response)
            patch_vary_headers(response, ["HX-Request"])
            return response

        declare = audience(
            Who.STAFF,
            needs=permission,
            audit=audit,
            no_audit=no_audit or ("" if audit else ONLY_SHOWS),
        )
        return declare(guarded)

    return decorate


def _record_ending(request: HttpRequest, action: str, response: HttpResponseBase) -> None:
    refused = response.status_code >= 400
    record(request, action, outcome=AuditEvent.REFUSED if refused else AuditEvent.DONE)


def installs_of(request: HtmxRequest) -> IntegrationQuerySet:
    """The installs that this person may see, without their tokens."""
    return GoHighLevelIntegration.objects.visible_to(request.user).without_secrets()


def wants_partial(request: HtmxRequest) -> bool:
    """Whether htmx swaps the answer into a page that is already there."""
    htmx = request.htmx
    return bool(htmx) and not htmx.boosted and not htmx.history_restore_request


def panel(request: HtmxRequest, template: str, context: Mapping[str, Any]) -> HttpResponse:
    """Return a fragment, or 204 when the page already shows the same.

    The browser sends back the version it got; a CSRF token in it differs each time by design.
    """
    html, version, worst = _draw(request, template, context)
    headers = {VERSION_HEADER: version, WORST_HEADER: worst}
    if request.headers.get(VERSION_HEADER) == version:
        return HttpResponse(status=204, headers=headers)
    return HttpResponse(_with_csrf_token(html, request), headers=headers)


def shared_panel(
    request: HtmxRequest, template: str, read: Callable[[], Mapping[str, Any]]
) -> HttpResponse:
    """As `panel`, for one that many have open all day: what was just drawn for somebody who may
    see the same is good for a moment (looks.py), so that a poll need not read anything.

    The version also says when its data was read. Who sends none, as after a click, gets a panel
    that is read now.
    """
    shown, _, since = request.headers.get(VERSION_HEADER, "").partition("-")
    user = request.user
    look = looks.find(request, user, since=int(since[:20])) if since.isdecimal() else None
    if look is None:
        read_at = looks.now_us()
        look = looks.Look(*_draw(request, template, read()), read_at)
        looks.keep(request, user, look)
    headers = {VERSION_HEADER: f"{look.version}-{look.read_at}", WORST_HEADER: look.worst}
    if look.version == shown:
        return HttpResponse(status=204, headers=headers)
    return HttpResponse(_with_csrf_token(look.html, request), headers=headers)


def _draw(request: HtmxRequest, template: str, context: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return the fragment without CSRF tokens; its version, the same for the same content; and
    what the tab says of all accounts (worst.py)."""
    html = render_to_string(template, {**context, "csrf_token": _NOBODYS}, request)
    worst = context.get("worst") or worst_for(request.user)
    return html, hashlib.sha256(html.encode()).hexdigest()[:16], as_header(worst)


def _with_csrf_token(html: str, request: HtmxRequest) -> str:
    empty = _CSRF_FIELD.format(_NOBODYS)
    return html.replace(empty, _CSRF_FIELD.format(get_token(request))) if empty in html else html


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


def list_as_shown(url_name: str, asked: QueryDict) -> str:
    """Return the list with the filter and the order of the form's `query`."""
    query = QueryDict(asked.get("query", "")).urlencode()
    return f"{resolve_url(url_name)}?{query}".rstrip("?")


def _to_confirmation(request: VisitorRequest) -> HttpResponse:
    if not request.htmx:
        raise ReauthenticationRequired  # allauth keeps the form and carries it out afterwards
    back_to = request.htmx.current_url_abs_path or resolve_url("dashboard:overview")
    methods = get_adapter(request).get_reauthentication_methods(request.user)
    if not methods:
        raise PermissionDenied
    return HttpResponseClientRedirect(f"{methods[0]['url']}?{urlencode({'next': back_to})}")


def _to_sign_in(request: VisitorRequest) -> HttpResponse:
    if request.htmx:
        back_to = request.htmx.current_url_abs_path or resolve_url("dashboard:overview")
        return HttpResponseClientRedirect(
            f"{resolve_url('account_login')}?{urlencode({'next': back_to})}"
        )
    is_page = request.method in ("GET", "HEAD")
    return redirect_to_login(request.get_full_path() if is_page else "/")
