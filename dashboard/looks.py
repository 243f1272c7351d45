"""What was just drawn for one open tab, for the others that show the same.

Tabs ask every few seconds, and between two of them hardly anything changes. So a panel that was
drawn is kept for GOOD_FOR, where all processes of the web server find it, and answers whoever may
see exactly the same: same address and host, same permissions, agencies and time zone. Nothing of
the person themselves is in it; CSRF tokens are put in afterwards (htmx.py).

Nobody is led back by it: a page says when what it shows was read, and gets nothing older. And
while something on it is being refreshed, each tab looks for itself, to see the end at once.
"""

from __future__ import annotations

import hashlib
import time
from contextlib import suppress
from dataclasses import dataclass

from django.core.cache import caches
from django.http import HttpRequest

from access.models import User

# A change is seen within the pace of an active tab (static/js/live.js) and this: below 6 s.
GOOD_FOR_S = 1.5
_REFRESHING = 'data-state="refreshing"'


@dataclass(frozen=True)
class Look:
    """`worst`: what the tab's title and favicon say beside it. `read_at`: when its data began to be
    read, in microseconds since 1970."""

    html: str
    version: str
    worst: str
    read_at: int


def now_us() -> int:
    return time.time_ns() // 1000


def find(request: HttpRequest, user: User, *, since: int) -> Look | None:
    """Return what was drawn for such a person lately, unless it was read before `since`."""
    look: Look | None = caches["looks"].get(_key(request, user))
    return look if look and look.read_at >= since else None


def keep(request: HttpRequest, user: User, look: Look) -> None:
    if _REFRESHING in look.html:
        return
    with suppress(OSError):  # it is a file, and the disk may be full
        caches["looks"].set(_key(request, user), look, GOOD_FOR_S)


def _key(request: HttpRequest, user: User) -> str:
    may = "everything" if user.is_superuser else sorted(user.get_all_permissions())
    sees = [may, sorted(user.agencies), user.time_zone]
    asked = [request.scheme, request.get_host(), request.get_full_path()]
    return hashlib.sha256(repr([sees, asked]).encode()).hexdigest()
