from __future__ import annotations

import json
from datetime import timedelta
from itertools import count
from urllib.parse import quote

import pytest
from django.core.management import call_command
from django.db import connection
from django.urls import reverse
from django.utils import timezone

from access.models import AuditEvent
from access.roles import Role
from dashboard import events
from webhooks import models as webhook_models
from webhooks.handlers import HANDLERS, NO_EFFECT
from webhooks.models import EventAttempt, GoHighLevelWebhook

pytestmark = pytest.mark.django_db

LIST = "/events/"
NUMBERS = count(1)


def kept(kind="ContactCreate", *, minutes_ago=0.0, body=None, **fields) -> GoHighLevelWebhook:
    at = timezone.now() - timedelta(minutes=minutes_ago)
    values = {
        "webhook_id": f"event-{next(NUMBERS)}",
        "type": kind,
        "body": json.dumps({"type": kind} | (body or {})),
        "status": GoHighLevelWebhook.IGNORED,
        "occurred_at": at,
        "received_at": at,
        "took_ms": 3,
    }
    return GoHighLevelWebhook.objects.create(**(values | fields))


def shown(answer) -> list[str]:
    """The webhook ids of the rows on the page, in their order."""
    assert answer.status_code == 200
    return [row.event.webhook_id for row in answer.context["page"].rows]


def page_of(event) -> str:
    return f"/events/{event.pk}/"


# --- The list ---


def test_the_newest_event_comes_first_with_its_account_and_state(staff_client, make_install):
    install = make_install(name="Harbour Dental")
    old = kept(minutes_ago=5, location_id=install.resource_id)
    new = kept("INSTALL", status=GoHighLevelWebhook.PARKED, result="failed: an unexpected fault")
    answer = staff_client.get(LIST)
    assert shown(answer) == [new.webhook_id, old.webhook_id]
    text = answer.content.decode()
    for word in ("Harbour Dental", "Parked", "failed: an unexpected fault", "3 ms"):
        assert word in text


def test_a_fragment_is_the_panel_alone_and_is_not_sent_twice(staff_client):
    kept()
    answer = staff_client.get("/live/events/", headers={"HX-Request": "true"})
    assert b'id="events-panel"' in answer.content
    assert b"<html" not in answer.content
    again = staff_client.get(
        "/live/events/", headers={"X-Panel-Version": answer["X-Panel-Version"]}
    )
    assert again.status_code == 204


def test_an_empty_list_says_where_events_come_from(staff_client):
    assert "/app/webhook/" in staff_client.get(LIST).content.decode()


def test_an_event_that_came_late_is_flagged(staff_client):
    kept(occurred_at=timezone.now() - timedelta(hours=2))
    assert "late</span>" in staff_client.get(LIST).content.decode()


@pytest.mark.parametrize(
    "query",
    [
        "type=INSTALL",
        "state=parked",
        "account=loc-1",
        "account=agency-7",
        "type=INSTALL&state=parked",
    ],
)
def test_filters_are_in_the_address(staff_client, query):
    wanted = kept(
        "INSTALL",
        status=GoHighLevelWebhook.PARKED,
        location_id="loc-1" if "agency" not in query else "",
        company_id="agency-7",
    )
    kept(location_id="loc-2", company_id="agency-7")
    kept("UNINSTALL", location_id="loc-2")
    assert shown(staff_client.get(f"{LIST}?{query}")) == [wanted.webhook_id]


@pytest.mark.parametrize(
    "query", ["state=nonsense", "before=nonsense", "before=2026-01-01~x", "before=~", "page=7"]
)
def test_what_cannot_be_read_in_the_address_filters_nothing(staff_client, query):
    event = kept()
    assert shown(staff_client.get(f"{LIST}?{query}")) == [event.webhook_id]


@pytest.mark.parametrize("by", ["webhook_id", "location_id", "company_id", "pk"])
def test_it_finds_by_a_whole_id_of_any_kind(staff_client, by):
    wanted = kept(location_id="loc-1", company_id="com-1")
    kept(location_id="loc-2", company_id="com-2")
    query = quote(str(getattr(wanted, by)))
    assert shown(staff_client.get(f"{LIST}?q={query}")) == [wanted.webhook_id]


def test_it_finds_by_a_part_of_the_body(staff_client):
    wanted = kept(body={"name": "Jo Bloggs"})
    kept(body={"name": "Mary"})
    assert shown(staff_client.get(f"{LIST}?q=jo+blo")) == [wanted.webhook_id]


def test_a_search_reads_so_many_events_and_asks_before_it_goes_on(staff_client, monkeypatch):
    monkeypatch.setattr(events, "SEARCH_READS", 5)
    wanted = kept(minutes_ago=60, body={"name": "needle"})
    for n in range(8):
        kept(minutes_ago=n)
    answer = staff_client.get(f"{LIST}?q=needle")
    assert shown(answer) == []
    assert "Look further back" in answer.content.decode()
    older = quote(answer.context["page"].older)
    assert shown(staff_client.get(f"{LIST}?q=needle&before={older}")) == [wanted.webhook_id]


def test_older_pages_leave_out_and_repeat_nothing(staff_client, monkeypatch):
    monkeypatch.setattr(events, "PER_PAGE", 3)
    at = timezone.now()
    everything = [kept(received_at=at).webhook_id for _ in range(4)]
    everything += [kept(minutes_ago=n).webhook_id for n in range(1, 5)]
    seen, query = [], ""
    for _ in range(4):
        answer = staff_client.get(f"{LIST}?{query}")
        seen += shown(answer)
        query = f"before={quote(answer.context['page'].older)}"
        if query == "before=":
            break
    assert sorted(seen) == sorted(everything)


def test_the_page_takes_as_many_queries_for_many_events_as_for_few(
    staff_client, make_install, django_assert_max_num_queries
):
    queries = []
    for number in (2, 30):
        for _ in range(number):
            kept(location_id=make_install().resource_id)
        with django_assert_max_num_queries(20) as counted:
            staff_client.get(f"{LIST}?type=ContactCreate&q=ContactCreate")
        queries.append(len(counted))
    assert queries[0] == queries[1]


PLANS = {
    "": "event_newest",
    "type=INSTALL": "event_of_type",
    "state=parked": "event_in_status",
}


@pytest.mark.skipif(connection.vendor != "sqlite", reason="plans are told in each one's own words")
@pytest.mark.parametrize("query", PLANS)
def test_the_list_is_read_by_an_index_and_not_sorted(staff_client, query):
    for n in range(200):
        kept("INSTALL" if n % 50 == 0 else "ContactCreate", minutes_ago=n)
    connection.cursor().execute("ANALYZE")
    rows = staff_client.get(f"{LIST}?{query}").context["page"].filter.qs
    plan = rows.order_by(*events.NEWEST_FIRST)[:51].explain()
    assert PLANS[query] in plan
    assert "USE TEMP B-TREE FOR ORDER BY" not in plan


# --- One event ---


def test_the_page_of_an_event_shows_its_story(staff_client, make_install):
    install = make_install(name="Harbour Dental")
    event = kept(
        "INSTALL",
        location_id=install.resource_id,
        status=GoHighLevelWebhook.PENDING,
        attempts=1,
        process_at=timezone.now() + timedelta(minutes=5),
        headers={"User-Agent": "HighLevel", "X-GHL-Signature": "c2ln"},
    )
    EventAttempt.objects.create(
        event=event, number=1, at=timezone.now(), took_ms=12, error="ValueError", text="no luck"
    )
    text = staff_client.get(page_of(event)).content.decode()
    for words in ("Harbour Dental", "Tried again", "Attempt 1", "HighLevel"):
        assert words in text
    assert 'Details</summary><code class="raw">ValueError: no luck</code>' in text
    assert HANDLERS["INSTALL"].effect.replace("'", "&#x27;") in text


def test_what_may_be_personal_is_folded_and_ids_are_not(staff_client):
    event = kept(
        body={"locationId": "loc-1", "email": "jo@mail.example", "contact": {"firstName": "Jo"}}
    )
    nodes = {node.name: node for node in staff_client.get(page_of(event)).context["nodes"]}
    assert not nodes["locationId"].is_personal
    assert nodes["email"].is_personal
    [name] = nodes["contact"].children
    assert name.is_personal


@pytest.mark.parametrize(
    "body",
    [
        '{"a":' * 500 + "1" + "}" * 500,
        json.dumps({f"field{n}": n for n in range(5000)}),
        '{"note":"\\ud83d and \\u0000", "\\ud83d": 1, "list": [[], {}, null, true, 1.5, "x"]}',
        json.dumps({"note": "<script>alert(1)</script>" * 1000}),
        "{}",
    ],
    ids=lambda body: body[:20],
)
def test_any_body_that_was_kept_can_be_shown(staff_client, body):
    event = kept()
    GoHighLevelWebhook.objects.filter(pk=event.pk).update(body=body)
    answer = staff_client.get(page_of(event))
    assert answer.status_code == 200
    assert b"<script>alert" not in answer.content
    assert len(answer.content) < 300_000


def test_an_event_that_is_not_there_is_404(staff_client):
    for address in ("/events/", "/live/events/"):
        answer = staff_client.get(f"{address}00000000-0000-4000-8000-000000000000/")
        assert answer.status_code == 404


# --- Replay ---


def test_a_click_processes_an_event_again(staff_client):
    event = kept("INSTALL", status=GoHighLevelWebhook.PARKED, attempts=5, result="failed")
    answer = staff_client.post(f"{page_of(event)}replay/", follow=True)
    assert "INSTALL is processed again." in answer.content.decode()
    event.refresh_from_db()
    assert (event.status, event.attempts, event.result) == ("pending", 0, "")
    assert AuditEvent.objects.get().action == "event.replay"


def test_before_many_are_replayed_it_says_what_that_may_do(staff_client):
    chosen = [kept("INSTALL"), kept("ContactCreate"), kept("ContactCreate")]
    kept("INSTALL")
    ids = "&".join(f"ids={event.pk}" for event in chosen)
    answer = staff_client.get(f"/events/replay/?{ids}")
    shares = {s.type: (s.count, s.effect) for s in answer.context["shares"]}
    assert shares == {
        "ContactCreate": (2, NO_EFFECT),
        "INSTALL": (1, HANDLERS["INSTALL"].effect),
    }
    assert not GoHighLevelWebhook.objects.filter(status="pending").exists()


def test_all_that_match_are_replayed_but_none_that_came_after_the_preview(staff_client):
    wanted = [kept("INSTALL", minutes_ago=n) for n in range(60)]
    kept("UNINSTALL")
    preview = staff_client.get("/events/replay/?all=1&query=type%3DINSTALL")
    assert preview.context["total"] == 60
    kept("INSTALL", minutes_ago=-1)
    answer = staff_client.post("/events/replay/run/", dict(preview.context["fields"]))
    assert answer["Location"] == f"{LIST}?type=INSTALL"
    asked = GoHighLevelWebhook.objects.filter(status="pending")
    assert set(asked) == set(wanted)
    assert AuditEvent.objects.get().details["events"] == 60


def test_many_are_replayed_in_parts_for_which_no_delivery_waits_long(staff_client, monkeypatch):
    monkeypatch.setattr(webhook_models, "BATCH", 2)
    one_moment = [kept("INSTALL", minutes_ago=5) for _ in range(3)]
    GoHighLevelWebhook.objects.update(received_at=one_moment[0].received_at)
    others = [kept("INSTALL", minutes_ago=n) for n in range(4)]
    parts = []

    def note(execute, sql, params, many, context):
        result = execute(sql, params, many, context)
        if sql.startswith("UPDATE") and GoHighLevelWebhook._meta.db_table in sql:
            parts.append(context["cursor"].rowcount)
        return result

    with connection.execute_wrapper(note):
        staff_client.post("/events/replay/run/", {"all": "1"})
    assert parts == [3, 2, 2, 0]
    asked = GoHighLevelWebhook.objects.filter(status="pending")
    assert set(asked) == {*one_moment, *others}
    assert len({event.process_at for event in asked}) == 1


@pytest.mark.parametrize("query", ["", "ids=nonsense", "ids=00000000-0000-4000-8000-000000000000"])
def test_a_replay_of_nothing_leads_back(staff_client, query):
    assert staff_client.get(f"/events/replay/?{query}")["Location"] == LIST


def test_a_viewer_sees_events_and_replays_none(client, make_person):
    event = kept("INSTALL")
    client.force_login(make_person("vera", Role.VIEWER))
    assert b"Replay" not in client.get(LIST).content
    assert b"Replay" not in client.get(page_of(event)).content
    assert client.get("/events/replay/").status_code == 403
    assert client.post(f"{page_of(event)}replay/").status_code == 403
    assert client.post("/events/replay/run/", {"ids": str(event.pk)}).status_code == 403
    event.refresh_from_db()
    assert event.status == GoHighLevelWebhook.IGNORED


def test_who_is_limited_to_some_agencies_knows_of_no_others_events(
    client, make_person, make_install
):
    make_install(company_id="mine", resource_id="my-loc")
    make_install(company_id="other", resource_id="other-loc")
    named = kept(company_id="mine")
    known_by_install = kept(location_id="my-loc", minutes_ago=1)
    others = [kept(company_id="other"), kept(location_id="other-loc"), kept()]
    client.force_login(make_person("olga", Role.OPERATOR, agencies=["mine"]))
    assert shown(client.get(LIST)) == [named.webhook_id, known_by_install.webhook_id]
    for event in others:
        assert client.get(page_of(event)).status_code == 404
        assert client.post(f"{page_of(event)}replay/").status_code == 404
    client.post("/events/replay/run/", {"all": "1", "query": ""})
    assert GoHighLevelWebhook.objects.filter(status="pending").count() == 2


@pytest.mark.parametrize("name", ["event-list", "event-figures", "event-bulk", "live-event-list"])
def test_visitors_are_sent_to_sign_in(client, name):
    answer = client.get(reverse(f"dashboard:{name}"))
    assert answer.status_code == 302
    assert "/accounts/login/" in answer["Location"]


def test_it_works_from_the_delivery_to_the_page(staff_client, world):
    """The whole way: HighLevel's delivery, the worker's sweep, the page."""
    from webhooks import tasks

    body, signature = world.signer.signed(b'{"type":"ContactCreate","webhookId":"w-1"}', "ed25519")
    staff_client.post("/app/webhook/", body, content_type="application/json", headers=signature)
    tasks.sweep()
    assert shown(staff_client.get(f"{LIST}?state=ignored")) == ["w-1"]
    call_command("replay_events", "--type", "ContactCreate")
    assert shown(staff_client.get(f"{LIST}?state=ignored")) == ["w-1"]
