from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.test import Client
from django.utils import timezone

from access.models import User
from access.roles import Role
from dashboard import looks
from integrations import heartbeat, snapshots
from integrations.health import Status
from integrations.models import UNFINISHED, GoHighLevelIntegration, Heartbeat, Outage
from webhooks.models import AnswerCount, Outcome

Make = Callable[..., GoHighLevelIntegration]


def html_of(answer: Any) -> str:
    assert answer.status_code == 200
    return " ".join(answer.content.decode().split())


def test_it_says_in_one_sentence_that_all_is_well(staff_client: Client, make_install: Make) -> None:
    make_install(name="Harbour Dental")
    make_install(name="Old Mill Bakery")
    html = html_of(staff_client.get("/"))
    assert "All 2 accounts are connected." in html
    assert "100 % healthy" in html
    assert "Nothing needs you now." in html and "attention-item" not in html
    assert "<title>Overview · WhatReach</title>" in html


def test_what_needs_somebody_is_on_top_with_one_button(
    staff_client: Client, make_install: Make
) -> None:
    make_install()
    make_install(name="Old Mill Bakery", status=Status.REFUSED, cause="refused")
    html = html_of(staff_client.get("/"))
    assert "1 account needs you. 1 is fine." in html
    assert "<title>(1) Overview · WhatReach</title>" in html
    attention = html[html.index("Needs attention") : html.index("accounts-title")]
    assert "HighLevel no longer accepts our access to this account." in attention
    assert attention.count("<button") == 1
    assert 'data-copy="http://localhost/app/install/"' in attention


def test_an_install_that_begins_is_told_from_one_that_nobody_finished(
    staff_client: Client, make_install: Make
) -> None:
    begun = make_install(status=Status.WAITING, expires_at=None)
    html = html_of(staff_client.get("/"))
    assert "1 account is being connected." in html and "Nothing needs you now." in html
    GoHighLevelIntegration.objects.update(cause=UNFINISHED)
    html = html_of(staff_client.get("/"))
    assert "1 account needs you." in html and f'id="attention-{begun.pk}"' in html
    for state, shows in (("needs_you", True), ("recovering", False), ("waiting", True)):
        html = html_of(staff_client.get(f"/installs/?state={state}"))
        assert (f'id="install-{begun.pk}"' in html) == shows


def test_the_last_line_says_which_share_of_deliveries_was_accepted(
    staff_client: Client, make_install: Make, make_person: Callable[..., User]
) -> None:
    make_install()
    assert "webhooks answered" not in html_of(staff_client.get("/"))
    for status, outcome, count in ((200, Outcome.STORED, 996), (503, Outcome.NOT_STORED, 4)):
        now = timezone.now()
        AnswerCount.objects.create(
            hour=now, status=status, outcome=outcome, count=count, last_at=now
        )
    assert "webhooks answered 99.6 %" in html_of(staff_client.get("/"))
    limited = Client()
    limited.force_login(make_person("kim", Role.VIEWER, agencies=["agency-1"]))
    assert "webhooks answered" not in html_of(limited.get("/"))


def test_tiles_lead_to_the_accounts_they_count(staff_client: Client, make_install: Make) -> None:
    make_install()
    make_install(name="Paused one", status=Status.PAUSED, cause="location_inactive")
    html = html_of(staff_client.get("/"))
    assert 'href="/installs/?state=paused"' in html
    found = html_of(staff_client.get("/installs/?state=paused"))
    assert "Paused one" in found and "1 account found" in found


def test_an_empty_product_says_how_to_begin(staff_client: Client, db: None) -> None:
    html = html_of(staff_client.get("/"))
    assert "No accounts yet" in html
    assert "http://localhost/app/install/" in html
    assert "Open the sandbox" not in html


def test_the_sandbox_is_offered_where_there_is_one(
    staff_client: Client, db: None, settings: Any
) -> None:
    settings.SANDBOX_URL = "http://127.0.0.1:8801"
    assert "http://127.0.0.1:8801/_sandbox/" in html_of(staff_client.get("/"))


def test_a_running_worker_is_one_quiet_line(staff_client: Client, make_install: Make) -> None:
    make_install(renew_at=timezone.now() + timedelta(minutes=3, seconds=30))
    for part in heartbeat.PARTS:
        heartbeat.beat(part)
    html = html_of(staff_client.get("/"))
    assert "Worker running · next renewal <time" in html and "in 3 min" in html
    assert 'role="alert"' not in html


def test_a_standing_worker_is_a_banner_with_the_command(staff_client: Client, db: None) -> None:
    stopped = timezone.now() - heartbeat.STALE_AFTER
    Heartbeat.objects.create(name=heartbeat.WORKER, at=stopped)
    html = html_of(staff_client.get("/"))
    assert "The worker is not running: renewals stand still." in html
    assert "<code>python manage.py qcluster</code>" in html


def test_a_worker_that_never_ran_is_said_differently(staff_client: Client, db: None) -> None:
    assert "The worker has not reported yet" in html_of(staff_client.get("/"))


def test_the_fragment_is_the_panel_alone(staff_client: Client, make_install: Make) -> None:
    make_install()
    html = html_of(staff_client.get("/live/overview/", headers={"HX-Request": "true"}))
    assert html.startswith('<div id="overview-panel"')
    assert "<html" not in html


def test_a_panel_that_has_not_changed_is_not_sent_again(
    staff_client: Client, make_install: Make
) -> None:
    row = make_install()
    first = staff_client.get("/live/overview/")
    version = {"X-Panel-Version": first["X-Panel-Version"]}
    assert staff_client.get("/live/overview/", headers=version).status_code == 204
    GoHighLevelIntegration.objects.filter(pk=row.pk).update(failures=1, cause="no_answer")
    with time_machine.travel(timezone.now() + timedelta(seconds=looks.GOOD_FOR_S + 1)):
        assert staff_client.get("/live/overview/", headers=version).status_code == 200


@pytest.mark.parametrize("url", ["/", "/live/overview/"])
def test_it_makes_the_same_queries_whatever_there_is(
    staff_client: Client,
    make_install: Make,
    django_assert_num_queries: Any,
    monkeypatch: pytest.MonkeyPatch,
    url: str,
) -> None:
    # session, user, permissions (2), kept numbers, counts, 30 days, worst, heartbeat, next
    # renewal, outage, deliveries, rows; page: demo data
    expected = 14 if url == "/" else 13
    make_install()
    with django_assert_num_queries(expected):
        staff_client.get(url)
    for n in range(30):
        make_install(status=Status.REFUSED if n % 2 else Status.ACTIVE, cause="refused")
    with django_assert_num_queries(expected):
        staff_client.get(url)
    monkeypatch.setattr(snapshots, "LIVE_UP_TO", 20)
    snapshots.record(timezone.now())
    with django_assert_num_queries(expected):
        staff_client.get(url)


def test_no_token_is_on_any_page(staff_client: Client, make_install: Make) -> None:
    row = make_install()
    for url in ("/", "/installs/", f"/installs/{row.pk}/"):
        html = html_of(staff_client.get(url))
        assert row.open_access_token() not in html
        assert row.open_refresh_token() not in html


def test_an_outage_is_one_banner(staff_client: Client, make_install: Make) -> None:
    make_install()
    now = timezone.now()
    Outage.objects.create(began_at=now - timedelta(minutes=20), cause="no_answer", try_at=now)
    html = html_of(staff_client.get("/"))
    assert html.count("It concerns many accounts at once") == 1
    Outage.objects.update(is_open=None, ended_at=now)
    assert "It concerns many accounts" not in html_of(staff_client.get("/"))
