"""HighLevel's list beside ours."""

from __future__ import annotations

import json
from ast import literal_eval
from datetime import timedelta
from io import StringIO

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.module_loading import import_string
from django_q.models import OrmQ, Schedule

from integrations import ending, install, listing, reconcile
from integrations.health import Status
from integrations.models import (
    COMPANY,
    LOCATION,
    Comparison,
    GoHighLevelIntegration,
    ListedLocation,
)
from integrations.tasks import tick, watch_life

pytestmark = pytest.mark.django_db
ROWS = GoHighLevelIntegration.objects
LIST = "/oauth/installedLocations"


@pytest.fixture
def work():
    """Do what is in the queue, and what that puts in it."""

    def work():
        while entry := OrmQ.objects.order_by("pk").first():
            task = entry.task
            entry.delete()
            import_string(task["func"])(*task["args"], **task["kwargs"])

    return work


@pytest.fixture
def agency(world, install_agency, work):
    """An agency with three connected sub-accounts."""
    row = install_agency(locations=3)
    work()
    tick()  # their names
    world.deliver(lambda *_: 200)  # what it told then did not reach us
    assert ROWS.filter(user_type=LOCATION, status=Status.ACTIVE).count() == 3
    return row


def compare(agency, work, **choice):
    comparison = reconcile.begin(agency, caller="sam", **choice)
    work()
    comparison.refresh_from_db()
    assert comparison.cause == ""
    return comparison


def names(rows):
    return sorted(rows.values_list("resource_id", flat=True))


def opens_unheard(world, agency, n=1):
    """HighLevel installs on new sub-accounts, and no event reaches us."""
    new = [world.create_location(agency.resource_id, f"New {i}").id for i in range(n)]
    world.install(agency.resource_id, new)
    return sorted(new)


def goes_unheard(world, agency, position=0):
    gone = world.locations(agency.resource_id)[position].id
    world.uninstall(gone)
    return gone


def test_when_nothing_differs_both_lists_are_the_same(agency, work):
    comparison = compare(agency, work)
    assert reconcile.count([comparison])[comparison.pk] == reconcile.Columns(0, 0, 3)


def test_it_tells_what_is_missing_on_which_side(world, agency, work):
    new = opens_unheard(world, agency, 2)
    gone = goes_unheard(world, agency)
    with time_machine.travel(timezone.now() + timedelta(minutes=1)):
        comparison = compare(agency, work)
        assert names(reconcile.missing_here(comparison)) == new
        assert names(reconcile.missing_there(comparison)) == [gone]
        assert reconcile.count([comparison])[comparison.pk] == reconcile.Columns(2, 1, 2)
    # It only looked.
    assert ROWS.filter(user_type=LOCATION, status=Status.ACTIVE).count() == 3


def test_fetching_gets_the_missing_token(world, agency, work):
    [new] = opens_unheard(world, agency)
    comparison = compare(agency, work)
    assert reconcile.fetch(comparison, [new]) == 1
    work()
    assert ROWS.get(resource_id=new).status == Status.ACTIVE
    assert not reconcile.missing_here(comparison).exists()


def test_one_that_ended_here_by_mistake_can_be_fetched_by_name_but_not_by_itself(
    world, agency, work
):
    row = ROWS.filter(user_type=LOCATION).first()
    ending.end_here(row, caller="sam")
    with time_machine.travel(timezone.now() + timedelta(hours=1)):
        comparison = compare(agency, work, fetches=True)
        assert names(reconcile.missing_here(comparison)) == [row.resource_id]
        assert reconcile.fetch(comparison, [row.resource_id], ended_too=True) == 1
        work()
    row.refresh_from_db()
    assert row.status == Status.ACTIVE


def test_what_is_gone_there_ends_here_after_highlevel_was_asked_once_more(world, agency, work):
    gone = goes_unheard(world, agency)
    stays = goes_unheard(world, agency, 1)
    with time_machine.travel(timezone.now() + timedelta(minutes=1)):
        comparison = compare(agency, work)
        world.install(agency.resource_id, [stays])  # back again before anybody clicked
        ids = list(reconcile.missing_there(comparison).values_list("pk", flat=True))
        assert reconcile.end_missing(comparison, ids, caller="sam") == 2
        work()
    row = ROWS.get(resource_id=gone)
    assert (row.status, row.cause) == (Status.UNINSTALLED, "not_listed")
    assert ROWS.get(resource_id=stays).status == Status.ACTIVE


def goes_on_later() -> bool:
    """Do what is planned for once, as the queue's scheduler does; whether there was anything."""
    planned = list(Schedule.objects.filter(schedule_type=Schedule.ONCE))
    for one in planned:
        one.delete()
        import_string(one.func)(*literal_eval(one.args))
    return bool(planned)


def test_while_highlevel_does_not_answer_nothing_is_marked_as_gone_but_all_is_later(
    world, agency, work
):
    gone = [goes_unheard(world, agency), goes_unheard(world, agency, 1)]
    with time_machine.travel(timezone.now() + timedelta(minutes=1)):
        comparison = compare(agency, work)
        world.fault("500", route=LIST, times=2)
        ids = list(reconcile.missing_there(comparison).values_list("pk", flat=True))
        reconcile.end_missing(comparison, ids, caller="sam")
        work()
        ours = ROWS.filter(resource_id__in=gone)
        assert {row.status for row in ours} == {Status.ACTIVE}
        assert goes_on_later()
        assert {row.cause for row in ours.all()} == {"not_listed"}
        assert not goes_on_later()


def test_one_that_highlevel_does_not_tell_of_keeps_no_other_from_being_marked(
    world, agency, work, monkeypatch
):
    monkeypatch.setattr(reconcile, "MOST_FAILED", 1)
    gone = [goes_unheard(world, agency, n) for n in range(3)]
    with time_machine.travel(timezone.now() + timedelta(minutes=1)):
        comparison = compare(agency, work)
        rows = reconcile.missing_there(comparison).order_by("pk")
        ids = list(rows.values_list("pk", flat=True))
        silent = rows[0].resource_id
        world.fault("500", route=LIST, times=None, resource_id=silent)
        reconcile.end_missing(comparison, ids, caller="sam")
        work()
        while goes_on_later():
            pass
        ended = ROWS.filter(resource_id__in=gone, cause="not_listed")
        assert set(ended.values_list("resource_id", flat=True)) == {*gone} - {silent}
        assert names(reconcile.missing_there(comparison)) == [silent]


def test_what_highlevel_does_not_say_for_long_stays_among_those_that_are_missing_there(
    world, agency, work, caplog
):
    gone = goes_unheard(world, agency)
    with time_machine.travel(timezone.now() + timedelta(minutes=1)):
        comparison = compare(agency, work)
        world.fault("500", route=LIST, times=None)
        ids = list(reconcile.missing_there(comparison).values_list("pk", flat=True))
        reconcile.end_missing(comparison, ids, caller="sam")
        work()
        tries = 1
        while goes_on_later():
            tries += 1
        assert tries == reconcile.MOST_TRIES
        assert "whether 1 sub-accounts" in caplog.text
        assert names(reconcile.missing_there(comparison)) == [gone]


def test_events_after_the_reading_are_no_difference(world, agency, work):
    comparison = compare(agency, work)
    row = ROWS.filter(user_type=LOCATION).first()
    later = timezone.now() + timedelta(minutes=1)
    ending.note_uninstalled(company_id="", location_id=row.resource_id, occurred_at=later)
    install.note_installed(
        company_id=agency.resource_id, location_id="brand-new", occurred_at=later
    )
    counted = reconcile.count([comparison])[comparison.pk]
    assert (counted.missing_here, counted.missing_there) == (0, 0)


def test_a_list_of_thousands_is_read_page_by_page_without_a_call_in_a_transaction(
    world, agency, work, monkeypatch
):
    opens_unheard(world, agency, 1200)
    outer = len(connection.savepoint_ids)
    pages = []
    ask = listing.HighLevel.installed_locations

    def watched(client, token, **query):
        assert len(connection.savepoint_ids) == outer
        page = ask(client, token, **query)
        pages.append(len(page.locations))
        return page

    monkeypatch.setattr(listing.HighLevel, "installed_locations", watched)
    comparison = compare(agency, work)
    assert pages == [100] * 12 + [3, 0]
    assert reconcile.count([comparison])[comparison.pk] == reconcile.Columns(1200, 0, 3)
    assert reconcile.fetch(comparison) == 1200
    assert ROWS.filter(status=Status.WAITING).count() == 1200


def test_a_highlevel_that_gives_shorter_pages_is_read_to_its_end(agency, work, monkeypatch):
    ask = listing.HighLevel.installed_locations
    monkeypatch.setattr(
        listing.HighLevel,
        "installed_locations",
        lambda client, token, **query: ask(client, token, **(query | {"limit": 2})),
    )
    comparison = compare(agency, work)
    assert reconcile.count([comparison])[comparison.pk] == reconcile.Columns(0, 0, 3)


def test_reading_goes_on_where_the_budget_ended(world, agency, work, monkeypatch):
    opens_unheard(world, agency, 250)
    monkeypatch.setattr(reconcile, "BUDGET_S", 0)  # each task reads one page
    comparison = compare(agency, work)
    assert comparison.position == 253
    assert comparison.listed.count() == 253


def test_a_task_that_died_is_followed_by_another(agency, work):
    comparison = reconcile.begin(agency, caller="sam")
    OrmQ.objects.all().delete()
    reconcile._take_turn(comparison.pk)  # the worker took it, and was killed
    assert watch_life()["comparisons"] == 0
    with time_machine.travel(timezone.now() + reconcile.TURN + timedelta(seconds=1)):
        assert watch_life()["comparisons"] == 1
        work()
    comparison.refresh_from_db()
    assert comparison.ended_at is not None


def test_a_fault_that_passes_is_tried_again_and_one_that_stays_ends_it(world, agency, work):
    world.fault("500", route=LIST, times=2)
    comparison = reconcile.begin(agency, caller="sam")
    work()
    comparison.refresh_from_db()
    assert comparison.is_running
    now = timezone.now()
    for n in range(1, 3):
        with time_machine.travel(now + timedelta(hours=n)):
            watch_life()
            work()
    comparison.refresh_from_db()
    assert (comparison.cause, comparison.is_running) == ("", False)

    world.fault("500", route=LIST, times=99)
    again = reconcile.begin(agency, caller="sam")
    work()
    for n in range(3, 9):
        with time_machine.travel(now + timedelta(hours=n)):
            watch_life()
            work()
    again.refresh_from_db()
    assert (again.cause, again.is_running) == ("server_error", False)
    assert reconcile.newest([agency])[agency.pk] == comparison  # the last good one is still shown


def test_two_clicks_make_one_reading_and_the_newest_alone_is_kept(agency, work):
    first = reconcile.begin(agency, caller="sam")
    assert reconcile.begin(agency, caller="alex") == first
    work()
    with time_machine.travel(timezone.now() + timedelta(minutes=1)):
        second = compare(agency, work)
    assert list(Comparison.objects.all()) == [second]
    assert set(ListedLocation.objects.values_list("comparison_id", flat=True)) == {second.pk}


def test_the_night_compares_all_connected_agencies_and_fetches_what_is_missing(
    world, agency, work, make_install
):
    make_install(agency=True, company_id="off", status=Status.REFUSED)
    [new] = opens_unheard(world, agency)
    gone = goes_unheard(world, agency)
    assert Schedule.objects.get(name="whatreach: nightly comparison").cron == "20 2 * * *"
    assert reconcile.nightly() == 1
    work()
    tick()
    assert ROWS.get(resource_id=new).status == Status.ACTIVE
    assert ROWS.get(resource_id=gone).status == Status.ACTIVE  # a person says so, not the night


def test_the_numbers_of_many_agencies_take_as_many_queries_as_of_one(
    world, agency, work, install_agency
):
    compare(agency, work)
    comparisons = list(reconcile.newest([agency]).values())
    with CaptureQueriesContext(connection) as one:
        reconcile.count(comparisons)
    for _ in range(3):
        other = install_agency(locations=1)
        work()
        compare(other, work)
    comparisons = list(reconcile.newest(list(ROWS.filter(user_type=COMPANY))).values())
    with CaptureQueriesContext(connection) as four:
        counted = reconcile.count(comparisons)
    assert len(one) == len(four) == 3
    assert sorted(columns.same for columns in counted.values()) == [1, 1, 1, 3]


# --- reconcile_installs ---


def run(*arguments):
    out = StringIO()
    call_command("reconcile_installs", *arguments, stdout=out)
    return out.getvalue()


def test_a_dry_run_of_the_command_only_tells(world, agency):
    [new] = opens_unheard(world, agency)
    gone = goes_unheard(world, agency)
    with time_machine.travel(timezone.now() + timedelta(minutes=1)):
        told = json.loads(run("--dry-run", "--json"))
    [one] = told["agencies"]
    assert told["dry_run"] is True
    assert (one["missing_here"], one["missing_there"], one["same"]) == ([new], [gone], 2)
    assert not ROWS.filter(resource_id=new).exists()


def test_the_command_fetches_and_with_end_missing_also_ends(world, agency):
    [new] = opens_unheard(world, agency)
    gone = goes_unheard(world, agency)
    with time_machine.travel(timezone.now() + timedelta(minutes=1)):
        text = run()
        assert "missing here 1" in text
        assert "tokens to be fetched 1" in text
        assert ROWS.get(resource_id=new).status == Status.WAITING
        assert ROWS.get(resource_id=gone).status == Status.ACTIVE
        tick()
        assert "marked as uninstalled 1" in run("--end-missing")
    assert ROWS.get(resource_id=new).status == Status.ACTIVE
    assert ROWS.get(resource_id=gone).cause == "not_listed"


def test_the_command_says_by_its_exit_status_that_an_agency_could_not_be_compared(world, agency):
    world.fault("500", route=LIST, times=99)
    out = StringIO()
    with pytest.raises(SystemExit) as end:
        call_command("reconcile_installs", "--json", stdout=out)
    assert end.value.code == 1
    assert json.loads(out.getvalue())["agencies"][0]["cause"] == "server_error"
    assert not Comparison.objects.filter(ended_at=None).exists()


def test_the_command_says_in_words_why_an_agency_could_not_be_compared(world, agency, capsys):
    world.fault("500", route=LIST, times=99)
    with pytest.raises(SystemExit):
        call_command("reconcile_installs")
    assert "HighLevel answered with a fault of its own. (server_error)" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [("--agency", "nobody"), ("--dry-run", "--end-missing")])
def test_bad_usage_of_the_command_has_exit_status_two(arguments):
    with pytest.raises(CommandError) as refused:
        run(*arguments)
    assert refused.value.returncode == 2


def test_without_an_agency_the_command_has_nothing_to_compare(install_location):
    install_location()
    assert "No agency is connected" in run()
    assert not ROWS.filter(user_type=COMPANY).exists()
