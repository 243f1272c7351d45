from __future__ import annotations

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone
from django_q.models import OrmQ

from access.roles import Role
from integrations import bulk
from integrations.health import Status
from integrations.models import GoHighLevelIntegration, RenewalJob, RenewalJobItem

pytestmark = pytest.mark.django_db
JOBS = reverse("dashboard:job-list")


@pytest.fixture
def job(world, install_location):
    """Three installs: one renewed, one that HighLevel refused, one still open."""
    fine, refused, waiting = (install_location() for _ in range(3))
    world.refuse(refused.resource_id)
    job = bulk.create_job([fine.pk, refused.pk, waiting.pk], caller="sam")
    bulk.run_batch(job, [fine.pk, refused.pk])
    return job


def page(client, name, job, **headers):
    return client.get(reverse(f"dashboard:{name}", args=[job.pk]), headers=headers)


def test_it_shows_how_far_a_job_is_and_what_was_not_renewed(staff_client, job):
    html = page(staff_client, "job-detail", job).content.decode()
    assert "2 of 3 done" in html
    assert "Needs reconnect" in html
    assert html.index("Failed") < html.index("Waiting")


def test_those_that_failed_come_first_and_what_is_left_out_is_said(
    staff_client, make_install, monkeypatch
):
    skipped, failed = make_install(name="Skipped"), make_install(name="Failed")
    job = bulk.create_job([skipped.pk, failed.pk], caller="sam")
    for row, outcome in ((skipped, RenewalJobItem.SKIPPED), (failed, RenewalJobItem.FAILED)):
        job.items.filter(integration=row).update(outcome=outcome)
    monkeypatch.setattr("dashboard.jobs.MOST_ITEMS", 1)
    html = page(staff_client, "job-detail", job).content.decode()
    assert str(failed.pk) in html and str(skipped.pk) not in html
    assert "the first 1 of 2" in html


def test_those_that_failed_are_renewed_again_with_one_click(
    staff_client, job, make_person, sign_in
):
    again = reverse("dashboard:job-again", args=[job.pk])
    assert "failed one again" not in page(staff_client, "job-detail", job).content.decode()
    bulk.cancel(job)
    assert "Refresh the failed one again" in page(staff_client, "job-detail", job).content.decode()
    viewer = sign_in(make_person("vera", Role.VIEWER))
    assert again not in page(viewer, "job-detail", job).content.decode()
    assert viewer.post(again).status_code == 403
    answer = staff_client.post(again)
    later = RenewalJob.objects.exclude(pk=job.pk).get()
    assert answer["Location"] == reverse("dashboard:job-detail", args=[later.pk])
    failed = job.items.get(outcome=RenewalJobItem.FAILED)
    assert [item.integration_id for item in later.items.all()] == [failed.integration_id]
    assert OrmQ.objects.latest("pk").task["args"][0] == str(later.pk)


def test_those_renewed_are_listed_too(staff_client, install_location):
    late = install_location()
    later = bulk.create_job([late.pk], caller="sam")
    bulk.run_batch(later, [late.pk])
    html = page(staff_client, "live-job", later).content.decode()
    assert "1 of 1 renewed" in html
    renewed = html.partition('id="renewed-title"')[2]
    assert str(late) in renewed and "Not renewed" not in html


def test_the_live_part_is_a_fragment_and_silent_while_nothing_changes(staff_client, job):
    first = page(staff_client, "live-job", job)
    assert "<html" not in first.content.decode()
    assert f'id="job-{job.pk}"' in first.content.decode()
    version = first["X-Panel-Version"]
    assert page(staff_client, "live-job", job, **{"X-Panel-Version": version}).status_code == 204


def test_stopping_a_job_leaves_the_rest_as_it_is(staff_client, job):
    answer = staff_client.post(reverse("dashboard:job-cancel", args=[job.pk]), follow=True)
    html = answer.content.decode()
    assert "1 left as they were" in html
    assert "1 of 3 renewed" in html
    assert job.items.filter(outcome=RenewalJobItem.CANCELLED).count() == 1


def test_what_is_due_is_handed_to_the_worker_with_one_click(staff_client, make_install):
    due = make_install(renew_at=timezone.now() - timedelta(minutes=1))
    make_install()
    make_install(status=Status.UNINSTALLED, renew_at=None)
    assert "Refresh 1 due" in staff_client.get(JOBS).content.decode()
    answer = staff_client.post(reverse("dashboard:job-create"))
    job = RenewalJob.objects.get()
    assert answer["Location"] == reverse("dashboard:job-detail", args=[job.pk])
    assert [item.integration_id for item in job.items.all()] == [due.pk]
    assert job.caller == "sam"
    assert OrmQ.objects.get().task["func"] == "integrations.tasks.renew_batch"


def test_the_list_shows_the_jobs_newest_first(staff_client, make_install):
    assert "None yet" in staff_client.get(JOBS).content.decode()
    bulk.create_job([make_install().pk], caller="billing")
    html = staff_client.get(JOBS).content.decode()
    assert "1 account" in html
    assert "billing" in html


def test_a_limited_person_sees_and_stops_the_jobs_of_their_accounts_alone(
    make_person, sign_in, make_install
):
    mine, theirs = make_install(company_id="agency-1"), make_install(company_id="agency-2")
    # An API key, too, may be called as the person is.
    own = bulk.create_job([mine.pk], caller="billing")
    others = bulk.create_job([theirs.pk], caller="billing")
    mixed = bulk.create_job([mine.pk, theirs.pk], caller="billing")
    of_forgotten = bulk.create_job([], caller="billing")
    client = sign_in(make_person("billing", Role.OPERATOR, agencies=["agency-1"]))
    assert page(client, "job-detail", own).status_code == 200
    for job in (others, mixed, of_forgotten):
        assert page(client, "job-detail", job).status_code == 404
        assert page(client, "live-job", job).status_code == 404
        assert client.post(reverse("dashboard:job-cancel", args=[job.pk])).status_code == 404
    html = client.get(JOBS).content.decode()
    listed = [job for job in (own, others, mixed, of_forgotten) if str(job.pk) in html]
    assert listed == [own]
    assert not RenewalJobItem.objects.filter(outcome=RenewalJobItem.CANCELLED).exists()


def test_the_list_says_live_how_far_each_job_is(staff_client, job, django_assert_num_queries):
    live = reverse("dashboard:live-job-list")
    answer = staff_client.get(live)
    assert "2 done, 1 failed" in answer.content.decode()
    again = staff_client.get(live, headers={"X-Panel-Version": answer["X-Panel-Version"]})
    assert again.status_code == 204
    bulk.cancel(job)
    html = staff_client.get(live, headers={"X-Panel-Version": answer["X-Panel-Version"]})
    assert "1 renewed, 1 failed, 1 left as they were" in html.content.decode()
    # session, user, permissions (2), those due, jobs, their progress; for title and favicon: kept
    # numbers, counts
    with django_assert_num_queries(9):
        staff_client.get(live)


def test_a_job_page_makes_the_same_queries_for_few_and_many_items(
    staff_client, make_install, django_assert_max_num_queries
):
    rows = [make_install() for _ in range(30)]
    job = bulk.create_job([row.pk for row in rows], caller="sam")
    # session, user, permissions (2), job, counts, items, those renewed, demo data; for title and
    # favicon: kept numbers, counts
    with django_assert_max_num_queries(11):
        assert page(staff_client, "job-detail", job).status_code == 200


@pytest.mark.parametrize("name", ["job-detail", "live-job"])
def test_an_unknown_job_is_not_found(staff_client, name):
    unsaved = RenewalJob()
    assert page(staff_client, name, unsaved).status_code == 404


@pytest.mark.parametrize("name", ["job-cancel", "job-again"])
def test_actions_are_posts(staff_client, job, name):
    assert page(staff_client, name, job).status_code == 405
    assert staff_client.get(reverse("dashboard:job-create")).status_code == 405


def test_outsiders_are_sent_to_sign_in(client, job):
    for name in ("job-detail", "live-job"):
        assert page(client, name, job)["Location"].startswith("/accounts/login/")
    client.post(reverse("dashboard:job-create"))
    assert GoHighLevelIntegration.objects.count() == 3
    assert RenewalJob.objects.count() == 1
