from __future__ import annotations

from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
import time_machine
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from integrations.ending import note_uninstalled
from integrations.health import State, Status
from integrations.install import finish_install, install_from_code, note_installed
from integrations.models import COMPANY, LOCATION, GoHighLevelIntegration
from integrations.tasks import tick

pytestmark = pytest.mark.django_db
CALLBACK = "/app/callback/"
REDIRECT_URI = "http://localhost/app/callback/"


@pytest.fixture
def location(world):
    return world.create_location(world.create_agency("Northwind").id, "Harbour Dental")


def code_for(world, location):
    return world.install(location.company_id, [location.id], bulk=False, redirect_uri=REDIRECT_URI)


def begin(client, prefix="/app"):
    """Start an install in this browser; return the consent page's query."""
    response = client.get(f"{prefix}/install/")
    assert response.status_code == 302
    return {k: v[0] for k, v in parse_qs(urlsplit(response["Location"]).query).items()}


@pytest.mark.parametrize("prefix", ["/app", "/ghl"])
def test_install_sends_the_browser_to_the_consent_page(client, settings, prefix):
    response = client.get(f"{prefix}/install/")
    target = urlsplit(response["Location"])
    assert f"{target.scheme}://{target.netloc}" == settings.GHL_MARKETPLACE_URL
    assert target.path == "/v2/oauth/chooselocation"
    query = begin(client, prefix)
    assert query["client_id"] == settings.GHL_CLIENT_ID
    assert query["version_id"] == settings.GHL_APP_ID
    assert query["redirect_uri"] == settings.GHL_REDIRECT_URI
    assert query["scope"] == settings.GHL_SCOPES
    assert len(query["state"]) >= 32


def test_each_install_link_has_a_state_of_its_own(client):
    assert begin(client)["state"] != begin(client)["state"]


@pytest.mark.parametrize("prefix", ["/app", "/ghl"])
def test_our_own_start_ends_in_a_connected_account(client, world, location, prefix):
    state = begin(client, prefix)["state"]
    code = code_for(world, location)
    response = client.get(f"{prefix}/callback/", {"code": code, "state": state})
    assert response.status_code == 302
    row = GoHighLevelIntegration.objects.get()
    assert (row.user_type, row.resource_id) == (LOCATION, location.id)
    assert row.company_id == location.company_id
    assert row.state(timezone.now()) is State.HEALTHY
    assert row.client_id
    assert row.scope


def test_staff_land_on_the_new_account(staff_client, world, location):
    state = begin(staff_client)["state"]
    response = staff_client.get(CALLBACK, {"code": code_for(world, location), "state": state})
    assert response["Location"] == f"/installs/{GoHighLevelIntegration.objects.get().pk}/"


def test_an_install_begun_in_the_marketplace_is_stored_and_shown_to_nobody(
    staff_client, world, location
):
    response = staff_client.get(CALLBACK, {"code": code_for(world, location)})
    assert response["Location"] == "/app/installed/"
    assert GoHighLevelIntegration.objects.get().status == Status.ACTIVE


def test_a_wrong_state_is_refused_before_the_exchange(client, world, location):
    begin(client)
    code = code_for(world, location)
    response = client.get(CALLBACK, {"code": code, "state": "somebody else's"})
    assert response.status_code == 400
    assert not GoHighLevelIntegration.objects.exists()
    assert client.get(CALLBACK, {"code": code}).status_code == 302  # the code was not used up


@pytest.mark.parametrize("state", ["", "é", "x" * 5000])
def test_a_strange_state_is_refused(client, world, location, state):
    begin(client)
    response = client.get(CALLBACK, {"code": code_for(world, location), "state": state})
    assert response.status_code == 400


def test_a_state_works_once(client, world, location):
    state = begin(client)["state"]
    assert (
        client.get(CALLBACK, {"code": code_for(world, location), "state": state}).status_code == 302
    )
    assert (
        client.get(CALLBACK, {"code": code_for(world, location), "state": state}).status_code == 400
    )


def test_a_state_of_another_browser_is_refused(client, world, location):
    state = begin(client)["state"]
    client.cookies.clear()
    response = client.get(CALLBACK, {"code": code_for(world, location), "state": state})
    assert response.status_code == 400


def test_two_tabs_can_install_side_by_side(client, world):
    states = [begin(client)["state"] for _ in range(2)]
    agency = world.create_agency()
    for state in states:
        code = code_for(world, world.create_location(agency.id))
        assert client.get(CALLBACK, {"code": code, "state": state}).status_code == 302
    assert GoHighLevelIntegration.objects.count() == 2


def test_head_of_the_callback_uses_up_neither_code_nor_state(client, world, location):
    query = {"code": code_for(world, location), "state": begin(client)["state"]}
    answer = client.head(CALLBACK, query)
    assert (answer.status_code, answer.content) == (200, b"")
    assert not GoHighLevelIntegration.objects.exists()
    assert client.get(CALLBACK, query)["Location"] == "/app/installed/"


def test_head_of_install_leads_to_the_consent_page_and_remembers_nothing(client, settings):
    answer = client.head("/app/install/")
    assert answer.status_code == 302
    assert answer["Location"].startswith(settings.GHL_MARKETPLACE_URL)
    assert "state" not in parse_qs(urlsplit(answer["Location"]).query)
    assert not client.cookies and not Session.objects.exists()


@pytest.mark.parametrize("prefix", ["/app", "/ghl"])
@pytest.mark.parametrize("page", ["install", "callback", "installed"])
def test_its_pages_say_which_methods_they_take(world, location, prefix, page):
    client = Client(enforce_csrf_checks=True)
    path = f"{prefix}/{page}/?code={code_for(world, location)}"
    options = client.options(path)
    assert (options.status_code, options.content) == (204, b"")
    assert options["Allow"] == "GET, HEAD, OPTIONS"
    for method in ("post", "put", "patch", "delete", "trace"):
        refused = getattr(client, method)(path)
        assert (refused.status_code, refused.json()["error"]) == (405, "method_not_allowed")
        assert refused["Allow"] == "GET, HEAD, OPTIONS"
    assert not GoHighLevelIntegration.objects.exists()


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"error": "access_denied"}, "cancelled"),
        ({}, "no code"),
        ({"code": "  "}, "no code"),
        ({"code": "0" * 40}, "did not accept the code"),
    ],
)
def test_what_goes_wrong_is_a_clear_page_and_nothing_is_stored(client, world, query, words):
    response = client.get(CALLBACK, query)
    assert response.status_code == 400
    assert words in response.content.decode()
    assert not GoHighLevelIntegration.objects.exists()


def test_a_code_works_once(client, world, location):
    code = code_for(world, location)
    client.get(CALLBACK, {"code": code})
    response = client.get(CALLBACK, {"code": code})
    assert response.status_code == 400
    assert GoHighLevelIntegration.objects.count() == 1


@pytest.mark.parametrize("fault", ["connect_timeout", "slow", "500", "429", "reset"])
def test_highlevel_being_down_is_a_clear_page_and_nothing_is_stored(client, world, location, fault):
    code = code_for(world, location)
    world.fault(fault, route="/oauth/token", after_commit=False)
    response = client.get(CALLBACK, {"code": code})
    assert response.status_code == 503
    assert "HighLevel did not answer" in response.content.decode()
    assert not GoHighLevelIntegration.objects.exists()


def test_without_settings_the_page_names_what_is_missing(client, settings):
    settings.GHL_CLIENT_ID = ""
    settings.GHL_REDIRECT_URI = ""
    for path in ("/app/install/", "/app/callback/?code=x"):
        response = client.get(path)
        assert response.status_code == 503
        page = response.content.decode()
        assert "GHL_CLIENT_ID" in page
        assert "GHL_REDIRECT_URI" in page


@pytest.mark.parametrize("casing", ["snake", "camel-v3"])
def test_both_casings_of_the_answer_are_read(client, world, location, casing):
    world.set_knobs(token_casing=casing)
    client.get(CALLBACK, {"code": code_for(world, location)})
    row = GoHighLevelIntegration.objects.get()
    assert row.open_access_token()
    assert row.open_refresh_token()
    assert row.resource_id == location.id


def test_a_reinstall_keeps_the_id_and_ends_every_fault(client, world, location):
    client.get(CALLBACK, {"code": code_for(world, location)})
    row = GoHighLevelIntegration.objects.get()
    GoHighLevelIntegration.objects.update(status=Status.REFUSED, cause="refused", failures=3)
    client.get(CALLBACK, {"code": code_for(world, location)})
    again = GoHighLevelIntegration.objects.get()
    assert again.pk == row.pk
    assert again.open_refresh_token() != row.open_refresh_token()
    assert (again.status, again.cause, again.failures) == (Status.ACTIVE, "", 0)


def test_names_are_fetched(install_location):
    row = install_location()
    finish_install(row.pk)
    row.refresh_from_db()
    assert row.name == "Harbour Dental"
    assert "@" in row.user_email


def test_sub_accounts_of_a_new_agency_bear_its_name(install_agency):
    agency = install_agency(locations=2)
    finish_install(agency.pk)
    names = GoHighLevelIntegration.objects.values_list("company_name", flat=True)
    assert list(names) == ["Northwind Marketing"] * 3


def test_failing_to_fetch_names_does_not_fail_the_install_and_is_made_up_for(
    world, install_location
):
    row = install_location()
    world.fault("500", route="/locations/")
    finish_install(row.pk)
    row.refresh_from_db()
    assert (row.status, row.name) == (Status.ACTIVE, "")
    with time_machine.travel(timezone.now() + timedelta(minutes=6)):
        tick()
    row.refresh_from_db()
    assert (row.name, row.finish_at) == ("Harbour Dental", None)


def test_a_list_of_sub_accounts_that_cannot_be_had_is_asked_for_again(world, install_agency):
    agency = install_agency(locations=2)
    world.fault("503", route="/oauth/installedLocations")
    finish_install(agency.pk)
    assert not GoHighLevelIntegration.objects.filter(user_type=LOCATION).exists()
    with time_machine.travel(timezone.now() + timedelta(minutes=6)):
        tick()
    connected = GoHighLevelIntegration.objects.filter(user_type=LOCATION, status=Status.ACTIVE)
    assert connected.count() == 2


def test_sub_accounts_refused_meanwhile_heal_when_their_agency_comes_back(
    client, world, install_agency
):
    agency = install_agency(locations=1)
    finish_install(agency.pk)
    tick()
    row = GoHighLevelIntegration.objects.get(user_type=LOCATION)
    world.refuse(agency.resource_id)
    world.refuse(row.resource_id)
    now = timezone.now()
    GoHighLevelIntegration.objects.update(expires_at=now, renew_at=now)
    tick()
    row.refresh_from_db()
    assert row.state(now) is State.NEEDS_RECONNECT
    code = world.install(agency.resource_id, redirect_uri=REDIRECT_URI)
    client.get(CALLBACK, {"code": code})
    tick()
    row.refresh_from_db()
    assert row.state(timezone.now()) is State.HEALTHY


def test_a_bulk_install_ends_with_a_token_for_each_sub_account(world, install_agency):
    agency = install_agency(locations=130)
    assert agency.user_type == COMPANY
    assert agency.is_bulk_installation
    assert finish_install(agency.pk) == 130
    waiting = GoHighLevelIntegration.objects.filter(status=Status.WAITING)
    assert waiting.count() == 130
    # HighLevel allows an agency 100 calls in 10 s: the others are asked to wait, for as many ticks
    # as this machine is slow.
    begun = timezone.now()
    for minute in range(30):
        with time_machine.travel(begun + timedelta(minutes=minute)):
            tick()
        if not waiting.exists():
            break
    rows = GoHighLevelIntegration.objects.filter(user_type=LOCATION)
    assert {row.status for row in rows} == {Status.ACTIVE}
    assert len({row.open_refresh_token() for row in rows}) == 130
    assert all(row.name for row in rows)


def test_one_location_chosen_by_an_agency_is_decided_by_the_answer(client, world):
    agency = world.create_agency(locations=3)
    chosen = world.locations(agency.id)[0]
    code = world.install(agency.id, [chosen.id], bulk=True, redirect_uri=REDIRECT_URI)
    client.get(CALLBACK, {"code": code})
    row = GoHighLevelIntegration.objects.get()
    assert (row.user_type, row.resource_id) == (COMPANY, agency.id)
    finish_install(row.pk)
    tick()
    assert set(
        GoHighLevelIntegration.objects.filter(user_type=LOCATION).values_list("resource_id")
    ) == {(chosen.id,)}


def test_finishing_an_install_twice_changes_nothing(world, install_agency):
    agency = install_agency(locations=2)
    finish_install(agency.pk)
    tick()
    tokens = {row.pk: row.generation for row in GoHighLevelIntegration.objects.all()}
    finish_install(agency.pk)
    tick()
    assert {row.pk: row.generation for row in GoHighLevelIntegration.objects.all()} == tokens


def test_a_sub_account_announced_before_its_agency_waits_and_is_then_connected(
    world, install_agency
):
    agency = world.create_agency(locations=1)
    location = world.locations(agency.id)[0]
    code = world.install(agency.id, redirect_uri=REDIRECT_URI)
    now = timezone.now()
    note_installed(company_id=agency.id, location_id=location.id, occurred_at=now)
    tick()
    row = GoHighLevelIntegration.objects.get()
    assert (row.state(timezone.now()), row.cause) == (State.WAITING, "waiting_for_agency")
    finish_install(install_from_code(code).pk)
    tick()
    row.refresh_from_db()
    assert row.state(timezone.now()) is State.HEALTHY


def test_an_install_event_changes_nothing_about_a_connected_account(install_location):
    row = install_location()
    said = note_installed(
        company_id=row.company_id,
        location_id=row.resource_id,
        occurred_at=timezone.now(),
    )
    row.refresh_from_db()
    assert said == "already known"
    assert row.status == Status.ACTIVE


def uninstall(row, *, minutes=1):
    return note_uninstalled(
        company_id="" if row.location_id else row.resource_id,
        location_id=row.location_id,
        occurred_at=timezone.now() + timedelta(minutes=minutes),
    )


def test_an_uninstall_ends_one_sub_account(install_location):
    row, other = install_location(), install_location()
    assert uninstall(row) == "1 ended"
    row.refresh_from_db()
    other.refresh_from_db()
    assert (row.state(timezone.now()), row.renew_at) == (State.UNINSTALLED, None)
    assert other.status == Status.ACTIVE


def test_an_uninstall_older_than_the_install_is_ignored(install_location):
    row = install_location()
    assert "older" in uninstall(row, minutes=-5)
    row.refresh_from_db()
    assert row.status == Status.ACTIVE


def test_an_agencys_uninstall_ends_its_sub_accounts(install_agency, install_location):
    agency = install_agency(locations=2)
    finish_install(agency.pk)
    tick()
    stranger = install_location()
    assert uninstall(agency) == "3 ended"
    ended = GoHighLevelIntegration.objects.filter(status=Status.UNINSTALLED)
    assert {row.company_id for row in ended} == {agency.resource_id}
    stranger.refresh_from_db()
    assert stranger.status == Status.ACTIVE


def test_a_reinstall_after_an_uninstall_brings_the_same_row_back(client, world, location):
    client.get(CALLBACK, {"code": code_for(world, location)})
    row = GoHighLevelIntegration.objects.get()
    uninstall(row)
    client.get(CALLBACK, {"code": code_for(world, location)})
    again = GoHighLevelIntegration.objects.get()
    assert (again.pk, again.status) == (row.pk, Status.ACTIVE)
