from __future__ import annotations

from datetime import timedelta
from itertools import count

import pytest
from django.conf import settings as shipped
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_q.models import Schedule

from webhooks import retention, tasks
from webhooks.handlers import INSTALLS, UNINSTALLS
from webhooks.models import EventAttempt, EventStock, GoHighLevelWebhook

pytestmark = pytest.mark.django_db

NUMBERS = count()
AS_SHIPPED = dict(shipped.WEBHOOK_KEEP_DAYS_BY_TYPE)


def kept(kind: str, days_ago: float, *, status: str = "processed", body: str = "{}"):
    at = timezone.now() - timedelta(days=days_ago)
    return GoHighLevelWebhook.objects.create(
        webhook_id=f"w-{next(NUMBERS)}",
        type=kind,
        body=body,
        status=status,
        occurred_at=at,
        received_at=at,
    )


def purge() -> int:
    return retention.purge(timezone.now())["events"]


@pytest.fixture(autouse=True)
def keep(settings):
    settings.WEBHOOK_KEEP_DAYS = 30
    settings.WEBHOOK_KEEP_DAYS_BY_TYPE = {"INSTALL": 365, "InboundMessage": 7}


def test_events_go_when_the_time_of_their_type_is_over():
    for kind, days in (("ContactCreate", 31), ("InboundMessage", 8), ("INSTALL", 366)):
        kept(kind, days)
    stay = [kept("ContactCreate", 29), kept("InboundMessage", 6), kept("INSTALL", 364)]
    assert purge() == 3
    assert set(GoHighLevelWebhook.objects.all()) == set(stay)


@pytest.mark.parametrize("kind", [*INSTALLS, *UNINSTALLS])
def test_how_an_account_began_and_ended_stays_a_year_under_whichever_name(settings, kind):
    settings.WEBHOOK_KEEP_DAYS_BY_TYPE = AS_SHIPPED
    kept(kind, 366)
    stays = kept(kind, 364)
    assert purge() == 1
    assert GoHighLevelWebhook.objects.get() == stays


@pytest.mark.parametrize("status", ["pending", "parked"])
def test_what_still_needs_somebody_stays(status):
    kept("ContactCreate", 400, status=status)
    assert purge() == 0


def test_nought_days_keeps_all(settings):
    settings.WEBHOOK_KEEP_DAYS = 0
    settings.WEBHOOK_KEEP_DAYS_BY_TYPE = {"INSTALL": 0}
    kept("ContactCreate", 4000)
    kept("INSTALL", 4000)
    assert purge() == 0


def test_the_failures_of_an_event_go_with_it():
    event = kept("ContactCreate", 31)
    EventAttempt.objects.create(event=event, number=1, at=event.received_at, error="ValueError")
    purge()
    assert not EventAttempt.objects.exists()


def test_it_deletes_a_few_at_a_time(monkeypatch):
    monkeypatch.setattr(retention, "BATCH", 4)
    for _ in range(10):
        kept("ContactCreate", 31)
    with CaptureQueriesContext(connection) as queries:
        assert purge() == 10
    deletes = [
        q for q in queries if q["sql"].startswith('DELETE FROM "webhooks_gohighlevelwebhook"')
    ]
    assert len(deletes) in (0, 3)  # MariaDB quotes otherwise


def test_what_is_older_and_kept_is_passed_over_once(monkeypatch):
    monkeypatch.setattr(retention, "BATCH", 4)
    kept("ContactCreate", 400, status="parked")
    for days in range(10):
        kept("ContactCreate", 40 + days)
    with CaptureQueriesContext(connection) as queries:
        assert purge() == 10
    looks = [q["sql"] for q in queries if "ORDER BY" in q["sql"] and "LIMIT 4" in q["sql"]]
    began_again = [sql for sql in looks if "received_at" in sql and ">=" not in sql]
    assert len(began_again) == 3  # the first look for each of three kinds of events


def test_it_counts_what_is_left():
    kept("ContactCreate", 1, body='{"a": 1}')
    kept("ContactCreate", 2, body='{"a": 22}')
    kept("INSTALL", 40, body="{}")
    kept("Gone", 31)
    purge()
    stock = {row.type: (row.count, row.characters) for row in EventStock.objects.all()}
    assert stock == {"ContactCreate": (2, 17), "INSTALL": (1, 2)}


def test_it_runs_each_night():
    tasks.ensure_schedules()
    tasks.ensure_schedules()
    assert Schedule.objects.get(func="webhooks.tasks.purge").cron == "20 3 * * *"
