"""The page inside HighLevel: an agency's staff see there how their own accounts are.

HighLevel's page hands its encrypted user data to ours, which sends it here to be decrypted; a
short session of our own follows, in a cookie of its own. Nothing else opens with it: tokens, keys
and every change need a real sign-in. Only these two addresses may stand in a frame, and only in
HighLevel's and the hosts of EMBED_FRAME_ANCESTORS.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from urllib.parse import urlsplit

from django.conf import settings
from django.core.paginator import Paginator
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.cache import add_never_cache_headers
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST, require_safe

from access import embedded, limits
from access.audience import ONLY_SHOWS, Who, audience
from access.audit import record_system
from access.models import EmbeddedSession
from integrations.models import GoHighLevelIntegration
from integrations.sso import NotUserData, UserData, read_user_data

COOKIE = "whatreach_embedded"
PER_PAGE = 50

_NEEDS = "HighLevel's encrypted user data"
_OF_AGENCIES = "This page is for the staff of the agency, not of a sub-account."
_ONCE = "This view has been opened before. Reload the page in HighLevel."
_UNKNOWN = "HighLevel's proof of who you are could not be read. Reload the page in HighLevel."


def in_frame(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Let the answer stand in the frames of HighLevel and the white-label hosts; 404 without
    GHL_SSO_KEY."""

    @wraps(view)
    def framed(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        if not settings.GHL_SSO_KEY:
            raise Http404
        response = view(request, *args, **kwargs)
        response.xframe_options_exempt = True
        response._csp_replace = {  # type: ignore[attr-defined]
            "frame-ancestors": settings.EMBED_FRAME_ANCESTORS
        }
        add_never_cache_headers(response)
        return response

    return framed


@require_safe
@audience(Who.ANYONE, needs=_NEEDS, no_audit=ONLY_SHOWS)
@in_frame
def embedded_page(request: HttpRequest) -> HttpResponse:
    """The accounts, when a session is there; else the page that asks HighLevel who it is."""
    session = embedded.find(request.COOKIES.get(COOKIE, ""), timezone.now())
    if session is not None:
        return _accounts(request, session)
    context = {"origins": " ".join(settings.EMBED_FRAME_ANCESTORS)}
    return render(request, "dashboard/embedded_ask.html", context)


# The cookie that Django would compare is never sent into another site's frame. The user data is
# the proof, and a session that somebody else begins here shows no more than theirs.
@csrf_exempt
@require_POST
@sensitive_post_parameters("payload")
@audience(Who.ANYONE, needs=_NEEDS, audit="embedded.sign_in")
@in_frame
def embedded_session(request: HttpRequest) -> HttpResponse:
    try:
        if not _is_from_our_page(request):
            raise NotUserData("sent by another page")
        person = read_user_data(request.POST.get("payload", ""), settings.GHL_SSO_KEY)
    except NotUserData:
        wait_s = limits.wait_of_address(request.META.get("REMOTE_ADDR"))
        return _refused(request, _UNKNOWN, 429 if wait_s else 403)
    if not person.is_of_agency:
        return _refused(request, _OF_AGENCIES, 403)
    try:
        session, text = _begin(request, person)
    except embedded.ProofUsed:
        session_here = embedded.find(request.COOKIES.get(COOKIE, ""), timezone.now())
        if session_here is None or session_here.proof != person.digest:
            return _refused(request, _ONCE, 403)
        return _accounts(request, session_here)
    response = _accounts(request, session)
    response.set_cookie(
        COOKIE,
        text,
        max_age=embedded.LIFE,
        path="/embedded/",
        secure=True,
        httponly=True,
        samesite="None",
    )
    # Python's cookies know no "Partitioned" before 3.14; without it browsers that block
    # third-party cookies would drop ours.
    response.cookies[COOKIE]["samesite"] = "None; Partitioned"
    return response


def _begin(request: HttpRequest, person: UserData) -> tuple[EmbeddedSession, str]:
    with transaction.atomic():
        session, text = embedded.begin(
            proof=person.digest,
            company_id=person.company_id,
            user_id=person.user_id,
            user_name=person.name,
            now=timezone.now(),
        )
        record_system(
            "embedded.sign_in",
            by=f"{person.name or person.user_id} in HighLevel"[:150],
            target=session,
            user_id=person.user_id,
            address=request.META.get("REMOTE_ADDR", ""),
        )
    return session, text


def _accounts(request: HttpRequest, session: EmbeddedSession) -> HttpResponse:
    rows = GoHighLevelIntegration.objects.filter(company_id=session.company_id)
    rows = rows.without_secrets().order_by("name", "pk")
    context = {
        "now": timezone.now(),
        "session": session,
        "page": Paginator(rows, PER_PAGE).get_page(request.GET.get("page")),
    }
    return render(request, "dashboard/embedded.html", context)


def _refused(request: HttpRequest, sentence: str, status: int) -> HttpResponse:
    context = {"sentence": sentence}
    return render(request, "dashboard/embedded_refused.html", context, status=status)


def _is_from_our_page(request: HttpRequest) -> bool:
    """Browsers say which page a form was sent from."""
    origin = request.headers.get("Origin", "")
    return not origin or urlsplit(origin).netloc == request.get_host()
