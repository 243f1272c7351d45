"""The pages of agencies: health, and HighLevel's list beside ours."""

from __future__ import annotations

from datetime import timedelta

import pytest
import time_machine
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django.utils.module_loading import import_string
from django_q.models import OrmQ

from access.models import AuditEvent
from access.roles import Role
from integrations.health import Status
from integrations.models import LOCATION, Comparison, GoHighLevelIntegration
from integrations.tasks import tick

pytestmark = pytest.mark.django_db
ROWS = GoHighLevelIntegration.objects
LIST = reverse("dashboard:agency-list")


def url(name, agency):
    return reverse(f"dashboard:{name}", args=[agency.resource_id])


def work():
    while entry := OrmQ.objects.order_by("pk").first():
        task = entry.task
        entry.delete()
        import_string(task["func"])(*task["args"], **task["kwargs"])


@pytest.fixture
def agency(world, install_agency):
    row = install_agency(locations=3)
    work()
    tick()
    row.refresh_from_db()
    return row


@pytest.fixture
def differing(world, agency):
    """One new sub-account and one that is gone at HighLevel, of which nobody told us."""
    new = world.create_location(agency.resource_id, "Opened Unheard")
    world.install(agency.resource_id, [new.id])
    gone = ROWS.filter(user_type=LOCATION).order_by("name").first()
    world.uninstall(gone.resource_id)
    with time_machine.travel(timezone.now() + timedelta(minutes=1)):
        yield new, gone


def read(client, address, **options):
    answer = client.get(address, **options)
    assert answer.status_code == 200
    return answer.content.decode()


def test_the_agency_page_shows_its_health_and_its_accounts(staff_client, agency):
    html = read(staff_client, url("agency-detail", agency))
    assert "All 4 accounts are connected." in html
    assert 'role="img"' in html
    for row in ROWS.all():
        assert row.name in html
    assert "th-expires" in html and "th-agency" not in html
    assert "All 4 allow all that the app asks for." in html


def test_the_list_says_how_each_agency_is(staff_client, make_install):
    for company_id, status in (("good", Status.ACTIVE), ("bad", Status.REFUSED)):
        make_install(agency=True, company_id=company_id, name=company_id.title())
        make_install(company_id=company_id, status=status)
    # A renewal that runs after it failed before.
    now = timezone.now()
    make_install(company_id="bad", failures=2, lease_until=now + timedelta(minutes=1))
    html = " ".join(read(staff_client, LIST).split())
    bad, good = html[html.index(">Bad<") : html.index(">Good<")], html[html.index(">Good<") :]
    assert "1 account needs you. 1 is recovering, 1 is fine." in bad and "33 % healthy" in bad
    assert "Compare all with HighLevel" in html
    assert "All 2 accounts are connected." in good and "100 % healthy" in good


def test_a_limited_person_sees_their_agency_in_the_list_alone(make_person, make_install):
    for company_id in ("mine", "theirs"):
        make_install(agency=True, company_id=company_id, name=company_id.title())
        make_install(company_id=f"{company_id}-too", company_name=f"{company_id.title()} Too")
    client = Client()
    client.force_login(make_person("kim", Role.VIEWER, agencies=["mine", "mine-too"]))
    html = read(client, LIST)
    assert "Mine" in html and "Mine Too" in html and "Theirs" not in html


def test_an_agency_that_is_not_connected_itself_has_a_page_too(staff_client, install_location):
    row = install_location()
    address = reverse("dashboard:agency-detail", args=[row.company_id])
    assert "The agency is not connected itself" in read(staff_client, address)
    assert row.company_id in read(staff_client, f"/installs/{row.pk}/")


def test_agencies_that_only_sub_accounts_tell_of_are_in_the_list_and_marked(
    staff_client, make_install
):
    make_install(agency=True, company_id="own", name="Connected Agency")
    make_install(company_id="own", company_name="Connected Agency")
    make_install(company_id="told", company_name="Pixel & Pine", status=Status.REFUSED)
    make_install(company_id="told", company_name="Pixel & Pine")
    make_install(company_id="", company_name="")
    html = " ".join(read(staff_client, LIST).split())
    connected, told = html.split("Not connected themselves</h2>")
    assert "Connected Agency" in connected and "Pixel" not in connected
    assert "the sub-accounts chosen there connect by themselves" in told
    assert reverse("dashboard:agency-detail", args=["told"]) in told and "Pixel &amp; Pine" in told
    assert "1 account needs you. 1 is fine." in told and told.count("Not connected itself") == 1
    assert "Connected Agency" not in told and "stand in the list" not in told


def test_more_agencies_than_the_page_shows_are_in_the_list_of_accounts(
    staff_client, make_install, monkeypatch
):
    for n in range(3):
        make_install(company_id=f"agency-{n}", company_name=f"Agency {n}")
    monkeypatch.setattr("dashboard.agency.MOST_SHOWN", 2)
    html = read(staff_client, LIST)
    assert "Agency 1" in html and "Agency 2" not in html and "the first 2 of 3" in html
    assert "/installs/?group=agency" in html
    # Nobody looks for them among so many accounts.
    monkeypatch.setattr("integrations.snapshots.LIVE_UP_TO", 2)
    html = read(staff_client, LIST)
    assert "Agency 1" not in html and "/installs/?group=agency" in html


def test_comparing_by_click_shows_three_columns(staff_client, agency, differing):
    new, gone = differing
    answer = staff_client.post(url("agency-compare", agency))
    assert answer["Location"] == url("agency-reconcile", agency)
    assert "Comparing…" in read(staff_client, url("agency-reconcile", agency))
    work()
    html = read(staff_client, url("agency-reconcile", agency))
    assert "1 missing here, 1 missing at HighLevel" in html
    here, there, same = (html.index(f'id="{name}-title"') for name in ("here", "there", "same"))
    assert here < html.index(new.name) < there < html.index(gone.name) < same
    assert AuditEvent.objects.get().action == "agency.compare"
    assert "1 missing here, 1 missing there" in read(staff_client, LIST)


def test_a_missing_token_is_fetched_with_one_click(staff_client, agency, differing):
    new, _gone = differing
    staff_client.post(url("agency-compare", agency))
    work()
    answer = staff_client.post(url("agency-fetch", agency), {"ids": new.id}, follow=True)
    assert "Fetching 1 account" in answer.content.decode()
    work()
    assert ROWS.get(resource_id=new.id).status == Status.ACTIVE
    html = read(staff_client, url("agency-reconcile", agency))
    assert "0 missing here, 1 missing at HighLevel" in html


def test_all_missing_tokens_are_fetched_with_one_click(staff_client, agency, differing):
    new, _gone = differing
    staff_client.post(url("agency-compare", agency))
    work()
    answer = staff_client.post(url("agency-fetch", agency), {"all": "1"}, follow=True)
    assert "Fetching 1 account" in answer.content.decode()
    work()
    assert ROWS.get(resource_id=new.id).status == Status.ACTIVE


def test_marking_as_uninstalled_asks_first_and_names_whom(staff_client, agency, differing):
    _new, gone = differing
    staff_client.post(url("agency-compare", agency))
    work()
    asked = staff_client.post(url("agency-end-missing", agency), {"ids": str(gone.pk)})
    html = asked.content.decode()
    assert asked.status_code == 200
    assert "Mark 1 account of" in html
    assert gone.name in html
    work()
    gone.refresh_from_db()
    assert gone.status == Status.ACTIVE
    staff_client.post(
        url("agency-end-missing", agency), {"ids": str(gone.pk), "confirmed": "1"}, follow=True
    )
    work()
    gone.refresh_from_db()
    assert (gone.status, gone.cause) == (Status.UNINSTALLED, "not_listed")
    assert AuditEvent.objects.filter(action="agency.end_missing").count() == 2


def test_nothing_ticked_ends_nothing(staff_client, agency, differing):
    staff_client.post(url("agency-compare", agency))
    work()
    data = {"ids": "nonsense", "confirmed": "1"}
    answer = staff_client.post(url("agency-end-missing", agency), data, follow=True)
    assert "Tick the accounts" in answer.content.decode()
    work()
    assert not ROWS.filter(status=Status.UNINSTALLED).exists()


def test_all_agencies_are_compared_with_one_click(staff_client, agency, make_install):
    make_install(agency=True, company_id="off", status=Status.REFUSED, name="Off Agency")
    answer = staff_client.post(reverse("dashboard:agency-compare-all"), follow=True)
    assert "Comparing 1 agency" in answer.content.decode()
    work()
    html = read(staff_client, LIST)
    assert "All 3 are on both lists" in html
    assert "Never compared" in html


def test_a_comparison_that_failed_says_why(staff_client, agency):
    Comparison.objects.create(
        agency=agency, begun_at=timezone.now(), ended_at=timezone.now(), cause="server_error"
    )
    html = read(staff_client, url("agency-reconcile", agency))
    assert "Not compared: HighLevel has a fault" in html


def test_an_agency_that_is_not_connected_is_not_compared(staff_client, make_install):
    row = make_install(agency=True, status=Status.REFUSED)
    answer = staff_client.post(url("agency-compare", row), follow=True)
    assert "cannot be read" in answer.content.decode()
    assert not Comparison.objects.exists()


@pytest.mark.parametrize("name", ["agency-detail", "agency-reconcile"])
@pytest.mark.parametrize("company_id", ["nobody", "%00", "é" * 90])
def test_an_unknown_agency_is_not_found(staff_client, name, company_id):
    path = reverse(f"dashboard:{name}", args=["x"]).replace("/x/", f"/{company_id}/")
    assert staff_client.get(path).status_code == 404


def test_an_id_of_any_shape_has_a_page(staff_client, make_install):
    row = make_install(agency=True, company_id="a/b %é?#", name="Odd Agency")
    assert "Odd Agency" in read(staff_client, url("agency-detail", row))
    sub_account = make_install(company_id="a/b %é?#")
    assert url("agency-detail", row) in read(staff_client, f"/installs/{sub_account.pk}/")


def test_a_nul_in_a_form_finds_nothing(staff_client, agency):
    staff_client.post(url("agency-compare", agency))
    work()
    answer = staff_client.post(url("agency-fetch", agency), {"ids": "a\x00"}, follow=True)
    assert "Nothing to fetch" in answer.content.decode()
    assert staff_client.get("/permissions/?agency=%00").status_code == 200


def test_a_person_limited_to_another_agency_sees_none_of_it(make_person, agency):
    client = Client()
    client.force_login(make_person("olga", Role.OWNER, agencies=["another"]))
    for name in ("agency-detail", "agency-reconcile", "live-agency", "live-reconcile"):
        assert client.get(url(name, agency)).status_code == 404
    for name in ("agency-compare", "agency-fetch", "agency-end-missing"):
        assert client.post(url(name, agency)).status_code == 404
    assert agency.name not in read(client, LIST)


def test_a_viewer_sees_no_button_and_may_not_press_it(make_person, agency):
    client = Client()
    client.force_login(make_person("vera", Role.VIEWER))
    assert "Compare now" not in read(client, url("agency-detail", agency))
    assert client.post(url("agency-compare", agency)).status_code == 403


@pytest.mark.parametrize(
    ("name", "root"), [("live-agency", "agency-panel"), ("live-reconcile", "reconcile-panel")]
)
def test_the_live_part_is_a_fragment_and_silent_while_nothing_changes(
    staff_client, agency, name, root
):
    with time_machine.travel(timezone.now(), tick=False):
        first = staff_client.get(url(name, agency))
        assert "<html" not in first.content.decode()
        assert f'id="{root}"' in first.content.decode()
        version = first["X-Panel-Version"]
        again = staff_client.get(url(name, agency), headers={"X-Panel-Version": version})
    assert again.status_code == 204


@pytest.mark.parametrize("name", ["agency-detail", "agency-reconcile"])
def test_a_page_makes_the_same_queries_for_few_and_many_accounts(
    staff_client, agency, make_install, name
):
    staff_client.post(url("agency-compare", agency))
    work()
    with CaptureQueriesContext(connection) as few:
        read(staff_client, url(name, agency))
    for n in range(40):
        make_install(company_id=agency.resource_id, scope=f"a b{n}")
    with CaptureQueriesContext(connection) as many:
        read(staff_client, url(name, agency))
    assert len(many) == len(few) <= 17


def test_the_list_of_agencies_makes_the_same_queries_for_few_and_many(staff_client, make_install):
    counted = []
    for n in range(20):
        row = make_install(agency=True, company_id=f"agency-{n}")
        make_install(company_id=f"told-{n}")
        now = timezone.now()
        Comparison.objects.create(agency=row, begun_at=now, ended_at=now)
        if n in (1, 19):
            with CaptureQueriesContext(connection) as asked:
                read(staff_client, LIST)
            counted.append(len(asked))
    assert counted[0] == counted[1]
