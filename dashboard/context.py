from __future__ import annotations

from functools import partial
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from access.mail import has_mail_server
from dashboard import demo
from dashboard.links import install_link
from dashboard.navigation import navigation
from dashboard.undo import shown_offer
from dashboard.worst import worst_on


def product(request: HttpRequest) -> dict[str, Any]:
    """What every page of the product may need; the query is made only where it is asked for."""
    return {
        "has_demo_data": SimpleLazyObject(demo.exists),
        "sandbox_url": _sandbox_page(),
        "has_mail_server": has_mail_server(),
        "install_link": install_link(request),
        "undo_offer": SimpleLazyObject(partial(shown_offer, request)),
        "navigation": SimpleLazyObject(partial(navigation, request)),
        "worst": SimpleLazyObject(partial(worst_on, request)),
    }


def _sandbox_page() -> str:
    return f"{settings.SANDBOX_URL.rstrip('/')}/_sandbox/" if settings.SANDBOX_URL else ""
