"""The browser's side of an install: to HighLevel's consent page, and back with a code."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from functools import wraps
from urllib.parse import urlencode

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_safe

from access.audience import ONLY_SHOWS, Who, audience
from integrations.causes import CAUSES
from integrations.highlevel import (
    CredentialsRefused,
    HighLevelError,
    NotSent,
    OurFault,
    RateLimited,
    Refused,
    Unknown,
)
from integrations.install import install_from_code, missing_settings

logger = logging.getLogger(__name__)

_SESSION_KEY = "install_states"
# HighLevel's sign-in may mail a code in between; people need their time.
STATE_LIFE_S = 3600
MOST_STATES = 10
METHODS = ["GET", "HEAD", "OPTIONS"]


def for_browsers(view: Callable[[HttpRequest], HttpResponse]) -> Callable[..., HttpResponse]:
    """Let GET and HEAD through; OPTIONS is told of them, anything else refused with 405."""

    @csrf_exempt  # nothing is taken that could be forged, and 405 says so better than 403
    @require_http_methods(METHODS)
    @wraps(view)
    def answering(request: HttpRequest) -> HttpResponse:
        if request.method == "OPTIONS":
            return HttpResponse(status=204, headers={"Allow": ", ".join(METHODS)})
        return view(request)

    return answering


@audience(Who.ANYONE, no_audit="It only leads to HighLevel's consent page.")
@for_browsers
@never_cache
def install(request: HttpRequest) -> HttpResponse:
    """Send the browser to HighLevel's consent page with a state that only this session knows.

    HEAD, by which programs try a link, leads there without one.
    """
    missing = missing_settings()
    if missing:
        return _problem(request, "not_configured", 503, missing=missing)
    query = {
        "response_type": "code",
        "client_id": settings.GHL_CLIENT_ID,
        "redirect_uri": settings.GHL_REDIRECT_URI,
        "scope": settings.GHL_SCOPES,
        "version_id": settings.GHL_VERSION_ID,
        "loginWindowOpenMode": "self",
    }
    if request.method == "GET":
        query["state"] = _new_state(request)
    base = settings.GHL_MARKETPLACE_URL.rstrip("/") + settings.GHL_AUTHORIZE_PATH
    return HttpResponseRedirect(f"{base}?{urlencode(query)}")


@audience(Who.ANYONE, no_audit="The install that it finishes is in the install's time line.")
@for_browsers
@never_cache
def callback(request: HttpRequest) -> HttpResponse:
    """Finish an install, ours (with our state) or one begun in HighLevel's marketplace (without).

    A state that is not this session's is refused. Without one the code is exchanged all the same:
    it is bound to our app, and the install is attached to nobody's session. HEAD uses up neither
    state nor code.
    """
    missing = missing_settings()
    if missing:
        return _problem(request, "not_configured", 503, missing=missing)
    if request.method == "HEAD":
        return HttpResponse()
    state = request.GET.get("state")
    if state is not None and not _take_state(request, state):
        return _problem(request, "install_state_wrong", 400)
    if "error" in request.GET:
        return _problem(request, "install_denied", 400)
    code = request.GET.get("code", "").strip()
    if not code:
        return _problem(request, "install_code_missing", 400)
    try:
        row = install_from_code(code)
    except HighLevelError as error:
        logger.warning("Install failed: %s %s", error.cause, error.detail)
        return _problem(request, *_explain(error))
    if state is not None and request.user.is_authenticated and request.user.is_staff:
        return redirect("dashboard:install-detail", pk=row.pk)
    return redirect("integrations:installed")


@audience(Who.ANYONE, no_audit=ONLY_SHOWS)
@for_browsers
def installed(request: HttpRequest) -> HttpResponse:
    """The neutral page at the end: it knows nothing of who was installed."""
    return render(request, "integrations/installed.html")


@audience(Who.ANYONE, no_audit=ONLY_SHOWS)
@require_safe
def help_page(request: HttpRequest) -> HttpResponse:
    """The catalogue of causes, to which each API error links by its code."""
    return render(request, "integrations/help.html", {"causes": CAUSES.values()})


def _explain(error: HighLevelError) -> tuple[str, int]:
    match error:
        case Refused():
            return "install_code_refused", 400
        case CredentialsRefused():
            return "our_credentials", 502
        case NotSent() | Unknown() | RateLimited():
            return "install_unreachable", 503
        case OurFault():
            return "our_request", 502
        case _:
            return error.cause, 502


def _problem(
    request: HttpRequest, code: str, status: int, *, missing: list[str] | None = None
) -> HttpResponse:
    context = {"cause": CAUSES[code], "missing": missing or [], "status": status}
    return render(request, "integrations/install_problem.html", context, status=status)


def _new_state(request: HttpRequest) -> str:
    """Remember one more state: a person may have several tabs open."""
    state = secrets.token_urlsafe(32)
    states = {**_live_states(request), state: int(time.time())}
    newest = sorted(states.items(), key=lambda item: item[1])[-MOST_STATES:]
    request.session[_SESSION_KEY] = dict(newest)
    return state


def _take_state(request: HttpRequest, state: str) -> bool:
    """Use a state up; whether it was this session's. Compared in constant time."""
    states = _live_states(request)
    known = [s for s in states if secrets.compare_digest(s.encode(), state.encode())]
    if not known:
        return False
    request.session[_SESSION_KEY] = {s: at for s, at in states.items() if s not in known}
    return True


def _live_states(request: HttpRequest) -> dict[str, int]:
    oldest = time.time() - STATE_LIFE_S
    states = request.session.get(_SESSION_KEY, {})
    return {state: at for state, at in states.items() if at >= oldest}
