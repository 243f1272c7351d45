from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from dashboard import demo
from dashboard.links import install_link


def product(request: HttpRequest) -> dict[str, Any]:
    """What every page of the product may need; the query is made only where it is asked for."""
    return {
        "has_demo_data": SimpleLazyObject(demo.exists),
        "sandbox_url": _sandbox_page(),
        "install_link": install_link(request),
    }


def _sandbox_page() -> str:
    return f"{settings.SANDBOX_URL.rstrip('/')}/_sandbox/" if settings.SANDBOX_URL else ""
