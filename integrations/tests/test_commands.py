from __future__ import annotations

import json
import signal
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from django_q.models import Schedule

from integrations.highlevel import HighLevel
from integrations.models import GoHighLevelIntegration
from integrations.schedules import REGULAR, TICK, ensure_schedules

pytestmark = pytest.mark.django_db


def run(*words):
    out = StringIO()
    try:
        call_command(*words, stdout=out)
        status = 0
    except SystemExit as end:
        status = end.code
    return status, out.getvalue()


def make_due(row):
    GoHighLevelIntegration.objects.filter(pk=row.pk).update(renew_at=timezone.now())


def test_refresh_renews_only_what_is_due(world, install_location):
    due, fresh = install_location(), install_location()
    make_due(due)
    status, out = run("refresh_ghl_tokens")
    assert status == 0
    assert "renewed 1, failed 0" in out
    fresh.refresh_from_db()
    assert fresh.generation == 1


def test_refresh_sends_nothing_where_no_app_is_set_up(world, install_location, settings):
    make_due(install_location())
    calls = len(world.calls())
    settings.GHL_CLIENT_ID = ""
    with pytest.raises(CommandError, match="Nothing was sent") as refused:
        call_command("refresh_ghl_tokens")
    assert (refused.value.returncode, len(world.calls())) == (2, calls)
    assert "due 1" in run("refresh_ghl_tokens", "--dry-run")[1]


@pytest.mark.parametrize("words", [[], ["--dry-run"]])
def test_reconcile_sends_nothing_where_no_app_is_set_up(world, install_agency, settings, words):
    install_agency()
    calls = len(world.calls())
    settings.GHL_CLIENT_ID = ""
    with pytest.raises(CommandError, match="Nothing was sent") as refused:
        call_command("reconcile_installs", *words)
    assert (refused.value.returncode, len(world.calls())) == (2, calls)


def test_refresh_renews_all_by_force(world, install_location):
    rows = [install_location(), install_location()]
    assert "renewed 2" in run("refresh_ghl_tokens", "--force")[1]
    assert {GoHighLevelIntegration.objects.get(pk=row.pk).generation for row in rows} == {2}


def test_a_dry_run_names_them_and_spends_nothing(world, install_location):
    row = install_location()
    make_due(row)
    status, out = run("refresh_ghl_tokens", "--dry-run")
    assert status == 0
    assert f"would renew {row}" in out
    assert world.max_uses() == 0


def test_refresh_exits_with_1_when_some_failed(world, install_location):
    row = install_location()
    world.refuse(row.resource_id)
    status, out = run("refresh_ghl_tokens", "--force")
    assert status == 1
    assert "refused" in out


def test_refresh_prints_one_json_object(world, install_location):
    install_location()
    status, out = run("refresh_ghl_tokens", "--force", "--json")
    assert status == 0
    told = json.loads(out)
    assert (told["due"], told["renewed"], told["failed"]) == (1, 1, 0)


def test_a_wrong_option_is_bad_usage():
    with pytest.raises(CommandError):
        run("refresh_ghl_tokens", "--no-such-option")


def test_crontab_shows_adds_and_removes_the_three_schedules():
    run("crontab", "remove")
    assert "none" in run("crontab", "show")[1]
    assert run("crontab", "add")[1].count("added") == 3
    assert run("crontab", "add")[1] == "all are there already\n"
    shown = run("crontab", "show")[1]
    assert all(name in shown for name in REGULAR)
    assert run("crontab", "remove")[1] == "removed 3\n"
    assert Schedule.objects.filter(name=TICK).exists()


def test_the_three_schedules_come_when_the_contract_says():
    run("crontab", "remove")
    run("crontab", "add")
    now = timezone.now()
    runs = {s.name: s.next_run for s in Schedule.objects.filter(name__in=REGULAR)}
    hourly = runs["whatreach: hourly renewal"]
    daily = runs["whatreach: daily health check"]
    weekly = runs["whatreach: bulk renewal on Sundays"]
    assert now < hourly <= now + timedelta(hours=1)
    assert (daily.hour, daily.minute) == (2, 0)
    assert (weekly.isoweekday(), weekly.hour, weekly.minute) == (7, 3, 0)
    assert all(run > now for run in runs.values())


def test_a_migrate_brings_the_tick_back_but_not_what_an_operator_removed():
    Schedule.objects.all().delete()
    ensure_schedules()
    ensure_schedules()
    ticks = Schedule.objects.filter(name=TICK)
    assert list(ticks.values_list("minutes", "repeats")) == [(1, -1)]
    assert not Schedule.objects.filter(name__in=REGULAR).exists()


def test_an_operators_change_of_a_schedule_is_kept():
    Schedule.objects.filter(name=TICK).update(minutes=5)
    ensure_schedules()
    assert Schedule.objects.get(name=TICK).minutes == 5


def test_sigterm_lets_the_renewal_in_flight_finish_and_begins_no_other(
    world, install_location, monkeypatch
):
    for _ in range(3):
        install_location()
    refresh = HighLevel.refresh

    def terminated_meanwhile(client, token, *, user_type):
        signal.raise_signal(signal.SIGTERM)
        return refresh(client, token, user_type=user_type)

    monkeypatch.setattr(HighLevel, "refresh", terminated_meanwhile)
    status, out = run("refresh_ghl_tokens", "--force")
    assert status == 0
    assert "renewed 1, failed 0, skipped 0, cancelled 2" in out
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
