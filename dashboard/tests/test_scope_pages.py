"""Who allows less than the app asks for now."""

from __future__ import annotations

import csv

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from access.roles import Role

pytestmark = pytest.mark.django_db
PAGE, CSV = reverse("dashboard:scope-list"), reverse("dashboard:scope-csv")


@pytest.fixture(autouse=True)
def asks_for(settings):
    settings.GHL_SCOPES = "locations.readonly contacts.readonly"


def read(client, address):
    answer = client.get(address)
    assert answer.status_code == 200
    return answer.content.decode()


def test_it_lists_who_is_behind_with_what_is_missing_and_a_link(staff_client, make_install):
    make_install(scope="locations.readonly", name="Behind Dental")
    make_install(scope="contacts.readonly locations.readonly users.readonly", name="Fine Dental")
    html = read(staff_client, PAGE)
    assert "<strong>1 of 2</strong> accounts allow all" in html
    assert "Behind Dental" in html
    assert "Fine Dental" not in html
    assert "<code>contacts.readonly</code>" in html
    assert "http://localhost/app/install/" in html
    assert "HighLevel asks on its page which account it is for" in html


def test_a_sub_account_of_an_agency_that_allows_all_only_needs_a_new_token(
    staff_client, make_install
):
    agency = make_install(agency=True, scope="locations.readonly contacts.readonly")
    make_install(scope="locations.readonly")
    html = read(staff_client, PAGE)
    assert "Fetch new tokens" in html
    answer = staff_client.post(reverse("dashboard:scope-catch-up", args=[agency.pk]), follow=True)
    assert "Fetching new tokens" in answer.content.decode()


def test_the_next_page_stays_with_the_agency(staff_client, make_install):
    for _ in range(51):
        make_install(scope="locations.readonly", company_id="one&only")
    for address in (PAGE, reverse("dashboard:live-scopes")):
        html = read(staff_client, f"{address}?agency=one%26only")
        assert 'rel="next" href="?agency=one%26only&amp;page=2"' in html
    assert 'rel="prev" href="?agency=one%26only&amp;page=1"' in read(
        staff_client, f"{PAGE}?agency=one%26only&page=2"
    )


def test_the_csv_has_all_of_them_harmless_for_a_spreadsheet(staff_client, make_install):
    for n in range(60):
        make_install(scope="locations.readonly", name=f"=cmd{n}")
    answer = staff_client.get(CSV)
    assert answer.streaming
    text = b"".join(answer.streaming_content).decode("utf-8-sig")
    rows = list(csv.DictReader(text.splitlines()))
    assert len(rows) == 60
    assert rows[0]["account"].startswith("'=cmd")
    assert rows[0]["missing permissions"] == "contacts.readonly"
    assert rows[0]["reconnect link"] == "http://localhost/app/install/"


def test_it_can_be_limited_to_one_agency(staff_client, make_install):
    make_install(scope="locations.readonly", company_id="one", name="Of One")
    make_install(scope="locations.readonly", company_id="two", name="Of Two")
    html = read(staff_client, f"{PAGE}?agency=one")
    assert "Of One" in html
    assert "Of Two" not in html


def test_a_person_limited_to_an_agency_sees_only_its_accounts(make_person, make_install):
    make_install(scope="locations.readonly", company_id="one", name="Of One")
    make_install(scope="locations.readonly", company_id="two", name="Of Two")
    client = Client()
    client.force_login(make_person("olga", Role.OPERATOR, agencies=["one"]))
    assert "Of Two" not in read(client, PAGE)
    assert b"Of Two" not in b"".join(client.get(CSV).streaming_content)


def test_nobody_behind_says_so(staff_client, make_install):
    assert "No account has a token yet." in read(staff_client, PAGE)
    make_install(scope="locations.readonly contacts.readonly")
    assert "Nobody: every connected account allows all of it." in read(staff_client, PAGE)


def test_the_page_makes_the_same_queries_for_few_and_many(staff_client, make_install):
    counted = []
    for n in range(40):
        make_install(scope=f"locations.readonly x{n}")
        if n in (0, 39):
            with CaptureQueriesContext(connection) as asked:
                read(staff_client, PAGE)
            counted.append(len(asked))
    assert counted[0] == counted[1]
