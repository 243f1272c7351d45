from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.http import QueryDict
from django.test import Client
from django.utils import timezone

from dashboard import filters, found, tables
from dashboard.filters import InstallFilter
from integrations import snapshots
from integrations.health import State, Status
from integrations.models import LOCATION, GoHighLevelIntegration
from integrations.states import unwell, well

Make = Callable[..., GoHighLevelIntegration]
HTMX = {"HX-Request": "true"}


def names(answer: Any) -> list[str]:
    """Return the names of the listed accounts, in their order."""
    assert answer.status_code == 200
    return re.findall(r'<a class="install-name"[^>]*>([^<]+)</a>', answer.content.decode())


def fill(n: int) -> None:
    now = timezone.now()
    rows = (
        GoHighLevelIntegration(
            user_type=LOCATION,
            resource_id=f"bulk-{i}",
            name=f"Account {i:05}",
            company_id="agency-1",
            status=Status.ACTIVE,
            expires_at=now + timedelta(hours=20),
            renew_at=now + timedelta(hours=19),
        )
        for i in range(n)
    )
    # PostgreSQL ends a transaction in which nothing happens for 30 s, and one statement of ten
    # thousand rows is long in the making on a busy machine.
    GoHighLevelIntegration.objects.bulk_create(rows, batch_size=1000)


def test_it_shows_what_each_account_is(staff_client: Client, make_install: Make) -> None:
    make_install(name="Harbour Dental", expires_in=timedelta(hours=21, minutes=30))
    html = staff_client.get("/installs/").content.decode()
    for part in (
        "Harbour Dental",
        "Northwind Marketing",
        "Healthy",
        "in 21 h",
        "just now",
        "never",
    ):
        assert part in html
    assert "Refresh now" in html and "Copy install link" in html


def test_the_whole_page_and_the_fragment_come_from_one_address(
    staff_client: Client, make_install: Make
) -> None:
    make_install()
    page = staff_client.get("/installs/").content.decode()
    assert "<html" in page and 'id="installs-panel"' in page
    for url in ("/installs/", "/live/installs/"):
        fragment = staff_client.get(url, headers=HTMX).content.decode().strip()
        assert fragment.startswith('<div id="installs-panel"')
        assert "<html" not in fragment


def test_a_page_that_the_browser_restores_is_whole(staff_client: Client, db: None) -> None:
    restored = HTMX | {"HX-History-Restore-Request": "true"}
    assert b"<html" in staff_client.get("/installs/", headers=restored).content


def test_search_finds_names_and_whole_ids(staff_client: Client, make_install: Make) -> None:
    row = make_install(name="Harbour Dental", resource_id="loc-harbour", company_id="comp-7")
    make_install(name="Old Mill Bakery", company_name="Summit & Stone")
    for text in ("harbour", "DENTAL", "loc-harbour", "comp-7", str(row.pk), f" {row.pk} "):
        assert names(staff_client.get("/installs/", {"q": text})) == ["Harbour Dental"], text
    assert names(staff_client.get("/installs/", {"q": "summit"})) == ["Old Mill Bakery"]


IN_STATE: dict[State, dict[str, Any]] = {
    State.HEALTHY: {},
    State.REFRESHING: {"requested_at": timezone.now() + timedelta(days=1), "failures": 1},
    State.RETRYING: {"failures": 1},
    State.EXPIRING: {"expires_in": timedelta(minutes=20)},
    State.EXPIRED: {"expires_in": timedelta(minutes=-20)},
    State.NEEDS_RECONNECT: {"status": Status.REFUSED},
    State.PAUSED: {"status": Status.PAUSED},
    State.WAITING: {"status": Status.WAITING},
    State.UNINSTALLED: {"status": Status.UNINSTALLED},
    State.DAMAGED: {"status": Status.DAMAGED},
}


@pytest.mark.parametrize("state", State)
def test_each_state_can_be_filtered(staff_client: Client, make_install: Make, state: State) -> None:
    for each, fields in IN_STATE.items():
        make_install(name=f"is {each}", **fields)
    assert names(staff_client.get("/installs/", {"state": state})) == [f"is {state}"]


def test_a_group_of_states_can_be_filtered(staff_client: Client, make_install: Make) -> None:
    for each, fields in IN_STATE.items():
        make_install(name=each, **fields)
    needs_you = names(staff_client.get("/installs/?state=needs_you&sort=name"))
    assert needs_you == ["damaged", "expired", "needs_reconnect"]


def test_the_accounts_of_one_agency_can_be_listed(staff_client: Client, make_install: Make) -> None:
    make_install(name="Hers", company_id="agency-2")
    make_install(name="His", company_id="agency-3")
    assert names(staff_client.get("/installs/?agency=agency-2")) == ["Hers"]


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("", ["Alpha", "Beta", "Gamma"]),
        ("-name", ["Gamma", "Beta", "Alpha"]),
        ("state", ["Beta", "Gamma", "Alpha"]),
        ("-expires", ["Alpha", "Gamma", "Beta"]),
    ],
)
def test_columns_sort_by_what_they_mean(
    staff_client: Client, make_install: Make, sort: str, order: list[str]
) -> None:
    make_install(name="Gamma", failures=1, expires_in=timedelta(hours=9))
    make_install(name="Alpha", expires_in=timedelta(hours=10))
    make_install(name="Beta", status=Status.REFUSED, expires_in=timedelta(hours=8))
    assert names(staff_client.get("/installs/", {"sort": sort})) == order


def test_sorted_by_state_every_account_is_on_one_page_in_its_place(
    staff_client: Client, make_install: Make
) -> None:
    """Pages that begin, end and lie within the unwell, the well and the ended, in both ways."""
    fill(30)
    for n in range(30):
        make_install(name=f"Refused {n:02}", status=Status.REFUSED)
        make_install(name=f"Ended {n:02}", status=Status.UNINSTALLED)
    make_install(name="Account 99999, being renewed", requested_at=timezone.now())
    make_install(name="Zoe’s Failing", failures=1)
    wanted = [f"Refused {n:02}" for n in range(30)] + ["Zoe’s Failing"]
    wanted += [f"Account {n:05}" for n in range(30)] + ["Account 99999, being renewed"]
    wanted += [f"Ended {n:02}" for n in range(30)]
    for sort, order in (("state", wanted), ("-state", wanted[::-1])):
        url = f"/installs/?sort={sort}&page="
        pages = [names(staff_client.get(f"{url}{page}")) for page in (1, 2, 3, 4)]
        assert [len(page) for page in pages] == [25, 25, 25, 17]
        assert list(itertools.chain(*pages)) == order


def test_of_many_the_tiles_numbers_serve_the_list_and_a_search_is_counted_so_far(
    staff_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name, value in (
        (snapshots, "LIVE_UP_TO", 40),
        (filters, "LIVE_UP_TO", 40),
        (found, "PAGED_UP_TO", 50),
        (found, "FOUND_UP_TO", 30),
    ):
        monkeypatch.setattr(module, name, value)
    fill(60)
    snapshots.record(timezone.now())
    for query, said in {
        "": "About 60 accounts, the first 50 by page",
        "?state=healthy": "About 60 accounts found, the first 50 by page",
        "?q=account": "More than 30 accounts found; here any 30, sorted among themselves",
        "?q=account+0001": "10 accounts found",
        "?agency=agency-1": "More than 50 accounts found, the first 50 by page",
    }.items():
        assert said in staff_client.get(f"/installs/{query}").content.decode()
    assert len(names(staff_client.get("/installs/?page=2"))) == 25
    assert len(names(staff_client.get("/installs/?q=account&page=2"))) == 5


def test_of_many_a_list_has_what_changed_since_the_last_look(
    staff_client: Client, make_install: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a worker the tiles' numbers stay as they are."""
    for module in (snapshots, filters):
        monkeypatch.setattr(module, "LIVE_UP_TO", 2)
    fill(3)
    for _ in range(3):
        make_install(name="Zoe's", status=Status.REFUSED)
    snapshots.record(timezone.now())
    GoHighLevelIntegration.objects.filter(name="Account 00001").update(status=Status.DEACTIVATED)
    GoHighLevelIntegration.objects.filter(name="Account 00002").update(status=Status.PAUSED)
    assert names(staff_client.get("/installs/?state=uninstalled")) == ["Account 00001"]
    assert names(staff_client.get("/installs/?state=paused")) == ["Account 00002"]
    assert names(staff_client.get("/installs/?agency=agency-1"))[0] == "Account 00000"


plan_of_sqlite = pytest.mark.skipif(
    connection.vendor != "sqlite", reason="elsewhere plans depend on how many rows there are"
)


@plan_of_sqlite
def test_a_search_reads_no_wide_rows_and_a_list_by_agency_sorts_none(db: None) -> None:
    rows = InstallFilter(QueryDict("q=harbour"), GoHighLevelIntegration.objects.all()).qs
    assert "COVERING INDEX install_names" in rows.order_by().values("pk")[:9].explain()
    by_agency = GoHighLevelIntegration.objects.order_by("company_name", "company_id", "name", "pk")
    plan = by_agency[:25].explain()
    assert "INDEX install_names" in plan and "TEMP B-TREE" not in plan


@plan_of_sqlite
def test_the_plans_for_the_few_find_them_by_index(db: None) -> None:
    now, rows = timezone.now(), GoHighLevelIntegration.objects.all()
    fill(300)
    connection.cursor().execute("ANALYZE")  # with statistics that say: all rows are alike
    unwell_plan = rows.filter(unwell(now)).explain()
    assert "SCAN" not in unwell_plan and "INDEX install_near_end" in unwell_plan
    for limit in (1, 25):
        well_plan = rows.filter(well(now)).order_by("name", "pk")[:limit].explain()
        assert "INDEX install_failing (status=? AND failures=?)" in well_plan


@plan_of_sqlite
@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("sort=-used", "install_used"),
        ("sort=verified", "install_verified"),
        ("sort=renewed&col=renewed", "install_renewed"),
        ("sort=-installed&col=installed", "install_installed"),
        ("sort=highlevel_id&col=highlevel_id", "one_row_per_install"),
        ("agency=agency-2", "install_agency_names"),
    ],
)
def test_each_order_of_a_list_is_an_index_s(db: None, query: str, index: str) -> None:
    fill(300)
    asked = QueryDict(query)
    rows = InstallFilter(asked, GoHighLevelIntegration.objects.all()).qs
    ordered = tables.install_table(found.Found(rows, total=300), asked).data.data
    plan = ordered[:25].explain()
    assert "TEMP B-TREE FOR ORDER BY" not in plan
    expected = "sqlite_autoindex" if index.startswith("one_row") else index
    assert expected in plan


@plan_of_sqlite
@pytest.mark.parametrize("state", ["paused", "uninstalled"])
def test_a_state_of_few_is_found_by_index_also_in_the_order_of_names(db: None, state: str) -> None:
    fill(300)
    connection.cursor().execute("ANALYZE")
    rows = InstallFilter(QueryDict(f"state={state}"), GoHighLevelIntegration.objects.all()).qs
    assert "SCAN" not in rows.order_by("name", "pk")[:25].explain()


def test_a_value_that_is_none_of_ours_leaves_the_others_in_force(
    staff_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among many, too, where what is searched for is not counted by the tiles."""
    for module in (snapshots, filters):
        monkeypatch.setattr(module, "LIVE_UP_TO", 20)
    fill(60)
    snapshots.record(timezone.now())
    html = staff_client.get("/installs/?q=account+0001&state=zzz").content.decode()
    assert "10 accounts found" in html


def test_pages_have_the_size_that_was_asked_for(staff_client: Client, db: None) -> None:
    fill(60)
    assert len(names(staff_client.get("/installs/"))) == 25
    assert names(staff_client.get("/installs/?page=3")) == [
        f"Account {i:05}" for i in range(50, 60)
    ]
    assert len(names(staff_client.get("/installs/?per_page=50"))) == 50
    assert len(names(staff_client.get("/installs/?per_page=1000000"))) == 25


def test_links_keep_what_was_asked_for(staff_client: Client, db: None) -> None:
    fill(60)
    html = staff_client.get("/installs/?q=account&sort=-name&page=2").content.decode()
    assert 'href="/installs/?q=account&amp;sort=-name&amp;page=3"' in html
    assert "/live/installs/?q=account&amp;sort=-name&amp;page=2" in html
    assert 'name="sort" value="-name"' in html


@pytest.mark.parametrize(
    "query",
    [
        "page=x&sort=;drop&state=zzz",
        "page=-1&per_page=x",
        "page=99999999999999999999999",
        "q=%00&state=%00&agency=%00&sort=%00&page=%00",
        "sort=name,-state&sort=zzz",
        "q=" + "a" * 3000,
        "q=%F0%9F%92%A9&state[]=1",
    ],
)
def test_garbage_in_the_address_is_left_out(
    staff_client: Client, make_install: Make, query: str
) -> None:
    make_install()
    for url in ("/installs/", "/live/installs/"):
        assert staff_client.get(f"{url}?{query}").status_code == 200


def test_nothing_found_is_not_the_same_as_nothing_there(
    staff_client: Client, make_install: Make
) -> None:
    assert b"No accounts yet" in staff_client.get("/installs/").content
    make_install()
    html = staff_client.get("/installs/?state=paused").content.decode()
    assert "No accounts in “Paused”." in html and "Clear filter" in html
    assert b"No accounts match this search." in staff_client.get("/installs/?q=zzz").content


@pytest.mark.one_database
@pytest.mark.parametrize("url", ["/installs/", "/live/installs/?state=healthy&sort=state"])
def test_it_makes_the_same_queries_with_ten_and_with_ten_thousand_rows(
    staff_client: Client, django_assert_num_queries: Any, url: str
) -> None:
    # session, user, permissions (2), kept numbers, counts, how many the list has, one page of
    # accounts (by state: of the unwell and of the well); page: demo data
    expected = 9
    fill(10)
    with django_assert_num_queries(expected):
        staff_client.get(url)
    GoHighLevelIntegration.objects.all().delete()
    fill(10_000)
    with django_assert_num_queries(expected):
        answer = staff_client.get(url)
    assert len(names(answer)) == 25
    assert "10,000 accounts" in answer.content.decode()


def test_names_are_never_markup(staff_client: Client, make_install: Make) -> None:
    row = make_install(name="<script>alert(1)</script>", company_name='"><img src=x>')
    for url in ("/", "/installs/", f"/installs/{row.pk}/"):
        html = staff_client.get(url).content.decode()
        assert "<script>alert" not in html and "<img src=x>" not in html


def test_columns_are_chosen_in_the_address(staff_client: Client, make_install: Make) -> None:
    row = make_install()
    html = staff_client.get("/installs/?col=highlevel_id").content.decode()
    assert f'<td data-label="HighLevel id"><code>{row.resource_id}</code></td>' in html
    assert 'data-label="Last used"' not in html
    usual = staff_client.get("/installs/?col=rubbish").content.decode()
    assert 'data-label="Last used"' in usual and 'data-label="HighLevel id"' not in usual


def test_accounts_are_grouped_by_agency_under_its_worst_one(
    staff_client: Client, make_install: Make
) -> None:
    fill(30)
    make_install(name="Zed", company_id="agency-1", company_name="", status=Status.REFUSED)
    make_install(name="Alpha", company_id="agency-2", company_name="Northwind")
    html = staff_client.get("/installs/?group=agency&per_page=25").content.decode()
    assert html.count('class="group-row"') == 1
    title = html.partition('class="group-row"')[2].partition("</tr>")[0]
    # The one that was refused is on the next page.
    assert "agency-1" in title and "Needs reconnect" in title and "Zed" not in html
    assert re.search(r'rel="next" href="[^"]*group=agency', html)
    rest = staff_client.get("/installs/?group=agency&per_page=25&page=2")
    assert names(rest)[-2:] == ["Zed", "Alpha"]
    text = rest.content.decode()
    assert text.count('class="group-row"') == 2
    assert "Healthy" in text.partition("Northwind")[2]
