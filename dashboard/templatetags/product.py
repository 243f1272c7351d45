from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Any

from django import template
from django.http import QueryDict
from django.templatetags.static import static
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from access.browsers import browser_name
from dashboard import sentences, times
from integrations.models import GoHighLevelIntegration

register = template.Library()

register.filter("browser_name", browser_name)

ICONS = "vendor/tabler-icons-3.52.0.svg"


@register.simple_tag
@cache  # a page has a hundred of them
def icon(name: str, css: str = "") -> SafeString:
    """Draw a symbol of the icon sprite; words beside it say what it means."""
    return format_html(
        '<svg class="icon {}" aria-hidden="true" focusable="false"><use href="{}#{}"/></svg>',
        css,
        static(ICONS),
        name,
    )


@register.simple_tag
def tell(install: GoHighLevelIntegration, now: datetime) -> sentences.Story:
    return sentences.tell(install, now)


@register.simple_tag
def now_time() -> datetime:
    """For pages whose views are not ours and pass no `now`."""
    return timezone.now()


@register.simple_tag
def when(
    moment: datetime | None, now: datetime, empty: str = "never", *, focusable: bool = True
) -> SafeString:
    """Draw a time relative to `now`; the absolute one shows on hover and on focus."""
    if moment is None:
        return format_html('<span class="text-secondary">{}</span>', empty)
    return _time(moment, times.relative(moment, now), focusable=focusable)


@register.simple_tag
def ago(
    moment: datetime | None, now: datetime, empty: str = "never", *, focusable: bool = True
) -> SafeString:
    """As `when`, of what has happened: a clock that is a little ahead, or a row that was written
    while the page was made, does not put it into the future."""
    if moment is None:
        return when(None, now, empty)
    return _time(moment, times.relative(min(moment, now), now), focusable=focusable)


@register.simple_tag
def lasts(until: datetime, now: datetime) -> SafeString:
    """Draw how long it is until a time: "364 days"."""
    return _time(until, times.span(until - now), focusable=True)


def _time(moment: datetime, text: str, *, focusable: bool) -> SafeString:
    return format_html(
        '<time datetime="{}" data-absolute="{}"{}>{}</time>',
        moment.isoformat(timespec="seconds"),
        times.absolute(moment),
        SafeString(' tabindex="0"') if focusable else "",
        text,
    )


@register.filter
def milliseconds(value: int | None) -> str:
    """Show a duration: "340 ms", "2.1 s"."""
    if value is None:
        return ""
    return f"{value} ms" if value < 1000 else f"{value / 1000:.1f} s"


@register.filter
def number(value: int) -> str:
    """Show a count: "1,234"."""
    return f"{value:,}"


@register.filter
def by_whom(caller: str) -> str:
    """Say who asked for something: a person or key by name, or what did by itself."""
    by_itself = {"command": "on the command line", "schedule": "by the schedule"}
    return by_itself.get(caller, f"by {caller or 'nobody known'}")


@register.filter
def count_of(counts: Any, group: str) -> int:
    return int(counts[group])


@register.filter
def of_key(values: Any, key: str) -> Any:
    return values[key]


@register.filter
def words(text: str) -> list[str]:
    return text.split()


@register.filter
def values_of(query: QueryDict, name: str) -> list[str]:
    return query.getlist(name)
