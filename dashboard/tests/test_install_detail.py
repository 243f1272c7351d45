from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.test import Client
from django.utils import timezone

from access.keys import create_api_key
from access.models import User
from integrations import handouts
from integrations.health import Status
from integrations.models import GoHighLevelIntegration, RefreshAttempt, StateChange
from webhooks.models import GoHighLevelWebhook

Make = Callable[..., GoHighLevelIntegration]


def page(client: Client, row: GoHighLevelIntegration, **headers: str) -> str:
    answer = client.get(f"/installs/{row.pk}/")
    assert answer.status_code == 200
    return " ".join(answer.content.decode().split())


def add_attempt(row: GoHighLevelIntegration, **fields: Any) -> None:
    now = timezone.now()
    values: dict[str, Any] = {
        "trigger": "schedule",
        "way": "refresh",
        "generation": 1,
        "started_at": now - timedelta(milliseconds=340),
        "ended_at": now,
        "outcome": RefreshAttempt.RENEWED,
    }
    RefreshAttempt.objects.create(integration=row, **(values | fields))


def add_event(**fields: Any) -> None:
    now = timezone.now()
    values = {"type": "INSTALL", "body": "{}", "occurred_at": now, "received_at": now}
    GoHighLevelWebhook.objects.create(webhook_id=str(uuid.uuid4()), **(values | fields))


def test_what_the_account_did_not_allow_is_named_with_the_link_that_mends_it(
    staff_client: Client, make_install: Make, settings: Any
) -> None:
    settings.GHL_SCOPES = "locations.readonly contacts.readonly"
    behind = page(staff_client, make_install(scope="locations.readonly"))
    missing = behind.partition("<dt>Missing</dt>")[2].partition("</dd>")[0]
    assert "contacts.readonly" in missing and "locations.readonly" not in missing
    assert "Copy reconnect link" in missing
    for fine in (make_install(scope=settings.GHL_SCOPES), make_install(scope="")):
        assert "<dt>Missing</dt>" not in page(staff_client, fine)


def test_it_shows_state_facts_renewals_and_events(staff_client: Client, make_install: Make) -> None:
    row = make_install(name="Harbour Dental", scope="locations.readonly oauth.write")
    add_attempt(row)
    add_attempt(row, trigger="dashboard", caller="maya", outcome="failed", cause="no_answer")
    add_event(location_id=row.resource_id, status="processed", result="already known")
    add_event(location_id="another", type="UNINSTALL")
    html = page(staff_client, row)
    assert "<h1>Harbour Dental</h1>" in html and "Works. Renews itself in 9 h." in html
    assert row.resource_id in html and "<code>oauth.write</code>" in html
    assert "364 days" in html
    assert "340 ms" in html and "asked for by maya" in html and "HighLevel did not answer" in html
    assert "Processed: already known" in html and "UNINSTALL" not in html
    event = GoHighLevelWebhook.objects.get(type="INSTALL")
    assert f'<a href="/events/{event.pk}/">INSTALL</a>' in html
    assert f"/app/get-token/{row.pk}/?min_valid_for=300" in html


def test_one_that_needs_reconnect_has_the_message_for_the_client(
    staff_client: Client, make_install: Make
) -> None:
    row = make_install(status=Status.REFUSED, cause="refused", cause_since=timezone.now())
    add_attempt(row, outcome="refused", cause="refused", http_status=400, detail="invalid_grant")
    html = page(staff_client, row)
    assert "nothing else changes: http://localhost/app/install/" in html
    assert "Copy reconnect link" in html
    developers = html[html.index("Details for developers") :]
    assert "<code>400</code>" in developers and "invalid_grant" in developers
    assert "invalid_grant" not in html[: html.index("Details for developers")]


def test_an_agency_shows_how_many_of_its_sub_accounts_are_connected(
    staff_client: Client, make_install: Make
) -> None:
    agency = make_install(agency=True, company_id="agency-9")
    make_install(company_id="agency-9")
    make_install(company_id="agency-9", status=Status.WAITING)
    make_install(company_id="agency-9", status=Status.UNINSTALLED)
    html = page(staff_client, agency)
    assert "<strong>1 of 2</strong> sub-accounts connected" in html
    assert '<progress class="progress-line" value="1" max="2">' in html
    assert "/agencies/agency-9/" in html


def test_a_removed_one_says_so_and_offers_no_renewal(
    staff_client: Client, make_install: Make
) -> None:
    row = make_install(
        status=Status.UNINSTALLED, cause="uninstalled", cause_since=timezone.now(), renew_at=None
    )
    html = page(staff_client, row)
    assert "by the client." in html and "Refresh now" not in html and "Runway" not in html


def test_one_that_staff_switched_off_says_so_and_is_not_called_uninstalled(
    staff_client: Client, make_install: Make
) -> None:
    row = make_install(status=Status.DEACTIVATED, cause="deactivated", cause_since=timezone.now())
    listed = staff_client.get("/installs/").content.decode()
    for html in (page(staff_client, row), " ".join(listed[listed.index("<tbody") :].split())):
        badge = html[html.index('class="state ') :].partition("</span>")[0]
        assert "Switched off" in badge and "Uninstalled" not in html
        assert f"/installs/{row.pk}/switch-on/" in html and "Copy reconnect link" not in html


def test_a_check_that_failed_says_what_highlevel_answered(
    staff_client: Client, make_install: Make
) -> None:
    row = make_install(verify_cause="scope_missing")
    html = page(staff_client, row)
    assert "did not confirm the token at the last check" in html
    assert "does not have the scope for this. Whoever runs WhatReach acts." in html
    GoHighLevelIntegration.objects.update(verify_cause="")
    assert "at the last check" not in page(staff_client, row)


def test_an_unknown_account_is_404(staff_client: Client) -> None:
    for url in (f"/installs/{uuid.uuid4()}/", f"/live/installs/{uuid.uuid4()}/"):
        answer = staff_client.get(url)
        assert answer.status_code == 404 and b"Nothing here" in answer.content


def test_the_fragment_is_the_panel_alone(staff_client: Client, make_install: Make) -> None:
    row = make_install()
    answer = staff_client.get(f"/live/installs/{row.pk}/", headers={"HX-Request": "true"})
    html = answer.content.decode().strip()
    assert html.startswith(f'<div id="account-{row.pk}"') and "<html" not in html


def test_it_makes_the_same_queries_whatever_there_is(
    staff_client: Client, make_install: Make, django_assert_num_queries: Any
) -> None:
    # session, user, permissions (2), install, newest renewal; of the time line: renewals, changes,
    # events, people, hand-outs; who has its token, sub-accounts, snooze, demo data;
    # for title and favicon: kept numbers, counts
    agency = make_install(agency=True, company_id="agency-9")
    with django_assert_num_queries(17):
        page(staff_client, agency)
    for _ in range(60):
        add_attempt(agency)
        add_event(company_id="agency-9")
    make_install(company_id="agency-9")
    with django_assert_num_queries(17):
        html = page(staff_client, agency)
    assert html.count('class="journal-line') == 60


def test_the_time_line_has_everything_that_happened_the_newest_first(
    staff_client: Client, make_install: Make, staff: User
) -> None:
    row = make_install()
    now = timezone.now()
    add_attempt(row, started_at=now - timedelta(minutes=5))
    add_event(location_id=row.resource_id, received_at=now - timedelta(minutes=4))
    StateChange.objects.create(
        integration=row,
        at=now - timedelta(minutes=3),
        status="refused",
        cause="refused",
        status_before="active",
        trigger="schedule",
    )
    key, _text = create_api_key("Billing", scopes=["tokens:read"])
    handouts.count(key, row.pk, "192.0.2.7")
    staff_client.post(f"/installs/{row.pk}/refresh/")
    html = page(staff_client, row)
    order = ["Renew a token", "Used by Billing", "Needs reconnect", "INSTALL", "Renewed"]
    journal = html[html.index('<ul class="journal">') :]
    found = [journal.index(f">{title}<") for title in order]
    assert found[2:] == sorted(found[2:]) and max(found[:2]) < found[2]
    assert "1 token in this hour, last from 192.0.2.7" in html
    only = " ".join(staff_client.get(f"/installs/{row.pk}/?show=events").content.decode().split())
    assert ">INSTALL</a></strong>" in only and "Used by Billing" not in only


def test_it_names_the_back_ends_that_have_its_token(
    staff_client: Client, make_install: Make
) -> None:
    row = make_install()
    assert "Nobody asked for it." in page(staff_client, row)
    key, _text = create_api_key("Billing", scopes=["tokens:read"])
    for _ in range(2):
        handouts.count(key, row.pk, "192.0.2.7")
    html = page(staff_client, row)
    assert "Used by 1 back end." in html and "2 tokens · 192.0.2.7" in html
