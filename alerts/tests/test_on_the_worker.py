"""From HighLevel's refusal to a person's mailbox: a real worker, a real mail server, in time."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from django.utils import timezone
from django_q.models import OrmQ, Schedule
from django_q.scheduler import scheduler

from alerts.tasks import TICK
from integrations.health import Status
from integrations.models import GoHighLevelIntegration
from integrations.refresh import request_refresh
from integrations.schedules import ensure_schedules
from integrations.tests.conftest import sandbox, sandbox_url  # noqa: F401
from integrations.tests.test_race import database_url
from integrations.tests.test_worker import group, until

WITHIN = timedelta(minutes=2)
# The worker's scheduler looks about so often (django_q.cluster.Sentinel.guard).
LOOKS_EVERY = timedelta(seconds=30)


@pytest.mark.one_database
@pytest.mark.django_db(transaction=True)
def test_a_person_has_the_mail_within_two_minutes_of_the_change(
    sandbox,  # noqa: F811
    make_channel,
    staff,
    mail_server,
):
    make_channel(staff, address="sam@agency.test")
    row = sandbox.install(bulk=False)
    sandbox.post("refuse", location_id=row.resource_id)
    OrmQ.objects.all().delete()
    ensure_schedules()
    ticks = Schedule.objects.filter(name=TICK)
    ticks.update(next_run=timezone.now() + timedelta(hours=1))
    environ = {
        "DATABASE_URL": database_url(),
        "GHL_API_BASE_URL": sandbox.url,
        "EMAIL_URL": f"smtp://127.0.0.1:{mail_server.port}",
    }
    with group("manage.py", "qcluster", environ=environ):
        request_refresh(row.pk, trigger="dashboard", caller="sam")
        refused = GoHighLevelIntegration.objects.filter(status=Status.REFUSED)
        until(refused.exists, what="the worker has found out")
        changed_at = time.monotonic()
        ticks.update(next_run=timezone.now())
        scheduler()  # what the worker's sentinel does at each look
        until(lambda: mail_server.mails, what="the mail has come")
        took = timedelta(seconds=time.monotonic() - changed_at)
    assert mail_server.recipients == ["sam@agency.test"]
    assert mail_server.mails[0]["Subject"].endswith("needs reconnect")
    # At worst the minute's tick has just gone by, and then the scheduler's look.
    between_ticks = timedelta(minutes=ticks.get().minutes)
    assert between_ticks + LOOKS_EVERY + took < WITHIN
