from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.db import InterfaceError, OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from access.models import ApiKey, AuditEvent, Scope
from access.roles import Role
from integrations.health import State, Status
from integrations.highlevel import HighLevel
from integrations.install import finish_install, store_install
from integrations.models import (
    COMPANY,
    LOCATION,
    GoHighLevelIntegration,
    RefreshAttempt,
    RenewalJob,
    StateChange,
)
from integrations.tasks import renew_batch, tick, watch_life

pytestmark = pytest.mark.django_db
NOBODY = uuid.UUID(int=0)
ENDPOINTS = [
    ("get", "list/", Scope.INTEGRATIONS_READ),
    ("get", f"status/{NOBODY}/", Scope.INTEGRATIONS_READ),
    ("get", "token-health/", Scope.INTEGRATIONS_READ),
    ("get", f"get-token/{NOBODY}/", Scope.TOKENS_READ),
    ("post", f"refresh/{NOBODY}/", Scope.TOKENS_REFRESH),
    ("post", "bulk-refresh/", Scope.TOKENS_REFRESH),
    ("get", f"jobs/{NOBODY}/", Scope.TOKENS_REFRESH),
    ("post", f"jobs/{NOBODY}/cancel/", Scope.TOKENS_REFRESH),
    ("get", "test-connectivity/", Scope.INTEGRATIONS_READ),
]
every_endpoint = pytest.mark.parametrize(("method", "path", "scope"), ENDPOINTS)


def assert_error(response, status, code):
    assert (response.status_code, response.json()["error"]) == (status, code)
    assert set(response.json()) == {"error", "details", "who_acts", "retry_after", "help_url"}
    assert response.json()["who_acts"] in {"you", "client", "highlevel", "operator"}
    assert response["Content-Type"].startswith("application/json")


# --- Who may call ---


@pytest.mark.parametrize("prefix", ["/app/", "/ghl/"])
@every_endpoint
def test_without_a_key_it_is_refused(client, method, path, scope, prefix):
    response = getattr(client, method)(prefix + path)
    assert_error(response, 401, "key_missing")
    assert response["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("header", ["Bearer wr_nothing", "Bearer", "Basic abc", "Bearer wr_é_x"])
def test_a_wrong_key_is_refused(client, header):
    response = client.get("/app/list/", headers={"Authorization": header})
    assert_error(response, 401, "key_refused")


@every_endpoint
def test_a_key_without_the_scope_is_refused(api, method, path, scope):
    others = set(Scope.values) - {scope}
    assert_error(getattr(api(*others), method)("/app/" + path), 403, "key_lacks_scope")


def test_a_disabled_or_expired_key_is_refused(api):
    client = api()
    for field in ("disabled_at", "expires_at"):
        ApiKey.objects.update(disabled_at=None, expires_at=None)
        ApiKey.objects.update(**{field: timezone.now()})
        assert_error(client.get("/app/list/"), 401, "key_refused")


@pytest.mark.parametrize(
    ("method", "path"), [("get", "status/"), ("get", "get-token/"), ("post", "refresh/")]
)
def test_a_key_limited_to_other_installs_is_refused(api, make_install, method, path):
    mine, other = make_install(), make_install()
    client = api(installs=[mine.pk])
    response = getattr(client, method)(f"/app/{path}{other.pk}/")
    assert_error(response, 403, "key_lacks_install")


@pytest.mark.parametrize(
    ("method", "path"), [("get", "status/"), ("get", "get-token/"), ("post", "refresh/")]
)
def test_a_key_limited_to_agencies_reaches_their_installs_alone(
    api, world, make_install, method, path
):
    mine, other = make_install(company_id="a"), make_install(company_id="b")
    client = api(agencies=["a"])
    response = getattr(client, method)(f"/app/{path}{other.pk}/")
    assert_error(response, 403, "key_lacks_install")
    assert getattr(client, method)(f"/app/{path}{NOBODY}/").json() == response.json()
    mine_too = getattr(client, method)(f"/app/{path}{mine.pk}/")
    assert mine_too.json().get("error") != "key_lacks_install"


def test_a_key_limited_to_agencies_and_installs_reaches_both(api, make_install):
    by_agency, by_name = make_install(company_id="a"), make_install(company_id="b")
    make_install(company_id="b")
    client = api(agencies=["a"], installs=[by_name.pk])
    listed = client.get("/app/list/").json()["integrations"]
    assert {row["id"] for row in listed} == {str(by_agency.pk), str(by_name.pk)}
    assert client.get("/app/token-health/").json()["total_integrations"] == 2
    for row in (by_agency, by_name):
        assert client.get(f"/app/get-token/{row.pk}/").status_code == 200


def test_a_bulk_renewal_of_a_limited_key_stays_within_its_agencies(api, make_install):
    mine = [make_install(company_id="a") for _ in range(9)]
    others = [make_install(company_id="b") for _ in range(9)]
    body = {"ids": [str(row.pk) for row in mine + others]}
    assert post_json(api(agencies=["a"]), body).json()["total"] == 9


def test_a_job_about_other_installs_does_not_exist_for_a_limited_caller(
    api, make_install, make_person
):
    mine = [make_install(company_id="a") for _ in range(9)]
    other = make_install(company_id="b")
    own = post_json(api(), {"ids": [str(row.pk) for row in mine]}).json()["job"]
    mixed = post_json(api(), {"ids": [str(row.pk) for row in [*mine, other]]}).json()["job"]
    person = Client()
    person.force_login(make_person("lou", Role.OPERATOR, agencies=["a"]))
    for caller in (api(agencies=["a"]), api(installs=[row.pk for row in mine]), person):
        assert caller.get(f"/app/jobs/{own}/").status_code == 200
        assert_error(caller.get(f"/app/jobs/{mixed}/"), 404, "not_found")
        assert_error(caller.post(f"/app/jobs/{mixed}/cancel/"), 404, "not_found")
    assert RenewalJob.objects.get(pk=mixed).cancelled_at is None


def test_a_limited_person_sees_their_agencies_alone(make_install, make_person):
    mine, other = make_install(company_id="a"), make_install(company_id="b")
    client = Client()
    client.force_login(make_person("lou", Role.OPERATOR, agencies=["a"]))
    listed = client.get("/app/list/").json()["integrations"]
    assert [row["id"] for row in listed] == [str(mine.pk)]
    assert client.get("/app/token-health/").json()["total_integrations"] == 1
    assert_error(client.get(f"/app/status/{other.pk}/"), 404, "not_found")
    assert_error(client.post(f"/app/refresh/{other.pk}/"), 404, "not_found")


def test_somebody_who_only_looks_renews_nothing(make_install, make_person):
    client = Client()
    client.force_login(make_person("vera", Role.VIEWER))
    row = make_install()
    assert client.get(f"/app/status/{row.pk}/").status_code == 200
    assert_error(client.post(f"/app/refresh/{row.pk}/"), 403, "role_lacks_permission")


def test_a_limited_key_lists_and_counts_only_its_installs(api, make_install):
    mine, _other = make_install(), make_install()
    client = api(installs=[mine.pk])
    listed = client.get("/app/list/").json()["integrations"]
    assert [row["id"] for row in listed] == [str(mine.pk)]
    assert client.get("/app/token-health/").json()["total_integrations"] == 1


@every_endpoint
def test_an_unknown_install_or_a_wrong_method_is_json_too(api, method, path, scope):
    client = api()
    if str(NOBODY) in path:
        assert_error(getattr(client, method)("/app/" + path), 404, "not_found")
    response = client.delete("/app/" + path)
    assert_error(response, 405, "method_not_allowed")
    assert method.upper() in response["Allow"]


@every_endpoint
def test_head_is_answered_like_get_and_options_with_the_methods(api, method, path, scope):
    client = api()
    options = client.options("/app/" + path)
    assert (options.status_code, options.content) == (204, b"")
    expected = "GET, HEAD, OPTIONS" if method == "get" else "OPTIONS, POST"
    assert options["Allow"] == client.delete("/app/" + path)["Allow"] == expected
    head = client.head("/app/" + path)
    assert head.status_code == (client.get("/app/" + path).status_code if method == "get" else 405)
    assert head.content == b""


def test_head_wants_a_key_too(client):
    assert client.head("/app/list/").status_code == 401


@pytest.mark.parametrize("path", ["/app/nothing/", "/ghl/status/not-a-uuid/", "/app/"])
def test_an_unknown_address_is_json(api, path):
    assert_error(api().get(path), 404, "not_found")


def test_a_host_that_is_not_ours_is_json_too(api):
    answer = api().get("/app/list/", headers={"Host": "elsewhere.example"})
    assert_error(answer, 400, "invalid_input")


def test_staff_may_look_with_their_session_but_not_take_a_token(staff_client, make_install):
    row = make_install()
    assert staff_client.get("/app/list/").status_code == 200
    assert_error(staff_client.get(f"/app/get-token/{row.pk}/"), 401, "key_missing")


def test_a_session_needs_the_csrf_token_to_change_something(staff, make_install):
    client = Client(enforce_csrf_checks=True)
    client.force_login(staff)
    assert_error(client.post(f"/app/refresh/{make_install().pk}/"), 403, "csrf_refused")


def test_the_key_remembers_its_last_use(api):
    api().get("/app/list/")
    key = ApiKey.objects.get()
    assert key.last_used_at is not None
    assert key.last_used_address == "127.0.0.1"


# --- Looking ---


def test_list_has_the_keys_of_the_contract(api, make_install):
    row = make_install(name="Harbour Dental", user_email="h@dental.test")
    listed = api().get("/app/list/").json()["integrations"][0]
    assert listed["id"] == str(row.pk)
    assert listed["location_id"] == row.resource_id
    assert listed["location_name"] == "Harbour Dental"
    assert listed["user_email"] == "h@dental.test"
    assert listed["is_active"] is True
    assert listed["is_token_expired"] is False
    assert listed["installed_at"]


def test_times_have_milliseconds_also_at_a_full_second(api, make_install):
    make_install(installed_at=datetime(2026, 11, 25, 13, 21, 58, tzinfo=UTC))
    (listed,) = api().get("/app/list/").json()["integrations"]
    assert listed["installed_at"] == "2026-11-25T13:21:58.000Z"


def test_list_is_paged_without_gaps_or_repeats(api, make_install):
    rows = {str(make_install().pk) for _ in range(7)}
    client, seen, cursor = api(), [], None
    while True:
        query = {"limit": 3} | ({"cursor": cursor} if cursor else {})
        page = client.get("/app/list/", query).json()
        seen += [row["id"] for row in page["integrations"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert len(seen) == 7
    assert set(seen) == rows


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({"state": "paused"}, {"Lake Spa"}),
        ({"agency": "other"}, {"Hill Gym"}),
        ({"q": "hill"}, {"Hill Gym"}),
        ({"q": "loc-9"}, {"Lake Spa"}),
        ({"q": "nothing like it"}, set()),
    ],
)
def test_list_can_be_filtered(api, make_install, query, names):
    make_install(name="Lake Spa", status=Status.PAUSED, resource_id="loc-9")
    make_install(name="Hill Gym", company_id="other")
    listed = api().get("/app/list/", query).json()["integrations"]
    assert {row["location_name"] for row in listed} == names


@pytest.mark.parametrize(
    "query", [{"limit": 0}, {"limit": "x"}, {"state": "zzz"}, {"cursor": "not-a-uuid"}]
)
def test_list_refuses_rubbish_and_says_what_is_wrong(api, query):
    response = api().get("/app/list/", query)
    assert_error(response, 422, "invalid_input")
    assert next(iter(query)) in response.json()["details"]


def test_status_tells_state_cause_and_who_acts(api, make_install):
    row = make_install(status=Status.REFUSED, cause="refused", renew_at=None)
    told = api().get(f"/app/status/{row.pk}/").json()
    assert told["state"] == State.NEEDS_RECONNECT
    assert told["cause"] == "refused"
    assert told["who_acts"] == "client"
    assert {"needs_refresh", "expires_at", "installed_at", "last_used_at"} <= set(told)


def test_health_counts_each_install_once(api, make_install):
    make_install()
    make_install(expires_in=timedelta(minutes=30))
    make_install(expires_in=-timedelta(minutes=1))
    make_install(status=Status.UNINSTALLED)
    health = api().get("/app/token-health/").json()
    assert health["total_integrations"] == 3
    assert (health["healthy_tokens"], health["needs_refresh"], health["expired_tokens"]) == (
        1,
        1,
        1,
    )
    assert health["health_percentage"] == 33.3
    assert sum(health["states"].values()) == 4
    assert set(health["states"]) == set(State)


def test_health_of_nothing_is_whole(api):
    health = api().get("/app/token-health/").json()
    assert (health["total_integrations"], health["health_percentage"]) == (0, 100.0)


def test_connectivity_tells_what_was_reached(api, world):
    told = api().get("/app/test-connectivity/").json()
    assert {service["name"] for service in told["services"]} == {
        "HighLevel API",
        "HighLevel marketplace",
        "Database",
    }
    assert all(service["reachable"] for service in told["services"])
    assert told["success"] is True


def test_connectivity_tells_what_was_not_reached(api):
    told = api().get("/app/test-connectivity/").json()
    assert told["success"] is False
    assert [service["reachable"] for service in told["services"]] == [False, False, True]


@pytest.mark.parametrize("path", ["/app/list/?limit=500", "/app/token-health/"])
def test_the_number_of_queries_does_not_grow_with_the_installs(api, make_install, path):
    client = api()
    client.get(path)

    def queries():
        with CaptureQueriesContext(connection) as captured:
            assert client.get(path).status_code == 200
        return len(captured)

    make_install()
    few = queries()
    for _ in range(30):
        make_install()
    assert queries() == few


# --- Tokens ---


def test_get_token_gives_the_stored_token(api, make_install):
    row = make_install()
    response = api(Scope.TOKENS_READ).get(f"/app/get-token/{row.pk}/")
    told = response.json()
    assert response["Cache-Control"] == "no-store"
    assert told["access_token"] == row.open_access_token()
    assert (told["source"], told["was_refreshed"], told["warning"]) == ("stored", False, None)
    assert (told["needs_refresh"], told["is_expired"]) == (False, False)
    assert told["token_type"] == "Bearer"
    assert 71_000 < told["expires_in"] <= 72_000
    row.refresh_from_db()
    assert row.last_used_at is not None


@pytest.mark.parametrize("written", [str.upper, lambda pk: pk.replace("-", "")])
def test_an_id_may_be_written_in_capitals_or_without_hyphens(api, make_install, written):
    pk = make_install().pk
    told = api().get(f"/app/status/{written(str(pk))}/").json()
    assert told["id"] == str(pk)


@pytest.mark.parametrize("rubbish", ["-" * 36, "0" * 33, "x" * 36])
def test_what_is_no_id_is_not_found(api, db, rubbish):
    assert_error(api().get(f"/app/status/{rubbish}/"), 404, "not_found")


def test_get_token_never_gives_a_refresh_token(api, install_location):
    row = install_location()
    answer = api().get(f"/app/get-token/{row.pk}/").content.decode()
    assert row.open_refresh_token() not in answer


def end_in(row, left):
    GoHighLevelIntegration.objects.filter(pk=row.pk).update(
        expires_at=timezone.now() + left, renewed_at=timezone.now() - timedelta(hours=23)
    )


@pytest.mark.parametrize(
    "left", [timedelta(minutes=-5), timedelta(minutes=3), timedelta(minutes=50)]
)
def test_get_token_renews_what_is_near_its_end(api, world, install_location, left):
    row = install_location()
    end_in(row, left)
    told = api().get(f"/app/get-token/{row.pk}/").json()
    assert (told["source"], told["was_refreshed"]) == ("refreshed", True)
    assert told["access_token"] != row.open_access_token()


def test_get_token_renews_for_a_caller_that_needs_it_longer(api, world, install_location):
    row = install_location()
    end_in(row, timedelta(hours=3))
    client = api()
    assert client.get(f"/app/get-token/{row.pk}/").json()["source"] == "stored"
    told = client.get(f"/app/get-token/{row.pk}/?min_valid_for=14400").json()
    assert told["source"] == "refreshed"


def long_ago(row):
    """Its pair was stored some minutes ago."""
    before = timezone.now() - timedelta(minutes=2)
    GoHighLevelIntegration.objects.filter(pk=row.pk).update(renewed_at=before)


def test_get_token_renews_whenever_less_is_left_than_the_caller_asks_for(
    api, world, install_location
):
    row = install_location()
    end_in(row, timedelta(seconds=200))
    long_ago(row)
    client = api()
    address = f"/app/get-token/{row.pk}/"
    assert client.get(f"{address}?min_valid_for=100").json()["source"] == "stored"
    told = client.get(f"{address}?min_valid_for=300").json()
    assert (told["source"], told["expires_in"] > 86_000) == ("refreshed", True)


def test_a_renewed_token_that_never_lasts_so_long_is_renewed_once_a_minute(
    api, world, install_location
):
    row = install_location()
    address = f"/app/get-token/{row.pk}/?min_valid_for=86400"
    client = api()
    # A day less the call: the pair of an install may be renewed at once, that of a renewal not.
    assert [client.get(address).json()["source"] for _ in range(3)] == [
        *("refreshed", "stored", "stored")
    ]
    long_ago(row)
    assert client.get(address).json()["source"] == "refreshed"


def test_a_short_lived_token_is_not_renewed_by_every_call(api, world, install_location):
    world.set_knobs(access_token_life_seconds=200)
    row = install_location()
    client = api()
    assert client.get(f"/app/get-token/{row.pk}/").json()["source"] == "stored"
    assert world.max_uses() == 0


def unreadable(row):
    GoHighLevelIntegration.objects.filter(pk=row.pk).update(access_token_encrypted=b"\x00")


def test_get_token_brings_a_new_one_in_the_place_of_one_that_cannot_be_read(
    api, world, install_location
):
    row = install_location()
    unreadable(row)
    client = api()
    told = client.get(f"/app/status/{row.pk}/").json()
    assert (told["state"], told["cause"]) == ("damaged", "token_damaged")
    assert client.get(f"/app/get-token/{row.pk}/").json()["source"] == "refreshed"
    assert client.get(f"/app/status/{row.pk}/").json()["state"] == "healthy"


def test_get_token_has_no_other_than_one_that_cannot_be_read(api, world, install_location):
    row = install_location()
    unreadable(row)
    world.fault("500", route="/oauth/token", times=None)
    client = api()
    for _ in range(2):
        response = client.get(f"/app/get-token/{row.pk}/")
        assert_error(response, 503, "highlevel_unavailable")
        assert response.json()["retry_after"] == 30
    assert RefreshAttempt.objects.count() == 1  # the second caller waits with the first
    assert client.get(f"/app/status/{row.pk}/").json()["state"] == "damaged"


def test_get_token_finds_both_tokens_unreadable(api, world, install_location):
    row = install_location()
    GoHighLevelIntegration.objects.filter(pk=row.pk).update(
        access_token_encrypted=b"\x00", refresh_token_encrypted=b"\x00"
    )
    response = api().get(f"/app/get-token/{row.pk}/")
    assert_error(response, 409, "token_damaged")
    assert response.json()["retry_after"] is None


def test_a_reinstall_while_get_token_renews_is_handed_out_as_new(
    api, world, install_location, monkeypatch
):
    row = install_location()
    end_in(row, timedelta(minutes=10))
    refresh = HighLevel.refresh

    def reinstall_meanwhile(client, token, *, user_type):
        tokens = refresh(client, token, user_type=user_type)
        world_tokens = refresh(client, tokens.refresh_token, user_type=user_type)
        now = timezone.now()
        store_install(world_tokens, client_id=client.client_id, asked_at=now)
        return tokens

    monkeypatch.setattr(HighLevel, "refresh", reinstall_meanwhile)
    told = api().get(f"/app/get-token/{row.pk}/").json()
    assert (told["source"], told["warning"]) == ("refreshed", None)
    row.refresh_from_db()
    assert told["access_token"] == row.open_access_token()


@pytest.mark.parametrize("value", ["-1", "soon", "86401"])
def test_get_token_refuses_a_strange_min_valid_for(api, make_install, value):
    response = api().get(f"/app/get-token/{make_install().pk}/?min_valid_for={value}")
    assert_error(response, 422, "invalid_input")


def test_get_token_gives_a_still_valid_token_when_highlevel_is_down(api, world, install_location):
    row = install_location()
    end_in(row, timedelta(minutes=20))
    world.fault("500", route="/oauth/token", times=None)
    told = api().get(f"/app/get-token/{row.pk}/").json()
    assert (told["source"], told["was_refreshed"]) == ("stale-but-valid", False)
    assert told["warning"]
    assert told["access_token"] == row.open_access_token()


def test_get_token_says_try_later_when_nothing_valid_is_left(api, world, install_location):
    row = install_location()
    end_in(row, timedelta(seconds=-1))
    world.fault("500", route="/oauth/token", times=None)
    response = api().get(f"/app/get-token/{row.pk}/")
    assert_error(response, 503, "highlevel_unavailable")
    assert int(response["Retry-After"]) == response.json()["retry_after"] > 0


@pytest.mark.parametrize(
    ("status", "http_status", "code"),
    [
        (Status.REFUSED, 409, "needs_reconnect"),
        (Status.PAUSED, 409, "paused_by_highlevel"),
        (Status.DAMAGED, 409, "token_damaged"),
        (Status.WAITING, 409, "waiting_for_install"),
        (Status.UNINSTALLED, 410, "uninstalled"),
        (Status.DEACTIVATED, 410, "deactivated"),
    ],
)
def test_get_token_says_why_there_is_none(api, make_install, status, http_status, code):
    row = make_install(status=status)
    assert_error(api().get(f"/app/get-token/{row.pk}/"), http_status, code)


@pytest.fixture
def waiting_location(world, install_agency):
    """A sub-account whose agency is connected, before the worker has got it its token."""
    agency = install_agency(locations=1)
    finish_install(agency.pk)
    row = GoHighLevelIntegration.objects.get(user_type=LOCATION)
    assert row.status == Status.WAITING
    return row


def mints(world) -> int:
    return sum(call.path == "/oauth/locationToken" for call in world.calls())


def test_a_sub_account_that_waits_gets_its_token_from_its_agency_when_somebody_wants_it(
    api, world, waiting_location
):
    client = api()
    told = client.get(f"/app/get-token/{waiting_location.pk}/").json()
    assert (told["source"], told["was_refreshed"]) == ("refreshed", True)
    again = client.get(f"/app/get-token/{waiting_location.pk}/").json()
    assert (again["source"], again["access_token"]) == ("stored", told["access_token"])
    assert mints(world) == 1


def test_the_proxy_gets_a_sub_account_that_waits_its_token_too(api, waiting_location):
    path = f"/app/api/{waiting_location.pk}/locations/{waiting_location.resource_id}"
    assert api().get(path).status_code == 200


def test_a_sub_account_that_waits_goes_on_doing_so_while_its_agency_cannot_help(
    api, world, waiting_location
):
    GoHighLevelIntegration.objects.filter(user_type=COMPANY).update(status=Status.REFUSED)
    path = f"/app/get-token/{waiting_location.pk}/"
    assert_error(api().get(path), 409, "waiting_for_install")
    assert (mints(world), RefreshAttempt.objects.count()) == (0, 0)


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [("503", 503, "highlevel_unavailable"), ("401", 409, "waiting_for_install")],
)
def test_who_wants_the_token_of_one_that_waits_asks_highlevel_twice_a_minute_at_most(
    api, world, waiting_location, fault, status, code
):
    world.fault(fault, route="/oauth/locationToken", times=None)
    client, path = api(), f"/app/get-token/{waiting_location.pk}/"
    response = client.get(path)
    assert_error(response, status, code)
    assert response["Retry-After"] == "30"
    asked = mints(world)
    assert_error(client.get(path), status, code)
    assert mints(world) == asked > 0
    world.clear_faults()
    with time_machine.travel(timezone.now() + timedelta(seconds=31)):
        assert client.get(path).json()["source"] == "refreshed"


def test_who_wants_the_token_of_one_that_waits_is_told_that_highlevel_does_not_answer_its_agency(
    api, world, waiting_location
):
    GoHighLevelIntegration.objects.filter(user_type=COMPANY).update(expires_at=timezone.now())
    world.fault("503", route="/oauth/token", times=None)
    path = f"/app/get-token/{waiting_location.pk}/"
    for _ in range(2):
        assert_error(api().get(path), 503, "highlevel_unavailable")
    world.clear_faults()
    with time_machine.travel(timezone.now() + timedelta(seconds=31)):
        assert api().get(path).status_code == 200


def test_a_caller_that_asks_again_and_again_does_not_put_off_the_worker(
    api, world, waiting_location
):
    world.fault("401", route="/oauth/locationToken", times=None)
    client, path = api(), f"/app/get-token/{waiting_location.pk}/"
    now = timezone.now()
    for n in range(4):
        with time_machine.travel(now + timedelta(seconds=31 * n), tick=False):
            assert_error(client.get(path), 409, "waiting_for_install")
    assert RefreshAttempt.objects.count() == 4
    row = GoHighLevelIntegration.objects.get(pk=waiting_location.pk)
    assert (row.failures, row.renew_at) == (0, waiting_location.renew_at)
    world.clear_faults()
    with time_machine.travel(now + timedelta(minutes=2)):
        tick()
    row.refresh_from_db()
    assert row.status == Status.ACTIVE


@pytest.mark.parametrize("trigger", ["schedule", "api"])
def test_a_sub_account_that_its_agency_cannot_help_is_named_unfinished_and_stays_so(
    api, world, waiting_location, trigger
):
    """Until it gets its token: it goes on being tried for."""

    def look():
        watch_life()
        if trigger == "schedule":
            tick()
        else:
            api().get(f"/app/get-token/{waiting_location.pk}/")
        return GoHighLevelIntegration.objects.get(pk=waiting_location.pk)

    world.fault("401", route="/oauth/locationToken", times=None)
    now = timezone.now()
    assert look().cause == "mint_refused"
    for minutes in (31, 62, 93):
        with time_machine.travel(now + timedelta(minutes=minutes)):
            assert look().cause == "install_unfinished"
    since = StateChange.objects.filter(integration=waiting_location)
    assert since.filter(cause="install_unfinished").count() == 1
    world.clear_faults()
    with time_machine.travel(now + timedelta(hours=4)):
        assert look().status == Status.ACTIVE


def test_a_sub_account_that_waits_for_highlevel_is_not_named_unfinished(world, waiting_location):
    world.fault("503", route="/oauth/locationToken", times=None)
    tick()
    with time_machine.travel(timezone.now() + timedelta(minutes=31)):
        assert watch_life()["given_up"] == 0


def test_a_caller_finds_out_that_a_pause_is_over_sooner_than_the_probe(
    api, world, install_location
):
    row = install_location()
    world.pause(row.resource_id)
    client = api()
    client.post(f"/app/refresh/{row.pk}/")
    world.resume(row.resource_id)
    assert_error(client.get(f"/app/get-token/{row.pk}/"), 409, "paused_by_highlevel")
    with time_machine.travel(timezone.now() + timedelta(minutes=16)):
        assert client.get(f"/app/get-token/{row.pk}/").json()["source"] == "refreshed"


def test_get_token_makes_few_queries(api, make_install, django_assert_num_queries):
    client, row = api(), make_install()
    client.get(f"/app/get-token/{row.pk}/")
    # The key, the install, the hand-out; when key and install were used is noted once a minute.
    with django_assert_num_queries(3):
        client.get(f"/app/get-token/{row.pk}/")


# --- Renewing ---


def test_refresh_renews_now(api, world, install_location):
    row = install_location()
    told = api().post(f"/app/refresh/{row.pk}/").json()
    assert told["success"] is True
    assert told["message"]
    assert told["expires_at"] > row.expires_at.isoformat()


def test_refresh_explains_a_refusal(api, world, install_location):
    row = install_location()
    world.refuse(row.resource_id)
    assert_error(api().post(f"/app/refresh/{row.pk}/"), 409, "needs_reconnect")


def test_refresh_explains_a_pause(api, world, install_location):
    row = install_location()
    world.pause(row.resource_id)
    assert_error(api().post(f"/app/refresh/{row.pk}/"), 409, "paused_by_highlevel")


def test_refresh_explains_an_outage(api, world, install_location):
    row = install_location()
    world.fault("503", route="/oauth/token", times=None)
    response = api().post(f"/app/refresh/{row.pk}/")
    assert_error(response, 503, "server_error")
    assert response["Retry-After"]


def test_refresh_of_an_uninstalled_one_is_gone(api, make_install):
    row = make_install(status=Status.UNINSTALLED, cause="uninstalled")
    assert_error(api().post(f"/app/refresh/{row.pk}/"), 410, "uninstalled")


FORM = "application/x-www-form-urlencoded"


def post_json(client, body):
    return client.post("/app/bulk-refresh/", body, content_type="application/json")


def test_bulk_refresh_renews_what_is_due(api, world, install_location):
    due, fresh = install_location(), install_location()
    end_in(due, timedelta(minutes=10))
    told = api().post("/app/bulk-refresh/").json()
    assert (told["success"], told["refreshed_count"], told["failed_count"]) == (True, 1, 0)
    fresh.refresh_from_db()
    assert fresh.generation == 1


def test_bulk_refresh_renews_the_chosen_ones(api, world, install_location):
    chosen, _other = install_location(), install_location()
    told = post_json(api(), {"ids": [str(chosen.pk), str(NOBODY)]}).json()
    assert told["refreshed_count"] == 1


def test_bulk_refresh_tells_which_of_the_chosen_ones_it_left_out(
    api, world, install_location, make_install
):
    chosen, gone = install_location(), make_install(status=Status.UNINSTALLED)
    ids = [str(pk) for pk in (chosen.pk, gone.pk, NOBODY, NOBODY)]
    told = post_json(api(), {"ids": ids}).json()
    assert told["left_out"] == [
        {"id": str(gone.pk), "cause": "uninstalled"},
        {"id": str(NOBODY), "cause": "not_found"},
    ]
    assert told["success"] is False
    assert [told[f"{name}_count"] for name in ("refreshed", "failed", "skipped")] == [1, 1, 1]


def test_bulk_refresh_tells_a_limited_key_nothing_of_others(
    api, world, install_location, make_install
):
    mine, other = install_location(), make_install()
    ids = [str(pk) for pk in (mine.pk, other.pk, NOBODY)]
    told = post_json(api(installs=[mine.pk]), {"ids": ids}).json()
    assert (told["refreshed_count"], told["failed_count"]) == (1, 2)
    assert {one["cause"] for one in told["left_out"]} == {"key_lacks_install"}


def test_a_job_tells_at_its_begin_what_it_left_out(api, make_install):
    ids = [str(make_install().pk) for _ in range(10)]
    response = post_json(api(), {"ids": [*ids, str(NOBODY)]})
    assert (response.status_code, response.json()["total"]) == (202, 10)
    assert response.json()["left_out"] == [{"id": str(NOBODY), "cause": "not_found"}]


def test_bulk_refresh_takes_json_that_comes_as_a_form(api, world, install_location):
    """curl -d '{…}' without a header says that it is a form."""
    chosen, other = install_location(), install_location()
    end_in(other, timedelta(minutes=10))
    body = json.dumps({"ids": [str(chosen.pk)]})
    told = api().post("/app/bulk-refresh/", body, content_type=FORM).json()
    assert told["refreshed_count"] == 1
    chosen.refresh_from_db()
    assert chosen.generation == 2


@pytest.mark.parametrize(
    "form", [{"data": "force=true", "content_type": FORM}, {"data": {"force": "true"}}]
)
def test_bulk_refresh_refuses_a_form(api, make_install, form):
    make_install()
    assert_error(api().post("/app/bulk-refresh/", **form), 400, "invalid_input")
    assert not RenewalJob.objects.exists()


def test_bulk_refresh_by_force_renews_all_and_counts_failures(api, world, install_location):
    _fine, refused = install_location(), install_location()
    world.refuse(refused.resource_id)
    told = post_json(api(), {"force": True}).json()
    assert (told["success"], told["refreshed_count"], told["failed_count"]) == (False, 1, 1)


def test_many_are_a_job_of_the_worker(api, world, install_location, make_install):
    real = install_location()
    ids = [str(real.pk)] + [str(make_install().pk) for _ in range(25)]
    client = api()
    response = post_json(client, {"ids": ids})
    assert response.status_code == 202
    job = response.json()["job"]
    assert client.get(f"/app/jobs/{job}/").json()["finished"] is False
    renew_batch(job, ids)
    told = client.get(f"/app/jobs/{job}/").json()
    assert told["finished"] is True
    assert (told["refreshed_count"], told["failed_count"]) == (1, 25)
    assert len(told["failed"]) == 25
    assert RenewalJob.objects.get().caller == "billing"


def test_a_job_can_be_cancelled(api, make_install):
    client = api()
    ids = [str(make_install().pk) for _ in range(10)]
    job = post_json(client, {"ids": ids}).json()["job"]
    told = client.post(f"/app/jobs/{job}/cancel/").json()
    assert (told["cancelled_count"], told["finished"]) == (10, True)


@pytest.mark.parametrize(
    "body",
    [
        *('{"ids": "all"}', '{"ids": ["x"]}', "[1]", "not json", '{"ids":' * 5000),
        *('{"force": 1}', '{"force": "yes"}', '{"force": null}'),
    ],
)
def test_bulk_refresh_refuses_rubbish(api, make_install, body):
    make_install()
    response = post_json(api(), body)
    assert response.status_code in (400, 422)
    assert response.json()["error"] == "invalid_input"
    assert not RenewalJob.objects.exists()


@pytest.mark.parametrize("fault", [OperationalError, InterfaceError])
@every_endpoint
def test_a_database_that_is_away_is_said_with_when_to_ask_again(api, method, path, scope, fault):
    client = api()

    def away(execute, sql, params, many, context):
        raise fault("server closed the connection")

    with connection.execute_wrapper(away):
        response = getattr(client, method)("/app/" + path)
    assert_error(response, 503, "database_unavailable")
    assert response["Retry-After"] == "5"


def test_a_database_that_is_full_is_said_to_be(api, make_install, full_database):
    client, ids = api(), [str(make_install().pk) for _ in range(9)]
    with full_database():
        response = post_json(client, {"ids": ids})
    assert_error(response, 503, "database_unavailable")
    assert response.json()["details"] == "WhatReach's own database is full."


def test_every_error_links_to_its_explanation(api, client):
    error = api().get("/app/nothing/").json()
    address, _, code = error["help_url"].partition("#")
    page = client.get(address).content.decode()
    assert f'id="{code}"' in page
    assert error["details"] in page


@pytest.mark.parametrize("debug", [True, False])
@pytest.mark.parametrize("prefix", ["/app/", "/ghl/"])
def test_a_fault_outside_of_the_api_is_json_too(world, settings, monkeypatch, prefix, debug):
    def broken(*args):
        raise RuntimeError("secret detail")

    settings.DEBUG = debug
    monkeypatch.setattr("integrations.views.missing_settings", broken)
    response = Client(raise_request_exception=False).get(f"{prefix}install/")
    assert_error(response, 500, "internal_error")
    assert "secret detail" not in response.content.decode()


@pytest.mark.parametrize("query", ["q=%00", "agency=a%00b", "q=" + "x" * 201, "state=fine"])
def test_a_filter_that_cannot_be_is_refused(api, query):
    assert_error(api().get(f"/app/list/?{query}"), 422, "invalid_input")


def test_a_change_by_a_key_is_recorded(api, world, install_location):
    row, client = install_location(), api()
    client.post(f"/app/refresh/{row.pk}/")
    post_json(client, {"ids": [str(row.pk)]})
    events = AuditEvent.objects.filter(actor_kind=AuditEvent.KEY).order_by("id")
    assert [(e.actor_name, e.action, e.outcome) for e in events] == [
        ("billing", "install.refresh", "done"),
        ("billing", "install.bulk_refresh", "done"),
    ]


def test_a_fault_of_ours_is_json_without_detail(api, monkeypatch):
    def broken(*args):
        raise RuntimeError("secret detail")

    monkeypatch.setattr("integrations.connectivity.check_services", broken)
    response = api().get("/app/test-connectivity/")
    assert_error(response, 500, "internal_error")
    assert "secret detail" not in response.content.decode()
