"""Everyone can see who did what."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from access.actions import ACTIONS
from access.audit import record_system
from access.models import AuditEvent
from access.roles import Role
from config.audiences import addresses
from dashboard.activity import PER_PAGE
from integrations import tasks


def event(action: str = "install.refresh", **fields: Any) -> AuditEvent:
    at = fields.pop("at", None)
    row = AuditEvent.objects.create(
        **({"actor_kind": "person", "actor_name": "kim", "outcome": "done"} | fields), action=action
    )
    if at is not None:  # the trail itself never changes
        with connection.cursor() as cursor:
            cursor.execute("UPDATE access_auditevent SET at = %s WHERE id = %s", [at, row.pk])
    return row


def shown(client: Client, query: str = "") -> list[str]:
    return [row.action for row in client.get(f"/activity/{query}").context["events"]]


def test_a_click_stands_there_with_who_when_what_and_from_where(
    staff_client: Client, make_install: Any
) -> None:
    row = make_install(name="Harbour Dental")
    staff_client.post(f"/installs/{row.pk}/refresh/", REMOTE_ADDR="192.0.2.7")
    html = staff_client.get("/activity/").content.decode()
    for text in ("sam", "Renew a token", "Harbour Dental", "192.0.2.7", "Done"):
        assert text in html


def test_it_is_searched_by_each_of_them(
    staff_client: Client, make_person: Callable[..., Any], make_install: Any
) -> None:
    kim = make_person("kim", Role.OPERATOR)
    row = make_install(name="Harbour Dental")
    event("one", actor_id=str(kim.pk))
    event("two", target_id=str(row.pk))
    event("three", outcome="refused")
    assert shown(staff_client, "?who=kim") == ["one"]
    assert shown(staff_client, "?what=Harbour") == ["two"]
    assert shown(staff_client, f"?what={row.resource_id}") == ["two"]
    assert shown(staff_client, f"?what={row.pk}") == ["two"]
    assert shown(staff_client, "?outcome=refused") == ["three"]
    assert shown(staff_client, "?who=nobody") == []


def test_an_action_is_chosen_from_those_that_views_declare(staff_client: Client) -> None:
    event("person.invite")
    event("install.refresh")
    assert shown(staff_client, "?action=person.invite") == ["person.invite"]
    html = staff_client.get("/activity/").content.decode()
    assert '<option value="person.invite">Invite a person</option>' in html
    assert '<option value="install.refresh">Renew a token</option>' in html


def test_every_action_that_is_declared_or_recorded_has_words_and_no_other() -> None:
    declared = {address.audience.audit for address in addresses() if address.audience} - {""}
    code = [
        path.read_text()
        for app in ("access", "integrations", "webhooks", "alerts", "operations", "dashboard")
        for path in (settings.BASE_DIR / app).rglob("*.py")
        if path.name != "actions.py" and "tests" not in path.parts
    ]
    recorded = set(re.findall(r'record(?:_system)?\(\s*(?:request, *)?"(\w+\.\w+)"', "".join(code)))
    assert declared | recorded == set(ACTIONS)
    assert not any("." in words for words in ACTIONS.values())


def test_an_action_without_words_is_not_recorded(db: None) -> None:
    with pytest.raises(ValueError, match="no words"):
        record_system("no.such", by="a command")


def test_an_action_of_an_older_version_shows_as_it_is(staff_client: Client) -> None:
    event("old.action")
    assert ">old.action</a>" in staff_client.get("/activity/").content.decode()


def test_days_are_those_of_the_person_who_looks(staff_client: Client) -> None:
    event("late", at="2026-05-03 20:00:00")  # in Kolkata it is the 4th, 01:30
    assert shown(staff_client, "?since=2026-05-03&until=2026-05-03") == ["late"]
    staff_client.post("/me/", {"time_zone": "Asia/Kolkata"})
    assert shown(staff_client, "?since=2026-05-03&until=2026-05-03") == []
    assert shown(staff_client, "?since=2026-05-04&until=2026-05-04") == ["late"]


@pytest.mark.parametrize(
    "query",
    [
        "?since=yesterday",
        "?action=no.such",
        "?before=x",
        "?before=99999999999999999999",
        "?outcome=%00",
        "?who=%00",
    ],
)
def test_what_cannot_be_read_is_no_fault(staff_client: Client, query: str) -> None:
    event()
    assert staff_client.get(f"/activity/{query}").status_code == 200


def test_pages_follow_each_other_without_a_gap(staff_client: Client) -> None:
    for n in range(PER_PAGE + 5):
        event(f"n{n}")
    first = staff_client.get("/activity/")
    following = staff_client.get(f"/activity/?before={first.context['next_from'].pk}")
    seen = [row.action for row in [*first.context["events"], *following.context["events"]]]
    assert seen == [f"n{n}" for n in reversed(range(PER_PAGE + 5))]
    assert following.context["next_from"] is None


def test_the_page_costs_the_same_however_long_the_trail(staff_client: Client) -> None:
    counts = []
    for _ in range(2):
        for n in range(PER_PAGE * 2):
            event(f"n{n}")
        with CaptureQueriesContext(
            connection,
        ) as queries:
            staff_client.get("/activity/")
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_whoever_is_limited_sees_their_agencies_and_their_own_deeds_only(
    make_person: Callable[..., Any], sign_in: Callable[..., Client]
) -> None:
    kim = make_person("kim", Role.OPERATOR, agencies=["agency-1"])
    event("mine", company_id="agency-1")
    event("others", company_id="agency-2")
    event("of-all")
    event("own", actor_id=str(kim.pk))
    client = sign_in(kim)
    assert sorted(shown(client)) == ["mine", "own"]
    lines = b"".join(client.get("/activity/export.csv").streaming_content).decode()
    assert "others" not in lines and "of-all" not in lines and "mine" in lines


def test_the_export_has_every_event_that_is_asked_for_and_no_formula(
    staff_client: Client,
) -> None:
    for _ in range(3):
        event("install.refresh", target_name="=HYPERLINK(1)")
    record_system("keys.rotated", by="rotate_token_keys")
    answer = staff_client.get("/activity/export.csv?action=install.refresh")
    assert answer["Content-Type"].startswith("text/csv")
    text = b"".join(answer.streaming_content).decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["action"] for row in rows] == ["install.refresh"] * 3
    assert {row["object"] for row in rows} == {"'=HYPERLINK(1)"}


def test_what_is_older_than_the_setting_goes_at_night(db: None, settings: Any) -> None:
    settings.AUDIT_KEEP_DAYS = 30
    now = timezone.now()
    event("old", at=(now - timedelta(days=31)).strftime("%Y-%m-%d %H:%M:%S"))
    event("new")
    tasks.clean_up()
    assert list(AuditEvent.objects.values_list("action", flat=True)) == ["new"]
    settings.AUDIT_KEEP_DAYS = 0
    event("old", at="2001-01-01 00:00:00")
    tasks.clean_up()
    assert AuditEvent.objects.filter(action="old").exists()
