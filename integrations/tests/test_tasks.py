from __future__ import annotations

from datetime import timedelta

import pytest
import time_machine
from django.utils import timezone
from django_q.models import OrmQ

from integrations import bulk, heartbeat, tasks
from integrations.health import REQUEST_SHOWN_FOR, State, Status
from integrations.models import (
    GoHighLevelIntegration,
    RefreshAttempt,
    RenewalJob,
    RenewalJobItem,
)
from integrations.refresh import request_refresh

pytestmark = pytest.mark.django_db


def due(row, minutes=1):
    GoHighLevelIntegration.objects.filter(pk=row.pk).update(
        renew_at=timezone.now() - timedelta(minutes=minutes)
    )


def test_a_tick_renews_what_is_due_and_nothing_else(world, install_location):
    one, other = install_location(), install_location()
    due(one)
    assert tasks.tick() == {"renewed": 1, "failed": 0, "skipped": 0}
    other.refresh_from_db()
    assert other.generation == 1
    assert tasks.tick() == {"renewed": 0, "failed": 0, "skipped": 0}


def test_a_failing_install_does_not_hold_up_the_others(world, install_location, monkeypatch):
    monkeypatch.setattr(tasks, "TICK_BATCH", 1)
    failing, fine = install_location(), install_location()
    due(failing, minutes=9)
    due(fine)
    world.fault("500", route="/oauth/token", resource_id=failing.resource_id, times=None)
    assert tasks.tick() == {"renewed": 1, "failed": 1, "skipped": 0}


def test_installs_that_failed_before_come_after_the_others_and_get_less_time(
    world, install_location, monkeypatch
):
    healthy, failing = ([install_location() for _ in range(3)] for _ in range(2))
    for row in failing:
        due(row, minutes=30)
    for row in healthy:
        due(row)
    ids = [row.pk for row in failing]
    GoHighLevelIntegration.objects.filter(pk__in=ids).update(failures=4)
    with monkeypatch.context() as patch:
        patch.setattr(tasks, "FAILING_BUDGET_S", 0)
        assert tasks.tick()["renewed"] == 3
    assert GoHighLevelIntegration.objects.filter(pk__in=ids, generation=1).count() == 3
    assert tasks.tick()["renewed"] == 3


def test_of_those_called_back_together_the_one_whose_token_ends_first_is_renewed_first(
    install_location, world
):
    rows = [install_location() for _ in range(3)]
    now = timezone.now()
    for row, hours in zip(rows, (9, 1, 5), strict=True):
        GoHighLevelIntegration.objects.filter(pk=row.pk).update(
            renew_at=now, expires_at=now + timedelta(hours=hours)
        )
    tasks.tick()
    order = RefreshAttempt.objects.order_by("started_at").values_list("integration", flat=True)
    assert list(order) == [rows[1].pk, rows[2].pk, rows[0].pk]


def test_a_tick_that_runs_out_of_time_begins_nothing_and_rings_for_the_next(
    world, install_location, monkeypatch
):
    row = install_location()
    tasks.tick()
    due(row)
    OrmQ.objects.all().delete()
    with monkeypatch.context() as patch:
        patch.setattr(tasks, "BUDGET_S", 0)
        assert tasks.tick()["renewed"] == 0
    assert OrmQ.objects.count() == 1
    assert tasks.tick()["renewed"] == 1


def test_a_batch_that_runs_out_of_time_leaves_the_rest_to_another(
    world, install_location, monkeypatch
):
    rows = [install_location(), install_location()]
    ids = [row.pk for row in rows]
    job = bulk.create_job(ids, caller="test")
    OrmQ.objects.all().delete()
    with monkeypatch.context() as patch:
        patch.setattr(tasks, "BUDGET_S", 0)
        tasks.renew_batch(str(job.pk), [str(pk) for pk in ids])
    assert (job.progress().renewed, job.progress().is_finished) == (0, False)
    (left,) = [task.task["args"] for task in OrmQ.objects.all()]
    tasks.renew_batch(*left)
    assert (job.progress().renewed, job.progress().is_finished) == (2, True)


def test_threads_share_the_work_and_results_keep_the_order_of_the_things(settings):
    settings.RENEWAL_THREADS = 4
    assert bulk.side_by_side(lambda number: number * 2, range(50)) == list(range(0, 100, 2))
    assert bulk.side_by_side(str, []) == []


def test_a_batch_that_runs_twice_renews_once(world, install_location):
    row = install_location()
    job = bulk.create_job([row.pk], caller="test")
    for _ in range(2):
        assert bulk.run_batch(job, [row.pk])
    RenewalJobItem.objects.update(outcome=RenewalJobItem.PENDING)  # it died before it noted this
    bulk.run_batch(job, [row.pk])
    row.refresh_from_db()
    assert (row.generation, job.progress().renewed) == (2, 1)


def test_a_batch_whose_worker_was_killed_is_rung_for_when_its_leases_are_over(make_install):
    rows = [make_install() for _ in range(3)]
    job = bulk.create_job([row.pk for row in rows], caller="test")
    bulk.hand_to_worker(job)
    OrmQ.objects.all().delete()  # the queue has handed it out, to a worker that is no more
    job.items.filter(integration=rows[0]).update(
        outcome=RenewalJobItem.RENEWED, ended_at=timezone.now() + timedelta(minutes=1)
    )

    def rung_after(minutes):
        with time_machine.travel(timezone.now() + timedelta(minutes=minutes)):
            tasks.tick()
        return [task.task["args"] for task in OrmQ.objects.all()]

    assert rung_after(3) == []  # its last renewal is of two minutes ago
    (again,) = rung_after(4)
    assert again == (str(job.pk), [str(rows[1].pk), str(rows[2].pk)])
    assert len(rung_after(5)) == 1


def test_a_finished_job_is_not_looked_at_again(make_install):
    job = bulk.create_job([make_install().pk], caller="test")
    bulk.hand_to_worker(job)
    bulk.cancel(job)
    with time_machine.travel(timezone.now() + timedelta(minutes=10)):
        tasks.tick()
    job.refresh_from_db()
    assert job.rung_at is None


def test_a_cancelled_job_begins_nothing_more(world, install_location):
    done, left = install_location(), install_location()
    job = bulk.create_job([done.pk, left.pk], caller="test")
    bulk.run_batch(job, [done.pk])
    assert bulk.cancel(job) == 1
    bulk.run_batch(job, [done.pk, left.pk])
    left.refresh_from_db()
    assert left.generation == 1
    progress = job.progress()
    assert (progress.renewed, progress.cancelled, progress.is_finished) == (1, 1, True)


def test_a_job_tells_what_came_of_each_install(world, install_location):
    fine, refused = install_location(), install_location()
    world.refuse(refused.resource_id)
    job = bulk.create_job([fine.pk, refused.pk], caller="test")
    bulk.run_batch(job, [fine.pk, refused.pk])
    told = dict(job.items.values_list("integration_id", "outcome"))
    assert told == {fine.pk: "renewed", refused.pk: "failed"}
    assert job.items.get(outcome="failed").cause == "refused"


def test_a_job_cancelled_in_the_middle_of_a_batch_stops_there(world, install_location, monkeypatch):
    monkeypatch.setattr(bulk, "LOOK_EVERY_S", 0)
    rows = [install_location() for _ in range(3)]
    job = bulk.create_job([row.pk for row in rows], caller="test")
    refresh = bulk.refresh_integration

    def cancelled_meanwhile(pk, **options):
        bulk.cancel(job)
        return refresh(pk, **options)

    monkeypatch.setattr(bulk, "refresh_integration", cancelled_meanwhile)
    assert not bulk.run_batch(job, [row.pk for row in rows])
    progress = job.progress()
    assert (progress.renewed, progress.cancelled, progress.is_finished) == (1, 2, True)


def test_a_tick_is_a_sign_of_life():
    assert heartbeat.WORKER in heartbeat.standing_still(timezone.now())
    tasks.tick()
    assert heartbeat.WORKER not in heartbeat.standing_still(timezone.now())
    assert heartbeat.WORKER in heartbeat.standing_still(timezone.now() + timedelta(minutes=5))


def test_only_a_scheduled_tick_is_a_sign_of_life_of_the_scheduler():
    tasks.tick()
    assert set(heartbeat.read_all()) == {heartbeat.WORKER}
    tasks.scheduled_tick()
    assert set(heartbeat.read_all()) == {heartbeat.WORKER, heartbeat.SCHEDULER}


def test_a_scheduler_that_stands_still_beside_a_living_worker_is_seen():
    tasks.scheduled_tick()
    with time_machine.travel(timezone.now() + timedelta(minutes=5)):
        tasks.tick()
        assert set(heartbeat.standing_still(timezone.now())) == {heartbeat.SCHEDULER}


def test_one_click_shows_refreshing_until_the_task_is_done(world, install_location):
    row = install_location()
    assert request_refresh(row.pk, trigger="dashboard", caller="sam")
    row.refresh_from_db()
    assert row.state(timezone.now()) is State.REFRESHING
    assert tasks.refresh_one(str(row.pk), "dashboard", "sam", row.requested_at.isoformat())
    row.refresh_from_db()
    assert row.state(timezone.now()) is State.HEALTHY
    assert RefreshAttempt.objects.get().caller == "sam"


def test_double_clicks_make_one_task(world, install_location):
    row = install_location()
    OrmQ.objects.all().delete()
    assert [request_refresh(row.pk, trigger="t", caller="sam") for _ in range(3)] == [
        True,
        False,
        False,
    ]
    assert OrmQ.objects.count() == 1


def test_a_task_that_runs_twice_spends_one_token(world, install_location):
    row = install_location()
    request_refresh(row.pk, trigger="t", caller="sam")
    row.refresh_from_db()
    asked_at = row.requested_at.isoformat()
    for _ in range(2):
        assert tasks.refresh_one(str(row.pk), "t", "sam", asked_at) == "renewed"
    row.refresh_from_db()
    assert row.generation == 2


def test_a_click_that_no_worker_hears_is_not_shown_for_ever(make_install):
    row = make_install(requested_at=timezone.now() - REQUEST_SHOWN_FOR)
    assert row.state(timezone.now()) is State.HEALTHY
    assert request_refresh(row.pk, trigger="t", caller="sam")


def test_an_uninstalled_account_is_not_asked_for(make_install):
    row = make_install(status=Status.UNINSTALLED)
    assert not request_refresh(row.pk, trigger="t", caller="sam")


def test_the_hourly_renewal_is_a_job_over_what_needs_it(world, install_location):
    one, _fresh = install_location(), install_location()
    due(one)
    job = tasks.renew_needing()
    assert RenewalJob.objects.get().total == 1
    tasks.renew_batch(job, [str(one.pk)])
    assert RenewalJob.objects.get().progress().is_finished
    assert tasks.renew_needing() == "nothing due"


def test_the_health_check_counts_the_states(make_install):
    make_install()
    counted = tasks.check_health()
    assert counted["healthy"] == 1
    assert sum(counted.values()) == 1


def test_nothing_secret_passes_through_the_queue(world, install_location):
    row = install_location()
    request_refresh(row.pk, trigger="t", caller="sam")
    tasks.renew_needing()
    secrets = [row.open_access_token(), row.open_refresh_token()]
    payloads = str([task.task for task in OrmQ.objects.all()])
    assert str(row.pk) in payloads
    assert not any(secret[-12:] in payloads for secret in secrets)
