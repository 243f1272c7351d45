"""What was drawn for one tab answers others: those who may see the same, and for a moment only."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.core.cache import caches
from django.core.cache.backends.filebased import FileBasedCache
from django.test import Client
from django.utils import timezone

from access.models import User
from access.roles import Role
from dashboard.looks import GOOD_FOR_S
from integrations.models import GoHighLevelIntegration

Make = Callable[..., GoHighLevelIntegration]
MakePerson = Callable[..., User]
SignIn = Callable[..., Client]

URLS = ["/live/overview/", "/live/installs/"]
# Of a page that shows something else, read at some time: what was drawn for others will do.
ANY = "0000000000000000-0"
TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]*)"')


@pytest.fixture(autouse=True)
def clock(settings: Any) -> Iterator[Any]:
    """All in one moment, in a process that has drawn nothing yet; `clock.shift(…)` for later."""
    come_to_process("first", settings)
    caches["looks"].clear()
    with time_machine.travel(timezone.now(), tick=False) as clock:
        yield clock


def come_to_process(name: str, settings: Any) -> None:
    """What is asked for next is answered by this process of the web server."""
    settings.CACHES = settings.CACHES | {"looks": settings.CACHES["looks"] | {"LOCATION": name}}


def poll(client: Client, url: str, version: str = "") -> Any:
    return client.get(url, headers={"HX-Request": "true", "X-Panel-Version": version})


def html_of(answer: Any) -> str:
    assert answer.status_code == 200
    return TOKEN.sub("", answer.content.decode())


@pytest.mark.parametrize("url", URLS)
def test_tabs_that_show_the_same_cost_one_look(
    make_person: MakePerson,
    sign_in: SignIn,
    make_install: Make,
    django_assert_num_queries: Any,
    url: str,
) -> None:
    make_install(name="Harbour Dental")
    vera = sign_in(make_person("vera", Role.OPERATOR))
    otto = sign_in(make_person("otto", Role.OPERATOR))
    drawn = poll(vera, url)
    # session, user, permissions (2)
    with django_assert_num_queries(4):
        assert html_of(poll(otto, url, ANY)) == html_of(drawn)
    with django_assert_num_queries(4):
        assert poll(vera, url, drawn["X-Panel-Version"]).status_code == 204


@pytest.mark.parametrize("url", URLS)
def test_nothing_of_the_person_is_in_a_look(
    make_person: MakePerson, sign_in: SignIn, make_install: Make, url: str
) -> None:
    make_install()
    people = [make_person(name, Role.OWNER) for name in ("vera", "otto")]
    vera, otto = (html_of(poll(sign_in(person), url)) for person in people)
    assert vera == otto


@pytest.mark.parametrize("url", URLS)
def test_a_change_is_seen_when_the_look_is_too_old(
    staff_client: Client, make_install: Make, clock: Any, url: str
) -> None:
    row = make_install(name="Harbour Dental")
    version = poll(staff_client, url)["X-Panel-Version"]
    GoHighLevelIntegration.objects.filter(pk=row.pk).update(name="Old Mill Bakery")
    clock.shift(timedelta(seconds=GOOD_FOR_S - 0.1))
    assert poll(staff_client, url, version).status_code == 204
    clock.shift(timedelta(seconds=0.2))
    assert "Old Mill Bakery" in html_of(poll(staff_client, url, version))


@pytest.mark.parametrize("url", URLS)
def test_who_has_just_clicked_gets_a_look_of_now(
    staff_client: Client, make_install: Make, url: str
) -> None:
    row = make_install()
    assert "Refreshing" not in html_of(poll(staff_client, url))
    staff_client.post(f"/installs/{row.pk}/refresh/", headers={"HX-Request": "true"})
    assert "Refreshing" in html_of(poll(staff_client, url))


@pytest.mark.parametrize("url", URLS)
def test_no_page_is_led_back_by_another_process(
    staff_client: Client, make_install: Make, settings: Any, clock: Any, url: str
) -> None:
    row = make_install(name="Harbour Dental")
    poll(staff_client, url)
    GoHighLevelIntegration.objects.filter(pk=row.pk).update(name="Old Mill Bakery")
    clock.shift(timedelta(seconds=0.1))
    come_to_process("second", settings)
    version = poll(staff_client, url)["X-Panel-Version"]
    come_to_process("first", settings)
    assert poll(staff_client, url, version).status_code == 204


@pytest.mark.parametrize("url", URLS)
def test_the_end_of_a_renewal_is_seen_at_once(
    staff_client: Client, make_install: Make, url: str
) -> None:
    row = make_install(requested_at=timezone.now())
    version = poll(staff_client, url)["X-Panel-Version"]
    GoHighLevelIntegration.objects.filter(pk=row.pk).update(requested_at=None)
    assert "Refreshing" not in html_of(poll(staff_client, url, version))


@pytest.mark.parametrize("url", URLS)
def test_who_may_see_less_gets_none_of_it(
    staff_client: Client, make_person: MakePerson, sign_in: SignIn, make_install: Make, url: str
) -> None:
    make_install(name="Harbour Dental", company_id="agency-1")
    make_install(name="Old Mill Bakery", company_id="agency-2")
    poll(staff_client, url)
    limited = sign_in(make_person("lena", Role.OWNER, agencies=["agency-2"]))
    html = html_of(poll(limited, url, ANY))
    assert "Old Mill Bakery" in html and "Harbour Dental" not in html
    admin = User.objects.create_superuser("ada", password=None, agencies=["agency-2"])
    assert "Harbour Dental" not in html_of(poll(sign_in(admin), url, ANY))


def test_who_may_do_less_gets_no_buttons(
    staff_client: Client, make_person: MakePerson, sign_in: SignIn, make_install: Make
) -> None:
    make_install()
    assert "Refresh selected" in html_of(poll(staff_client, "/live/installs/"))
    viewer = make_person("vera", Role.VIEWER)
    assert "Refresh selected" not in html_of(poll(sign_in(viewer), "/live/installs/", ANY))


@pytest.mark.parametrize("url", URLS)
def test_times_are_in_the_persons_own_zone(
    staff_client: Client, make_person: MakePerson, sign_in: SignIn, make_install: Make, url: str
) -> None:
    make_install()
    assert "IST" not in html_of(poll(staff_client, url))
    person = make_person("vera", Role.OWNER)
    User.objects.filter(pk=person.pk).update(time_zone="Asia/Kolkata")
    assert "IST" in html_of(poll(sign_in(person), url, ANY))


def test_another_search_is_another_look(staff_client: Client, make_install: Make) -> None:
    make_install(name="Harbour Dental")
    make_install(name="Old Mill Bakery")
    poll(staff_client, "/live/installs/?q=harbour")
    html = html_of(poll(staff_client, "/live/installs/?q=bakery", ANY))
    assert "Old Mill Bakery" in html and "Harbour Dental" not in html


def test_its_buttons_work_for_whoever_gets_it(
    staff_client: Client, make_person: MakePerson, sign_in: SignIn, make_install: Make
) -> None:
    row = make_install()
    [theirs] = TOKEN.findall(poll(staff_client, "/live/installs/").content.decode())
    client = Client(enforce_csrf_checks=True)
    sign_in(make_person("otto", Role.OWNER), client=client)
    answer = poll(client, "/live/installs/", ANY)
    [own] = TOKEN.findall(answer.content.decode())
    refresh = f"/installs/{row.pk}/refresh/"
    assert client.post(refresh, {"csrfmiddlewaretoken": theirs}).status_code == 403
    assert client.post(refresh, {"csrfmiddlewaretoken": own}).status_code == 302


@pytest.mark.parametrize("version", ["x", "-", "x-y", "-1", "0-²", "0-" + "9" * 5000])
def test_a_version_that_is_none_of_ours_gets_the_panel(
    staff_client: Client, make_install: Make, version: str
) -> None:
    make_install(name="Harbour Dental")
    assert "Harbour Dental" in html_of(poll(staff_client, "/live/overview/", version))


def test_with_a_full_disk_each_tab_looks_for_itself(
    staff_client: Client, make_install: Make, settings: Any, monkeypatch: Any, tmp_path: Any
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    shared = {"BACKEND": f"{FileBasedCache.__module__}.FileBasedCache", "LOCATION": str(tmp_path)}
    settings.CACHES = settings.CACHES | {"looks": shared}
    monkeypatch.setattr(FileBasedCache, "_write_content", fail)
    make_install(name="Harbour Dental")
    assert "Harbour Dental" in html_of(poll(staff_client, "/live/overview/"))
