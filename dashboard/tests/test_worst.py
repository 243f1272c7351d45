"""The title and the favicon of each page tell the worst state, and go on telling it."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import time_machine
from django.test import Client
from django.utils import timezone

from access.models import User
from access.roles import Role
from integrations.health import Status
from integrations.models import GoHighLevelIntegration

Make = Callable[..., GoHighLevelIntegration]

PAGES = [
    "/", "/installs/", "/agencies/", "/agencies/agency-1/", "/permissions/", "/events/",
    "/events/figures/", "/alerts/", "/endpoints/", "/jobs/", "/keys/", "/keys/new/", "/people/",
    "/activity/", "/encryption/", "/api/docs", "/me/", "/system/", "/setup/", "/status-links/",
    "/accounts/2fa/", "/accounts/sessions/", "/accounts/password/change/",
]  # fmt: skip
POLLS = [
    "/live/worst/", "/live/overview/", "/live/installs/", "/live/agencies/",
    "/live/agencies/agency-1/", "/live/permissions/", "/live/events/", "/live/alerts/",
    "/live/endpoints/", "/live/jobs/", "/live/system/", "/live/encryption/",
]  # fmt: skip


def told(client: Client, url: str = "/events/") -> tuple[str, str]:
    """Return what stands before the title, and the colour of the favicon."""
    html = client.get(url).content.decode()
    title, icon = (
        re.search(r"<title>(.*)</title>", html),
        re.search(r'id="favicon" href="(.*)"', html),
    )
    assert title and icon
    before, _, _ = title[1].rpartition(") ")
    return before.removeprefix("("), icon[1].rpartition("/")[2].removesuffix(".svg")


@pytest.fixture
def one_refused_of_two(make_install: Make) -> None:
    make_install(name="Harbour Dental", company_id="agency-1")
    make_install(company_id="agency-2", status=Status.REFUSED, cause="refused")


@pytest.mark.parametrize("url", PAGES)
def test_each_page_tells_it(staff_client: Client, one_refused_of_two: None, url: str) -> None:
    assert told(staff_client, url) == ("1", "favicon-red")


@pytest.mark.parametrize("url", POLLS)
def test_each_poll_tells_it(staff_client: Client, one_refused_of_two: None, url: str) -> None:
    answer = staff_client.get(url, headers={"HX-Request": "true"})
    assert answer["X-Worst"] == "red 1"


@pytest.mark.parametrize("url", ["/live/jobs/", "/live/overview/"])
def test_a_poll_of_an_unchanged_panel_tells_it_too(
    staff_client: Client, one_refused_of_two: None, url: str
) -> None:
    with time_machine.travel(timezone.now(), tick=False):
        version = staff_client.get(url)["X-Panel-Version"]
        again = staff_client.get(url, headers={"X-Panel-Version": version})
    assert (again.status_code, again["X-Worst"]) == (204, "red 1")


def test_amber_is_what_recovers_and_green_is_quiet(
    staff_client: Client, make_install: Make
) -> None:
    row = make_install()
    assert told(staff_client) == ("", "favicon-green")
    GoHighLevelIntegration.objects.filter(pk=row.pk).update(failures=1, cause="no_answer")
    assert told(staff_client) == ("", "favicon-amber")


def test_who_is_limited_to_agencies_is_told_of_these(
    make_person: Callable[..., User],
    sign_in: Callable[..., Client],
    one_refused_of_two: None,
) -> None:
    well, unwell = (
        sign_in(make_person(agency, Role.VIEWER, agencies=[agency]))
        for agency in ("agency-1", "agency-2")
    )
    assert told(well) == ("", "favicon-green")
    assert told(unwell) == ("1", "favicon-red")


def test_nobody_is_told_before_the_sign_in(client: Client, one_refused_of_two: None) -> None:
    assert told(client, "/accounts/login/") == ("", "favicon")
    assert "X-Worst" not in client.get("/live/worst/")
