"""What the title and the favicon of each page tell: how many accounts need somebody, and the worst
state of all that the person may see."""

from __future__ import annotations

from django.http import HttpRequest
from django.utils import timezone

from access.models import User
from access.roles import Permission
from dashboard.summary import Summary, summarise
from integrations import snapshots

HEADER = "X-Worst"


def worst_for(user: User) -> Summary:
    """Count all that this person may see, in two queries."""
    return summarise(snapshots.counts(user, timezone.now()))


def worst_on(request: HttpRequest) -> Summary | None:
    """None for whoever may not see the dashboard, as before a sign-in."""
    user = request.user
    if isinstance(user, User) and user.is_staff and user.has_perm(Permission.VIEW):
        return worst_for(user)
    return None


def as_header(summary: Summary) -> str:
    """As static/js/worst.js reads it."""
    return f"{summary.tone} {summary.needs_you}"
