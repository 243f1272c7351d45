"""What the app asks for now beside what each account allowed."""

from __future__ import annotations

import pytest
from django.utils.module_loading import import_string
from django_q.models import OrmQ

from integrations import install, scopes
from integrations.health import Status
from integrations.models import LOCATION, GoHighLevelIntegration
from sandbox.world import DEFAULT_SCOPE

pytestmark = pytest.mark.django_db
ROWS = GoHighLevelIntegration.objects
REDIRECT_URI = "http://localhost/app/callback/"
MORE = f"{DEFAULT_SCOPE} contacts.readonly"


def work():
    while entry := OrmQ.objects.order_by("pk").first():
        task = entry.task
        entry.delete()
        import_string(task["func"])(*task["args"], **task["kwargs"])


def test_an_account_is_behind_when_it_lacks_a_scope_and_never_for_having_more(
    settings, make_install
):
    settings.GHL_SCOPES = "a b"
    lacks = make_install(scope="b")
    make_install(scope="b a c")
    make_install(scope="")  # not known
    make_install(scope="b", status=Status.UNINSTALLED)
    assert list(scopes.behind(ROWS.all())) == [lacks]
    assert scopes.progress(ROWS.all()) == scopes.Progress(complete=1, total=2)
    assert scopes.missing("b") == ["a"]


def test_an_agency_that_confirms_the_new_scopes_takes_its_sub_accounts_along(
    world, settings, install_agency
):
    agency = install_agency(locations=2)
    work()
    settings.GHL_SCOPES = MORE
    assert scopes.progress(ROWS.all()) == scopes.Progress(complete=0, total=3)
    code = world.install(agency.resource_id, redirect_uri=REDIRECT_URI, scope=MORE)
    install.install_from_code(code)
    work()
    assert scopes.progress(ROWS.all()) == scopes.Progress(complete=3, total=3)
    assert set(ROWS.values_list("status", flat=True)) == {Status.ACTIVE}
    assert world.max_uses() <= 1


def test_where_the_agency_cannot_help_the_sub_account_keeps_working(
    world, settings, install_agency
):
    agency = install_agency(locations=1)
    work()
    code = world.install(agency.resource_id, redirect_uri=REDIRECT_URI, scope=MORE)
    settings.GHL_SCOPES = MORE
    world.fault("401", route="/oauth/locationToken", times=99)
    install.install_from_code(code)
    work()
    row = ROWS.get(user_type=LOCATION)
    assert row.status == Status.ACTIVE
    assert scopes.missing(row.scope) == ["contacts.readonly"]


def test_an_agency_that_is_behind_itself_is_asked_for_nothing(settings, install_agency, world):
    agency = install_agency(locations=1)
    work()
    calls = len(world.calls())
    settings.GHL_SCOPES = MORE
    scopes.ask_to_catch_up(agency)
    work()
    assert len(world.calls()) == calls
