"""HTML pages, rendered by an engine of the sandbox's own: no product context takes part."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from django.http import HttpResponse
from django.template import Context, Engine

_TEMPLATES = Path(__file__).resolve().parent.parent / "templates"


@cache
def _engine() -> Engine:
    return Engine(dirs=[str(_TEMPLATES)])


def page(name: str, context: dict[str, object], status: int = 200) -> HttpResponse:
    """The page templates/sandbox/<name>.html."""
    html = _engine().get_template(f"sandbox/{name}.html").render(Context(context))
    return HttpResponse(html, status=status, headers={"Cache-Control": "no-store"})


def see_other(url: str) -> HttpResponse:
    """The browser goes on to `url` with a GET."""
    return HttpResponse(status=303, headers={"Location": url})
