"""Installs begin and end by events: the same end, whatever the order of callback and events."""

from __future__ import annotations

import json
from datetime import timedelta
from itertools import permutations

import pytest
from django.utils import timezone
from django_q.models import OrmQ

from conftest import REDIRECT_URI
from integrations.ending import note_uninstalled
from integrations.health import State, Status
from integrations.install import note_installed
from integrations.models import COMPANY, LOCATION, GoHighLevelIntegration
from integrations.tasks import tick
from webhooks.models import GoHighLevelWebhook

pytestmark = pytest.mark.django_db


@pytest.fixture
def deliver(world, send, run_worker):
    """Deliver what is due and do the work that comes of it."""

    def deliver():
        statuses = [delivery.status for delivery in world.deliver(send)]
        run_worker()
        return statuses

    return deliver


@pytest.fixture
def come_back(client, run_worker):
    """The browser comes back from the consent page with a code."""

    def come_back(code):
        answer = client.get("/app/callback/", {"code": code})
        assert answer.status_code == 302
        run_worker()

    return come_back


@pytest.fixture
def allow(world):
    """Somebody allows the app on an agency, or on some of its sub-accounts; returns the code."""

    def allow(agency, *locations, **choice):
        ids = [location.id for location in locations] or None
        return world.install(agency.id, ids, redirect_uri=REDIRECT_URI, **choice)

    return allow


def states():
    """The state of each install, by HighLevel's id."""
    now = timezone.now()
    return {row.resource_id: row.state(now) for row in GoHighLevelIntegration.objects.all()}


def row_of(resource_id):
    return GoHighLevelIntegration.objects.get(resource_id=resource_id)


def results(kind):
    events = GoHighLevelWebhook.objects.filter(type=kind).order_by("received_at")
    return [event.result for event in events]


@pytest.mark.parametrize("event_order", ["in_order", "reversed", "shuffled"])
@pytest.mark.parametrize("install_order", ["webhook_first", "callback_first", "interleaved"])
@pytest.mark.parametrize("fields", ["observed", "sparse"])
def test_an_agency_and_its_sub_accounts_connect_in_any_order_of_callback_and_events(
    world, allow, deliver, come_back, install_order, event_order, fields
):
    world.set_knobs(
        install_order=install_order,
        event_order=event_order,
        install_fields=fields,
        duplicate_events=1,
    )
    agency = world.create_agency(locations=2)
    code = allow(agency)
    deliver()
    come_back(code)
    deliver()
    accounts = [agency.id, *(location.id for location in world.locations(agency.id))]
    assert states() == dict.fromkeys(accounts, State.HEALTHY)
    tick()  # a minute later their names are known too
    assert {row.name for row in GoHighLevelIntegration.objects.all()} == {
        agency.name,
        *(location.name for location in world.locations(agency.id)),
    }
    assert world.max_uses() <= 1


def test_install_events_before_the_callback_wait_for_the_agencys_token(world, allow, deliver):
    agency = world.create_agency(locations=2)
    allow(agency)
    assert deliver() == [200] * 2
    assert set(states().values()) == {State.WAITING}
    assert not GoHighLevelIntegration.objects.filter(user_type=COMPANY).exists()


def test_an_install_event_before_the_own_callback_of_a_sub_account(
    world, allow, deliver, come_back
):
    agency = world.create_agency(locations=1)
    [location] = world.locations(agency.id)
    code = allow(agency, location, bulk=False)
    deliver()
    waiting = row_of(location.id)
    assert waiting.status == Status.WAITING
    come_back(code)
    assert row_of(location.id).pk == waiting.pk
    assert states() == {location.id: State.HEALTHY}


def test_an_install_event_after_the_callback_only_adds_what_it_tells(
    world, install_location, deliver
):
    world.set_knobs(install_order="callback_first")
    row = install_location()
    tokens = bytes(row.access_token_encrypted)
    deliver()
    row.refresh_from_db()
    assert (row.status, bytes(row.access_token_encrypted)) == (Status.ACTIVE, tokens)
    assert row.company_name == world.companies()[0].name
    assert row.version_id
    assert results("INSTALL") == ["already known"]


def test_uninstalling_a_sub_account_ends_it_alone(world, allow, deliver, come_back):
    agency = world.create_agency(locations=2)
    come_back(allow(agency))
    deliver()
    gone, stays = (location.id for location in world.locations(agency.id))
    world.uninstall(gone)
    deliver()
    assert states() == {
        agency.id: State.HEALTHY,
        gone: State.UNINSTALLED,
        stays: State.HEALTHY,
    }
    assert (row_of(gone).cause, row_of(gone).renew_at) == ("uninstalled", None)


@pytest.mark.parametrize("fields", ["observed", "sparse"])
def test_uninstalling_an_agency_ends_its_sub_accounts_too(
    world, allow, deliver, come_back, make_install, fields
):
    world.set_knobs(uninstall_fields=fields)
    other = make_install(company_id="another agency")
    agency = world.create_agency(locations=2)
    come_back(allow(agency))
    deliver()
    world.uninstall(agency.id)
    deliver()
    ended = GoHighLevelIntegration.objects.filter(status=Status.UNINSTALLED)
    assert ended.count() == 3
    assert row_of(agency.id).status == Status.UNINSTALLED
    other.refresh_from_db()
    assert other.status == Status.ACTIVE


def test_an_uninstall_that_names_nobody_ends_nobody(world, post, run_worker, make_install):
    row = make_install(company_id="")
    post(b'{"type":"UNINSTALL"}')
    run_worker()
    row.refresh_from_db()
    assert row.status == Status.ACTIVE
    assert results("UNINSTALL") == ["ignored: names no account"]


def test_an_old_uninstall_cannot_end_a_newer_install(world, allow, deliver, come_back):
    agency = world.create_agency(locations=1)
    [location] = world.locations(agency.id)
    come_back(allow(agency, location, bulk=False))
    deliver()
    world.uninstall(location.id)  # its event gets stuck on the way
    come_back(allow(agency, location, bulk=False))
    deliver()
    assert states() == {location.id: State.HEALTHY}
    installed_at = row_of(location.id).installed_at
    assert results("UNINSTALL") == [f"ignored: older than the install of {installed_at:%H:%M} UTC"]


def test_an_uninstall_resent_by_hand_after_a_reinstall_changes_nothing(
    world, allow, deliver, come_back
):
    agency = world.create_agency(locations=1)
    [location] = world.locations(agency.id)
    come_back(allow(agency, location, bulk=False))
    world.uninstall(location.id)
    deliver()
    first = row_of(location.id).pk
    come_back(allow(agency, location, bulk=False))
    world.resend(GoHighLevelWebhook.objects.get(type="UNINSTALL").webhook_id)
    assert set(deliver()) == {200}
    assert states() == {location.id: State.HEALTHY}
    assert row_of(location.id).pk == first


def test_the_old_agency_uninstall_spares_what_was_installed_since(world, allow, deliver, come_back):
    agency = world.create_agency(locations=2)
    come_back(allow(agency))
    deliver()
    world.uninstall(agency.id)
    world.advance(1)
    come_back(allow(agency))
    deliver()
    assert set(states().values()) == {State.HEALTHY}


@pytest.mark.parametrize("order", ["in_order", "reversed"])
@pytest.mark.parametrize("who", ["sub-account", "agency"])
def test_install_and_uninstall_end_in_the_same_state_in_either_order(
    world, allow, deliver, order, who
):
    """Without the callback: the code was never exchanged."""
    world.set_knobs(event_order=order)
    agency = world.create_agency(locations=1)
    [location] = world.locations(agency.id)
    allow(agency)
    world.advance(1)
    world.uninstall(location.id if who == "sub-account" else agency.id)
    deliver()
    assert set(states().values()) <= {State.UNINSTALLED}


@pytest.mark.parametrize("order", ["in_order", "reversed", "shuffled"])
def test_duplicates_in_any_order_after_the_callback_end_uninstalled(
    world, allow, deliver, come_back, order
):
    world.set_knobs(event_order=order, duplicate_events=2)
    agency = world.create_agency(locations=1)
    [location] = world.locations(agency.id)
    come_back(allow(agency, location, bulk=False))
    world.uninstall(location.id)
    deliver()
    assert states() == {location.id: State.UNINSTALLED}


def test_a_later_install_event_begins_an_ended_install_again(world, allow, deliver, come_back):
    agency = world.create_agency(locations=2)
    come_back(allow(agency))
    deliver()
    location = world.locations(agency.id)[0]
    world.uninstall(location.id)
    deliver()
    assert states()[location.id] is State.UNINSTALLED
    world.advance(1)
    allow(agency, location)  # the agency's own token is still here, and is enough
    deliver()
    assert states()[location.id] is State.HEALTHY


@pytest.mark.parametrize("deliveries", [1, 3])
def test_the_names_of_older_deployments_mean_the_same(
    world, post, run_worker, make_install, deliveries
):
    make_install(resource_id="loc-2", company_id="com", user_type=LOCATION)
    for _ in range(deliveries):
        post(b'{"event":"app.installed","location_id":"loc-1","company_id":"com"}')
        post(b'{"event":"app.uninstalled","location_id":"loc-2"}')
    run_worker()
    assert (row_of("loc-1").status, row_of("loc-1").company_id) == (Status.WAITING, "com")
    assert row_of("loc-2").status == Status.UNINSTALLED
    assert GoHighLevelWebhook.objects.count() == 2


def test_an_uninstall_during_a_renewal_is_not_undone_by_its_answer(
    world, install_location, post, run_worker, monkeypatch
):
    from integrations.highlevel import HighLevel
    from integrations.refresh import refresh_integration

    row = install_location()
    refresh = HighLevel.refresh

    def uninstall_meanwhile(client, token, *, user_type):
        tokens = refresh(client, token, user_type=user_type)
        post(json.dumps({"type": "UNINSTALL", "locationId": row.resource_id}).encode())
        run_worker()
        return tokens

    monkeypatch.setattr(HighLevel, "refresh", uninstall_meanwhile)
    refresh_integration(row.pk, trigger="test")
    row.refresh_from_db()
    assert row.status == Status.UNINSTALLED


def test_a_location_that_comes_later_is_connected_though_its_install_names_no_agency(
    world, deliver, come_back
):
    world.set_knobs(future_install_fields="sparse")
    agency = world.create_agency(locations=1)
    come_back(world.install(agency.id, future=True, redirect_uri=REDIRECT_URI))
    deliver()
    location = world.create_location(agency.id, "Opened Later")
    deliver()
    row = GoHighLevelIntegration.objects.get(resource_id=location.id)
    assert (row.company_id, row.state(timezone.now())) == (agency.id, State.HEALTHY)


def test_a_late_agency_uninstall_does_not_end_what_was_installed_again_after_it(
    world, deliver, come_back
):
    agency = world.create_agency(locations=1)
    come_back(world.install(agency.id, redirect_uri=REDIRECT_URI))
    deliver()
    row = GoHighLevelIntegration.objects.get(user_type=LOCATION)
    uninstalled_at = timezone.now()
    note_installed(
        company_id=agency.id,
        location_id=row.resource_id,
        occurred_at=uninstalled_at + timedelta(minutes=1),
    )
    note_uninstalled(company_id=agency.id, location_id="", occurred_at=uninstalled_at)
    row.refresh_from_db()
    assert row.status == Status.ACTIVE


def event(kind, **fields):
    return json.dumps({"type": kind, **fields}).encode()


def test_a_new_location_of_an_agency_that_installs_to_future_ones_gets_its_token(
    world, post, run_worker, install_agency
):
    agency = install_agency(locations=1)
    run_worker()
    GoHighLevelIntegration.objects.filter(pk=agency.pk).update(install_to_future_locations=True)
    location = world.create_location(agency.resource_id, "Opened Later")
    world.install(agency.resource_id, [location.id])
    post(event("LocationCreate", id=location.id, companyId=agency.resource_id, name="Later"))
    run_worker()
    row = row_of(location.id)
    assert (row.company_id, row.state(timezone.now())) == (agency.resource_id, State.HEALTHY)
    assert results("LocationCreate") == ["waiting for its token"]


def test_a_new_location_whose_agency_has_no_token_waits_and_heals_when_it_comes(
    world, post, run_worker, come_back, make_install
):
    agency = world.create_agency(locations=1)
    [location] = world.locations(agency.id)
    row = make_install(agency=True, company_id=agency.id, status=Status.REFUSED, renew_at=None)
    GoHighLevelIntegration.objects.filter(pk=row.pk).update(
        install_to_future_locations=True, installed_at=timezone.now() - timedelta(days=1)
    )
    post(event("LocationCreate", id=location.id, companyId=agency.id, name="Later"))
    run_worker()
    assert row_of(location.id).state(timezone.now()) is State.WAITING
    come_back(world.install(agency.id, redirect_uri=REDIRECT_URI))
    assert row_of(location.id).state(timezone.now()) is State.HEALTHY


@pytest.mark.parametrize("future", [False, None])
def test_a_new_location_is_only_noted_when_its_agency_chose_no_future_ones(
    world, post, run_worker, install_agency, future
):
    agency = install_agency(locations=0)
    run_worker()
    GoHighLevelIntegration.objects.filter(pk=agency.pk).update(install_to_future_locations=future)
    post(event("LocationCreate", id="loc", companyId=agency.resource_id, name="Later"))
    run_worker()
    assert not GoHighLevelIntegration.objects.filter(user_type=LOCATION).exists()
    assert results("LocationCreate")[0].startswith("noted")


def test_a_location_that_names_its_agency_late_ends_with_it(post, run_worker):
    now = timezone.now()

    def at(minutes):
        return (now + timedelta(minutes=minutes)).isoformat()

    post(event("INSTALL", locationId="loc", timestamp=at(-9)))
    post(event("UNINSTALL", companyId="com", timestamp=at(-5)))
    run_worker()
    assert row_of("loc").status == Status.WAITING
    post(event("LocationCreate", id="loc", companyId="com", name="Loc", timestamp=at(-10)))
    run_worker()
    assert (row_of("loc").status, row_of("loc").cause) == (
        Status.UNINSTALLED,
        "agency_uninstalled",
    )


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_the_newest_name_version_and_plan_stay_whatever_comes_first(
    post, run_worker, make_install, order
):
    row = make_install(resource_id="loc", user_type=LOCATION)
    now = timezone.now()
    stories = [
        ("LocationUpdate", "id", "name", [("Old", -3), ("New", -1), ("Middle", -2)]),
        ("UPDATE", "locationId", "versionId", [("v1", -3), ("v3", -1), ("v2", -2)]),
        ("PLAN_CHANGE", "locationId", "newPlanId", [("p1", -3), ("p3", -1), ("p2", -2)]),
    ]
    for kind, name_of_id, field, told in stories:
        for value, minutes in (told[n] for n in order):
            at = (now + timedelta(minutes=minutes)).isoformat()
            body = {name_of_id: "loc", field: value, "timestamp": at}
            post(event(kind, companyId="com", **body))
    run_worker()
    row.refresh_from_db()
    assert (row.name, row.version_id, row.plan_id) == ("New", "v3", "p3")


@pytest.fixture
def tell(post, run_worker):
    """Let events arrive in this order, each processed before the next: (type, minute, fields)."""
    now = timezone.now()

    def tell(told):
        for kind, minute, fields in told:
            at = (now + timedelta(minutes=minute)).isoformat()
            post(event(kind, companyId="com", timestamp=at, **fields))
            run_worker()

    return tell


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_what_came_before_its_install_counts_too(tell, order):
    story = [
        ("INSTALL", -9, {"locationId": "loc", "versionId": "v1", "companyName": "Acme"}),
        ("UPDATE", -5, {"locationId": "loc", "versionId": "v2", "planId": "p1"}),
        ("PLAN_CHANGE", -4, {"locationId": "loc", "currentPlanId": "p1", "newPlanId": "p2"}),
        ("LocationUpdate", -3, {"id": "loc", "name": "Loc", "email": "a@loc.example"}),
    ]
    tell(story[n] for n in order)
    row = row_of("loc")
    assert (row.version_id, row.plan_id, row.company_name) == ("v2", "p2", "Acme")
    assert (row.name, row.user_email) == ("Loc", "a@loc.example")


@pytest.mark.parametrize("order", list(permutations(range(4))))
@pytest.mark.parametrize("named", ["loc", "agency"])
def test_an_agencys_own_event_names_it_whatever_comes_first(tell, order, named):
    story = [
        ("INSTALL", -9, {"locationId": "loc", "companyName": "Old"}),
        ("UPDATE", -5, {"companyName": "Acme"}),
        ("UPDATE", -4, {"locationId": "loc", "companyName": "Told by a sub-account"}),
        ("INSTALL", -3, {} if named == "agency" else {"locationId": "other"}),
    ]
    tell(story[n] for n in order)
    names = GoHighLevelIntegration.objects.values_list("company_name", flat=True)
    assert list(names) == ["Acme", "Acme"]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_later_event_that_does_not_tell_it_takes_nothing_away(tell, order):
    story = [
        ("INSTALL", -9, {"locationId": "loc", "versionId": "v1", "companyName": "Acme"}),
        ("UPDATE", -5, {"locationId": "loc", "previousVersionId": "v1", "planId": "p1"}),
    ]
    tell(story[n] for n in order)
    row = row_of("loc")
    assert (row.version_id, row.company_name, row.plan_id) == ("v1", "Acme", "p1")


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("has_agency", [True, False])
def test_a_sub_accounts_newest_name_stays_whatever_comes_first(
    tell, make_install, order, has_agency
):
    if has_agency:
        agency = make_install(agency=True, company_id="com")
        GoHighLevelIntegration.objects.filter(pk=agency.pk).update(install_to_future_locations=True)
    story = [
        ("LocationCreate", -9, {"id": "loc", "name": "Old", "email": "old@loc.example"}),
        ("INSTALL", -8, {"locationId": "loc"}),
        ("LocationUpdate", -7, {"id": "loc", "name": "New"}),
    ]
    tell(story[n] for n in order)
    assert (row_of("loc").name, row_of("loc").user_email) == ("New", "old@loc.example")


def test_an_install_event_leaves_the_name_that_highlevel_was_asked_for(tell, make_install):
    tell([("LocationUpdate", -9, {"id": "loc", "name": "Of an event"})])
    make_install(resource_id="loc", user_type=LOCATION, name="As asked")
    tell([("INSTALL", -5, {"locationId": "loc"})])
    assert row_of("loc").name == "As asked"


def test_what_no_database_keeps_in_an_earlier_event_holds_up_no_install(tell):
    told = {"locationId": "loc", "newPlanId": "p\x001\ud83d"}
    tell([("PLAN_CHANGE", -9, told), ("INSTALL", -5, {"locationId": "loc"})])
    assert (row_of("loc").status, row_of("loc").plan_id) == (Status.WAITING, "p1")


def test_an_event_of_a_clock_that_is_ahead_is_noted(tell, make_install):
    make_install(resource_id="loc", user_type=LOCATION)
    tell([("PLAN_CHANGE", 60, {"locationId": "loc", "newPlanId": "p1"})])
    assert row_of("loc").plan_id == "p1"


def test_of_two_events_at_the_same_moment_it_matters_not_which_comes_first(tell, make_install):
    rows = [make_install(resource_id=name, user_type=LOCATION) for name in ("loc-1", "loc-2")]
    ids = ("a", "b")
    for row, order in zip(rows, (ids, ids[::-1]), strict=True):
        tell(
            (
                "PLAN_CHANGE",
                -5,
                {
                    "locationId": row.resource_id,
                    "newPlanId": f"plan {id}",
                    "webhookId": f"{id} {row.resource_id}",
                },
            )
            for id in order
        )
    assert [row_of(row.resource_id).plan_id for row in rows] == ["plan b", "plan b"]


def test_an_agencys_new_name_is_shown_on_its_row_and_on_its_sub_accounts(
    post, run_worker, make_install
):
    agency = make_install(agency=True)
    location, other = make_install(), make_install(company_id="agency-2")
    post(event("UPDATE", companyId="agency-1", companyName="Southwind"))
    run_worker()
    assert str(row_of(agency.resource_id)) == "Southwind"
    assert row_of(agency.resource_id).company_name == "Southwind"
    assert row_of(location.resource_id).company_name == "Southwind"
    assert row_of(location.resource_id).name == location.name
    assert row_of(other.resource_id).company_name == other.company_name


def test_an_older_install_event_does_not_bring_an_older_version_back(
    post, run_worker, make_install
):
    make_install(resource_id="loc", user_type=LOCATION)
    now = timezone.now()
    later, earlier = now.isoformat(), (now - timedelta(minutes=9)).isoformat()
    post(event("UPDATE", locationId="loc", versionId="v2", timestamp=later))
    post(event("INSTALL", locationId="loc", versionId="v1", timestamp=earlier))
    run_worker()
    assert row_of("loc").version_id == "v2"


@pytest.mark.parametrize(
    "kind",
    ["INSTALL", "UNINSTALL", "UPDATE", "PLAN_CHANGE", "LocationCreate", "LocationUpdate"],
)
def test_an_event_that_names_nobody_changes_nothing(post, run_worker, make_install, kind):
    row = make_install(company_id="")
    post(event(kind, versionId="v", newPlanId="p", name="Nobody"))
    run_worker()
    assert results(kind) == ["ignored: names no account"]
    name = row.name
    row.refresh_from_db()
    assert (row.name, row.status) == (name, Status.ACTIVE)


def test_a_bulk_install_rings_once_for_all_its_tokens(post, run_worker, usual_bell):
    """Ticks that stand in line would hold up events, and what people click."""
    for n in range(40):
        post(event("INSTALL", companyId="com", locationId=f"loc-{n}"))
    assert OrmQ.objects.count() == 1
    assert run_worker() == 2
    assert GoHighLevelIntegration.objects.filter(status=Status.WAITING).count() == 40


def test_an_install_event_that_begins_nothing_rings_for_no_token(post, run_worker, make_install):
    make_install(resource_id="loc", user_type=LOCATION)
    post(event("INSTALL", companyId="com", locationId="loc"))
    assert run_worker() == 1


def test_an_agencys_install_without_a_sign_in_waits_for_it(post, run_worker, come_back, world):
    agency = world.create_agency()
    post(event("INSTALL", companyId=agency.id, companyName="Northwind"))
    run_worker()
    row = row_of(agency.id)
    assert (row.user_type, row.status, row.name) == (COMPANY, Status.WAITING, "Northwind")
    assert row.cause == "waiting_for_sign_in"
    come_back(world.install(agency.id, [], redirect_uri=REDIRECT_URI))
    assert states() == {agency.id: State.HEALTHY}


def test_a_name_that_a_void_token_could_not_fetch_comes_with_the_next_one(
    world, install_agency, run_worker
):
    agency = install_agency(locations=1)
    run_worker()
    [location] = world.locations(agency.resource_id)
    row = row_of(location.id)
    GoHighLevelIntegration.objects.filter(pk=row.pk).update(
        name="", status=Status.REFUSED, cause="refused", renew_at=timezone.now(), finish_at=None
    )
    tick()
    tick()
    assert (row_of(location.id).status, row_of(location.id).name) == ("active", location.name)
