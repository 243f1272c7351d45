"""Forgetting a client: afterwards nothing but the audit trail names it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from django.utils.module_loading import import_string
from django_q.models import OrmQ

from access.models import AuditEvent
from alerts import delivery, incidents
from alerts.models import Channel, Delivery, Incident, Snooze
from integrations import heartbeat, reconcile
from integrations.health import Status
from integrations.install import finish_install
from integrations.models import (
    COMPANY,
    CallBudget,
    GoHighLevelIntegration,
    HandOut,
    ListedLocation,
    RefreshAttempt,
    RenewalJobItem,
    StateChange,
)
from integrations.tasks import tick
from operations import hand_out_counts
from webhooks import delivery as passing_on
from webhooks import endpoints, processing
from webhooks.models import EventRhythm, GoHighLevelWebhook

pytestmark = pytest.mark.django_db
ROWS = GoHighLevelIntegration.objects
COMES_BACK = "the next comparison with its agency's list fetches it again, as a new account"
CLIENT = {"name": "Harbour Dental", "email": "front-desk@harbour.test"}
ABOUT_IT: list[Any] = [
    *(CallBudget, GoHighLevelIntegration, HandOut, ListedLocation),
    *(RefreshAttempt, RenewalJobItem, StateChange),
    *(EventRhythm, GoHighLevelWebhook),
    *(Delivery, Incident, Snooze),
]


def work() -> None:
    """Do what is in the queue, and what that puts in it."""
    while entry := OrmQ.objects.order_by("pk").first():
        task = entry.task
        entry.delete()
        import_string(task["func"])(*task["args"], **task["kwargs"])


def tables_that_name(*words: str) -> set[str]:
    """Every table of the database that has one of these in any column."""
    return {table for table, text in _stored() if any(word in text for word in words)}


def _stored() -> Iterator[tuple[str, str]]:
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")  # noqa: S608
            for row in cursor.fetchall():
                yield table, " ".join(str(value) for value in row)


@pytest.fixture(autouse=True)
def no_lingering(monkeypatch):
    """The worker does not go on looking for more: nothing waits for the clock."""
    monkeypatch.setattr(passing_on, "LINGER_S", 0)
    monkeypatch.setattr(processing, "LOOK_AT_MOST_S", 0)


@pytest.fixture
def client_row(world, client, install_agency, api) -> GoHighLevelIntegration:
    """A sub-account with everything that may hang on one, and another one beside it."""
    agency = install_agency(locations=["Quayside Physio"])
    world.create_location(agency.resource_id, **CLIENT)
    (location,) = (one for one in world.locations() if one.name == CLIENT["name"])
    world.install(agency.resource_id, [location.id])
    endpoints.create(name="Billing", url="https://10.0.0.9/hook", by="sam")
    world.send_event("ContactCreate", location.id)
    world.deliver(
        lambda _url, body, headers: (
            client.post(
                "/app/webhook/", body, content_type="application/json", headers=headers
            ).status_code
        )
    )
    work()
    tick()
    row = ROWS.get(resource_id=location.id)
    finish_install(row.pk)
    machine = api()
    machine.get(f"/app/get-token/{row.pk}/")
    machine.get(f"/app/api/{row.pk}/locations/{row.resource_id}")
    machine.post("/app/bulk-refresh/", {"ids": [str(row.pk)]}, content_type="application/json")
    reconcile.begin(agency, caller="sam")
    work()
    _tell_that_it_is_lost(row)
    row.refresh_from_db()
    return row


def _tell_that_it_is_lost(row: GoHighLevelIntegration) -> None:
    now = timezone.now()
    channel = Channel(name="Team", way=Channel.MAIL, created_at=now, wants_digest=False)
    channel.digest_at = now
    channel.address_encrypted = channel.seal("ops@agency.test")
    channel.save()
    for name in heartbeat.PARTS:
        heartbeat.beat(name)
    ROWS.filter(pk=row.pk).update(status=Status.REFUSED, cause="refused", cause_since=now)
    incidents.look(now)
    delivery.deliver(Delivery.objects.get().pk)
    incidents.snooze_installs([row], until=now, reason="They are on holiday", by="sam")


def test_nothing_but_the_audit_trail_names_a_forgotten_client(staff_client, client_row):
    words = (client_row.resource_id, *CLIENT.values(), str(client_row.pk), client_row.pk.hex)
    staff_client.post(f"/installs/{client_row.pk}/disconnect/", {"here_only": "1"}, follow=True)
    known = tables_that_name(*words)
    for model in ABOUT_IT:
        assert model._meta.db_table in known, f"nothing of {model.__name__} to erase"
    staff_client.post(f"/installs/{client_row.pk}/forget/", follow=True)
    assert tables_that_name(*words) == {AuditEvent._meta.db_table}


def test_forgetting_one_leaves_the_others_in_the_comparison(staff_client, client_row):
    staff_client.post(f"/installs/{client_row.pk}/disconnect/", {"here_only": "1"})
    staff_client.post(f"/installs/{client_row.pk}/forget/")
    assert [one.name for one in ListedLocation.objects.all()] == ["Quayside Physio"]


def test_what_a_forgotten_client_had_stays_in_the_metrics(staff_client, make_install, api):
    row = make_install()
    hand_out_counts.read()
    assert api().get(f"/app/get-token/{row.pk}/").status_code == 200
    staff_client.post(f"/installs/{row.pk}/switch-off/")
    staff_client.post(f"/installs/{row.pk}/forget/")
    assert not HandOut.objects.exists()
    assert hand_out_counts.read() == (1, 0)


def compare_by_night() -> None:
    reconcile.nightly()
    work()


@pytest.mark.parametrize(
    ("end", "data", "words"),
    [
        ("switch-off", {}, "HighLevel still has the app installed there"),
        ("disconnect", {"here_only": "1"}, "HighLevel may still have the app installed there"),
    ],
)
def test_what_the_night_would_fetch_again_is_said_before_it_is_forgotten(
    staff_client, client_row, end, data, words
):
    staff_client.post(f"/installs/{client_row.pk}/{end}/", data)
    page = staff_client.get(f"/installs/{client_row.pk}/forget/").content.decode()
    assert words in page
    assert COMES_BACK in page
    staff_client.post(f"/installs/{client_row.pk}/forget/")
    compare_by_night()
    assert ROWS.get(resource_id=client_row.resource_id).pk != client_row.pk


def test_what_highlevel_lists_after_its_end_is_said_to_come_back(staff_client, client_row):
    long_ago = timezone.now() - timedelta(days=1)
    ROWS.filter(pk=client_row.pk).update(
        status=Status.UNINSTALLED, cause="uninstalled", cause_since=long_ago
    )
    assert COMES_BACK in staff_client.get(f"/installs/{client_row.pk}/forget/").content.decode()


def test_what_was_disconnected_at_highlevel_does_not_come_back(staff_client, client_row):
    staff_client.post(f"/installs/{client_row.pk}/disconnect/")
    page = staff_client.get(f"/installs/{client_row.pk}/forget/").content.decode()
    assert "HighLevel still has" not in page
    assert COMES_BACK not in page
    staff_client.post(f"/installs/{client_row.pk}/forget/")
    compare_by_night()
    assert not ROWS.filter(resource_id=client_row.resource_id).exists()


def test_without_its_agency_nothing_fetches_it_again(staff_client, client_row):
    ROWS.filter(user_type=COMPANY).update(status=Status.REFUSED)
    staff_client.post(f"/installs/{client_row.pk}/switch-off/")
    page = staff_client.get(f"/installs/{client_row.pk}/forget/").content.decode()
    assert "HighLevel still has the app installed there" in page
    assert COMES_BACK not in page
    staff_client.post(f"/installs/{client_row.pk}/forget/")
    compare_by_night()
    assert not ROWS.filter(resource_id=client_row.resource_id).exists()
