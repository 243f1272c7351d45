"""API keys in the browser: made, shown once, rotated, disabled, and what each read."""

from __future__ import annotations

import html
import re
import uuid
from datetime import timedelta

import pytest
import time_machine
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from access.keys import create_api_key
from access.models import ApiKey, AuditEvent, KeyAlert, Scope
from access.roles import Role

pytestmark = pytest.mark.django_db
LIST, NEW = "/keys/", "/keys/new/"


@pytest.fixture
def owner(staff, client):
    """Signed in a moment ago, so that nothing has to be confirmed."""
    client.post("/accounts/login/", {"login": staff.username, "password": "pw"})
    return client


@pytest.fixture
def limited_owner(make_person):
    person = make_person("lou", Role.OWNER, agencies=["a"])
    client = Client()
    client.post("/accounts/login/", {"login": person.username, "password": "pw"})
    return client


def page(key, action=""):
    return f"/keys/{key.pk}/{action}"


def text_of(answer):
    """The key's text that the page shows."""
    [text] = set(re.findall(r"wr_[0-9a-f]{8}_[\w-]{43}", html.unescape(answer.content.decode())))
    return text


def form(**values):
    made_up = {"id": str(uuid.uuid4()), "name": "Billing", "scopes": ["tokens:read"], "life": "90"}
    return made_up | values


def opens(text, path="/app/list/"):
    return Client().get(path, headers={"Authorization": f"Bearer {text}"}).status_code == 200


# --- Making ---


def test_a_new_key_works_and_is_shown_once(owner, make_install):
    row = make_install()
    answer = owner.post(NEW, form())
    text = text_of(answer)
    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]
    assert opens(text, f"/app/get-token/{row.pk}/")
    key = ApiKey.objects.get()
    assert (key.name, key.scopes, key.created_by) == ("Billing", ["tokens:read"], "sam")
    assert timedelta(days=89) < key.expires_at - timezone.now() < timedelta(days=91)
    for url in (LIST, page(key)):
        assert text.split("_", 2)[2] not in owner.get(url).content.decode()


def test_making_a_key_is_recorded_without_its_secret(owner):
    text = text_of(owner.post(NEW, form()))
    event = AuditEvent.objects.get(action="key.create")
    assert (event.actor_name, event.target_id) == ("sam", str(ApiKey.objects.get().pk))
    assert text.split("_", 2)[2] not in str(vars(event))


def test_the_form_sent_twice_makes_one_key(owner):
    values = form()
    owner.post(NEW, values)
    answer = owner.post(NEW, values, follow=True)
    assert ApiKey.objects.count() == 1
    assert "made already" in answer.content.decode()


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"scopes": []},
        {"scopes": ["everything"]},
        {"agencies": ["unknown"]},
        {"installs": "nobody"},
        {"life": "36500"},
        {"id": "x"},
    ],
)
def test_a_form_that_is_not_right_makes_no_key(owner, wrong):
    answer = owner.post(NEW, form(**wrong))
    assert answer.status_code == 422
    assert not ApiKey.objects.exists()


def test_a_key_can_be_limited_to_accounts_by_either_id_and_to_agencies(owner, make_install):
    agency = make_install(agency=True, company_id="a")
    one, other = make_install(company_id="b"), make_install(company_id="b")
    owner.post(NEW, form(agencies=[agency.resource_id], installs=f"{one.pk}\n{other.resource_id}"))
    key = ApiKey.objects.get()
    assert key.agencies == ["a"]
    assert key.installs == sorted([str(one.pk), str(other.pk)])


def test_whoever_is_limited_to_agencies_makes_keys_for_these_alone(limited_owner, make_install):
    own, other = make_install(company_id="a"), make_install(company_id="b")
    text = text_of(limited_owner.post(NEW, form(scopes=Scope.values)))
    assert ApiKey.objects.get().agencies == ["a"]
    assert opens(text, f"/app/status/{own.pk}/")
    assert not opens(text, f"/app/status/{other.pk}/")
    for reaching_out in ({"agencies": ["b"]}, {"installs": str(other.pk)}):
        assert limited_owner.post(NEW, form(**reaching_out)).status_code == 422


# --- Changing ---


@pytest.fixture
def key():
    return create_api_key("billing", scopes=Scope.values)


def test_a_rotated_key_has_two_secrets_for_the_chosen_time(owner, key):
    row, old = key
    answer = owner.post(page(row, "rotate/"), {"overlap": "1"})
    new = text_of(answer)
    assert "no-store" in answer["Cache-Control"]
    assert opens(old) and opens(new)
    assert "works on" in owner.get(page(row)).content.decode()
    with time_machine.travel(timezone.now() + timedelta(minutes=61)):
        assert opens(new) and not opens(old)


def test_the_old_secret_can_be_ended_before_its_time(owner, key):
    row, old = key
    new = text_of(owner.post(page(row, "rotate/"), {"overlap": "168"}))
    owner.post(page(row, "end-old/"))
    assert opens(new) and not opens(old)


def test_use_of_the_old_secret_is_told(owner, key):
    row, old = key
    text_of(owner.post(page(row, "rotate/"), {"overlap": "24"}))
    assert "last used <span" in owner.get(page(row)).content.decode()
    opens(old)
    row.refresh_from_db()
    assert row.old_used_at is not None


def test_disabling_can_be_undone(owner, key):
    row, text = key
    answer = owner.post(page(row, "disable/"), follow=True)
    assert not opens(text)
    assert "Undo: enable again" in answer.content.decode()
    owner.post(page(row, "enable/"))
    assert opens(text)
    actions = AuditEvent.objects.filter(target_id=str(row.pk)).order_by("id")
    assert list(actions.values_list("action", flat=True)) == ["key.disable", "key.enable"]


def change(**values):
    made_up = {"name": "billing", "scopes": Scope.values, "life": "same"}
    return made_up | values


def test_a_key_is_changed_and_keeps_its_secret(owner, make_install):
    row, text = create_api_key("crm", scopes=["proxy"])
    make_install(agency=True, company_id="a")
    assert not opens(text)
    shown = owner.get(page(row, "change/")).content.decode()
    assert 'value="crm"' in shown and "as it does now" in shown
    values = {"name": "CRM", "scopes": ["integrations:read"], "agencies": ["a"], "life": "90"}
    answer = owner.post(page(row, "change/"), values)
    assert answer["Location"] == page(row)
    assert opens(text)
    row.refresh_from_db()
    assert (row.name, row.scopes, row.agencies) == ("CRM", ["integrations:read"], ["a"])
    assert timedelta(days=89) < row.expires_at - timezone.now() < timedelta(days=91)
    owner.post(page(row, "change/"), values | {"life": "same", "scopes": ["tokens:read"]})
    until = row.expires_at
    row.refresh_from_db()
    assert (row.expires_at, opens(text)) == (until, False)


def test_a_widening_stands_in_the_record_with_what_was_before(owner, make_install):
    install = make_install()
    row, text = create_api_key("billing", scopes=["proxy"], installs=[str(install.pk)])
    owner.post(page(row, "change/"), change(scopes=["proxy", "tokens:read"]))
    event = AuditEvent.objects.get(action="key.change")
    assert (event.actor_name, event.target_id) == ("sam", str(row.pk))
    assert event.details == {
        "scopes": [["proxy"], ["proxy", "tokens:read"]],
        "installs": [[str(install.pk)], []],
    }
    assert text.split("_", 2)[2] not in str(vars(event))


def test_limits_that_nobody_knows_any_more_stay_until_they_are_taken_away(owner):
    gone = str(uuid.uuid4())
    row, _text = create_api_key("billing", scopes=["proxy"], installs=[gone], agencies=["gone"])
    shown = owner.get(page(row, "change/")).content.decode()
    assert gone in shown and 'value="gone"' in shown
    owner.post(page(row, "change/"), change(installs=gone, agencies=["gone"]))
    row.refresh_from_db()
    assert (row.installs, row.agencies, row.scopes) == ([gone], ["gone"], sorted(Scope.values))


@pytest.mark.parametrize(
    "wrong", [{"name": ""}, {"scopes": []}, {"installs": "nobody"}, {"life": "36500"}]
)
def test_a_change_that_is_not_right_changes_nothing(owner, key, wrong):
    assert owner.post(page(key[0], "change/"), change(**wrong)).status_code == 422
    row = ApiKey.objects.get()
    assert (row.name, row.scopes, row.expires_at) == ("billing", sorted(Scope.values), None)


def test_whoever_is_limited_cannot_widen_a_key_beyond_their_agencies(limited_owner, make_install):
    other = make_install(company_id="b")
    row, text = create_api_key("own", scopes=["proxy"], agencies=["a"])
    for reaching_out in ({"agencies": ["b"]}, {"installs": str(other.pk)}):
        assert limited_owner.post(page(row, "change/"), change(**reaching_out)).status_code == 422
    limited_owner.post(page(row, "change/"), change())
    row.refresh_from_db()
    assert row.agencies == ["a"]
    assert not opens(text, f"/app/status/{other.pk}/")


# --- Looking ---


def test_the_list_tells_of_each_key(owner, key):
    row, _text = key
    told = owner.get(LIST).content.decode()
    assert "billing" in told and f"wr_{row.prefix}" in told and "all accounts" in told


def test_the_list_says_what_is_doubtful(owner, key):
    row, text = key
    opens(text)
    with time_machine.travel(timezone.now() + timedelta(days=61)):
        ApiKey.objects.update(
            last_used_at=timezone.now(), scopes_used={"tokens:read": "2999-01-01"}
        )
        told = owner_again(owner).get(LIST).content.decode()
    assert "Wider than what it used: integrations:read, proxy, tokens:refresh" in told
    assert "Reaches all accounts and never expires." in told


def owner_again(client):
    client.post("/accounts/login/", {"login": "sam", "password": "pw"})
    return client


def test_the_page_of_a_key_tells_what_it_read(owner, key, make_install):
    row, text = key
    install = make_install(name="Harbour Dental")
    opens(text, f"/app/get-token/{install.pk}/")
    told = owner.get(page(row)).content.decode()
    assert "Harbour Dental" in told and "1 token" in told and "127.0.0.1" in told


@pytest.mark.parametrize("url", [LIST, "detail"])
def test_the_number_of_queries_does_not_grow(
    owner, key, make_install, django_assert_max_num_queries, url
):
    row, text = key
    for _ in range(5):
        create_api_key("another", scopes=[Scope.PROXY])
        opens(text, f"/app/get-token/{make_install().pk}/")
    # Session, person, permissions (2), then: keys and alerts; or the key, the installs that limit
    # it, addresses, alerts, reads (2).
    with django_assert_max_num_queries(12):
        owner.get(page(row) if url == "detail" else url)


# --- Unusual use ---


def test_unusual_use_is_shown_with_a_button_and_goes_when_it_is_expected(owner, key):
    row, _text = key
    alert = KeyAlert.objects.create(
        key=row,
        kind=KeyAlert.NEW_ADDRESS,
        at=timezone.now(),
        details={"address": "192.0.2.7", "others": 3},
    )
    for url in (LIST, page(row)):
        told = owner.get(url).content.decode()
        assert "(192.0.2.7 and 3 more)" in told and "Disable key" in told
    owner.post(reverse("dashboard:key-alert-accept", args=[alert.pk]))
    assert "192.0.2.7" not in owner.get(LIST).content.decode()
    alert.refresh_from_db()
    assert alert.accepted_by == "sam"


# --- Who ---


def test_keys_that_reach_further_do_not_exist_for_a_limited_person(limited_owner, make_install):
    inside, outside = make_install(company_id="a"), make_install(company_id="b")
    own, _ = create_api_key("own", scopes=[Scope.PROXY], agencies=["a"])
    by_account, _ = create_api_key("acc", scopes=[Scope.PROXY], installs=[str(inside.pk)])
    hidden = [
        create_api_key("all", scopes=[Scope.PROXY])[0],
        create_api_key("both", scopes=[Scope.PROXY], agencies=["a", "b"])[0],
        create_api_key("out", scopes=[Scope.PROXY], installs=[str(outside.pk)])[0],
    ]
    alert = KeyAlert.objects.create(key=hidden[0], kind=KeyAlert.SWEEP, at=timezone.now())
    told = limited_owner.get(LIST).content.decode()
    for key in (own, by_account):
        assert key.prefix in told
        assert limited_owner.get(page(key)).status_code == 200
    for key in hidden:
        assert key.prefix not in told
        assert limited_owner.get(page(key)).status_code == 404
        for action in ("change/", "rotate/", "disable/", "enable/", "end-old/"):
            assert limited_owner.post(page(key, action)).status_code == 404
    accept = reverse("dashboard:key-alert-accept", args=[alert.pk])
    assert limited_owner.post(accept).status_code == 404
    assert not ApiKey.objects.exclude(disabled_at=None, rotated_at=None).exists()


def test_only_owners_manage_keys(make_person, key):
    client = Client()
    client.force_login(make_person("otto", Role.OPERATOR))
    for url in (LIST, NEW, page(key[0])):
        assert client.get(url).status_code == 403
    assert client.post(page(key[0], "disable/")).status_code == 403
    assert ApiKey.objects.get().disabled_at is None


@pytest.mark.parametrize(
    ("url", "values"), [(NEW, form()), ("rotate/", {}), ("change/", change(name="mine"))]
)
def test_a_new_secret_needs_a_confirmation_of_who_it_is(staff, key, url, values):
    row, text = key
    client = Client()
    client.force_login(staff)  # a session in which nobody gave a password
    answer = client.post(url if url == NEW else page(row, url), values)
    assert answer.status_code == 302
    assert ApiKey.objects.count() == 1
    assert opens(text)


# --- The API's own page ---


def test_the_api_page_tells_of_each_address(staff_client):
    told = staff_client.get("/api/docs").content.decode()
    for path in ("/app/list/", "/app/get-token/{id}/", "/app/bulk-refresh/", "/app/jobs/{id}/"):
        assert path in told
    assert told.count("/app/api/{id}/{path}") == 1  # all its methods in one place
    assert "min_valid_for" in told and "tokens:read" in told and "access_token" in told


def test_the_description_for_machines_is_behind_sign_in(client, staff_client):
    assert Client().get("/api/openapi.json").status_code == 302
    assert Client().get("/api/docs").status_code == 302
    described = staff_client.get("/api/openapi.json").json()
    token = described["paths"]["/app/get-token/{id}/"]["get"]
    assert token["x-scope"] == "tokens:read"
    assert set(token["responses"]) == {
        *("200", "401", "403", "404", "409", "410", "422", "429", "500", "503")
    }
    passed_on = described["paths"]["/app/api/{id}/{path}"]
    assert set(passed_on) == {"get", "head", "post", "put", "patch", "delete", "options"}
    assert {"default", "408", "411", "413", "502", "503", "504"} <= set(
        passed_on["post"]["responses"]
    )
