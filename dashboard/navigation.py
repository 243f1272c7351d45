"""The pages in the top bar: those that the person may open, the frequent ones first."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse

from access.roles import Permission

FIRST = 4


@dataclass(frozen=True)
class Page:
    """`url_name` of the page itself; `stem`: the url names of the pages below begin so; `key`:
    after "g" it leads there (static/js/keyboard.js)."""

    label: str
    icon: str
    url_name: str
    stem: str
    permission: Permission = Permission.VIEW
    key: str = ""


PAGES = [
    Page("Overview", "home", "dashboard:overview", "overview", key="h"),
    Page("Accounts", "list", "dashboard:install-list", "install", key="a"),
    Page("Agencies", "building", "dashboard:agency-list", "agency"),
    Page("Events", "webhook", "dashboard:event-list", "event", key="e"),
    Page("Forwarding", "send", "dashboard:endpoint-list", "endpoint"),
    Page("Alerts", "bell", "dashboard:alert-list", "alert"),
    Page("Bulk renewals", "refresh", "dashboard:job-list", "job"),
    Page("API keys", "key", "dashboard:key-list", "key", Permission.KEYS),
    Page("People", "users", "dashboard:people-list", "people", Permission.PEOPLE),
    Page("Encryption", "lock", "dashboard:encryption", "encryption", Permission.ROTATE),
    Page("Activity", "activity", "dashboard:activity", "activity"),
    Page("Status links", "device-tv", "dashboard:status-link-list", "status-link", Permission.KEYS),
    Page("System", "server", "dashboard:system", "system"),
    Page("Setup", "checklist", "dashboard:setup", "setup"),
]


@dataclass(frozen=True)
class Link:
    label: str
    icon: str
    url: str
    is_here: bool
    key: str = ""


@dataclass(frozen=True)
class Navigation:
    """`first` stand in the bar, `more` in its menu."""

    first: list[Link]
    more: list[Link]

    @property
    def is_in_more(self) -> bool:
        return any(link.is_here for link in self.more)


def navigation(request: HttpRequest) -> Navigation:
    match = request.resolver_match
    here = match.url_name if match and match.url_name else ""
    links = [
        Link(page.label, page.icon, reverse(page.url_name), here.startswith(page.stem), page.key)
        for page in PAGES
        if request.user.has_perm(page.permission)
    ]
    if request.user.is_superuser and admin.site.has_permission(request):
        links.append(Link("Admin", "settings", reverse("admin:index"), False))
    return Navigation(links[:FIRST], links[FIRST:])
