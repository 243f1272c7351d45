from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from django_q.models import OrmQ

from access.models import AuditEvent
from alerts.models import Snooze
from integrations.health import Status
from integrations.models import GoHighLevelIntegration, RenewalJob


def text_of(answer: Any) -> str:
    return " ".join(answer.content.decode().split())


def test_all_that_match_are_previewed_and_become_a_job(
    staff_client: Client, make_install: Any
) -> None:
    paused = [make_install(status=Status.PAUSED) for _ in range(3)]
    make_install()
    query = {"action": "refresh", "all": "1", "query": "state=paused"}
    html = text_of(staff_client.get("/installs/bulk/", query))
    assert "Refresh 3 accounts?" in html and "Paused by HighLevel" in html
    answer = staff_client.post("/installs/bulk/run/", query)
    job = RenewalJob.objects.get()
    assert answer["Location"] == f"/jobs/{job.pk}/"
    assert {item.integration_id for item in job.items.all()} == {row.pk for row in paused}
    assert OrmQ.objects.get().task["func"] == "integrations.tasks.renew_batch"
    assert AuditEvent.objects.get().details == {"total": 3}


def test_the_preview_names_the_first_that_it_is_for(
    staff_client: Client, make_install: Any
) -> None:
    for n in range(12):
        make_install(name=f"Shop {n:02}")
    make_install(name="A gone one", status=Status.UNINSTALLED)
    html = text_of(staff_client.get("/installs/bulk/", {"action": "deactivate", "all": "1"}))
    assert "Switch off 12 accounts?" in html
    assert "<strong>Shop 00, Shop 01," in html and "Shop 09</strong> and 2 more" in html
    assert "A gone one" not in html


def test_those_that_are_off_are_skipped(staff_client: Client, make_install: Any) -> None:
    on, off = make_install(), make_install(status=Status.UNINSTALLED)
    query = {"action": "refresh", "ids": [str(on.pk), str(off.pk)]}
    html = text_of(staff_client.get("/installs/bulk/", query))
    assert "<title>Refresh 1 account ·" in html and "Refresh 1 account?" in html
    assert "1 of them is removed or switched off" in html
    staff_client.post("/installs/bulk/run/", query)
    assert RenewalJob.objects.get().total == 1


def test_many_are_switched_off_and_one_click_takes_it_back(
    staff_client: Client, make_install: Any
) -> None:
    rows = [make_install() for _ in range(2)]
    make_install(name="Another")
    choice = {"action": "deactivate", "ids": [str(row.pk) for row in rows]}
    page = staff_client.post("/installs/bulk/run/", choice, follow=True)
    assert "2 accounts switched off." in text_of(page) and 'action="/undo/"' in text_of(page)
    off = GoHighLevelIntegration.objects.filter(status=Status.DEACTIVATED)
    assert set(off) == set(rows)
    staff_client.post("/undo/")
    assert not off.all().exists()
    actions = AuditEvent.objects.order_by("pk").values_list("action", flat=True)
    assert list(actions) == ["install.deactivate", "install.reactivate"]


def test_as_many_are_switched_off_as_one_click_takes_back_then_the_rest(
    staff_client: Client, make_install: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.bulk_views.MOST_SWITCHED_OFF", 2)
    for name in ("Cafe", "Bakery", "Atelier"):
        make_install(name=name)
    choice = {"action": "deactivate", "all": "1"}
    html = text_of(staff_client.get("/installs/bulk/", choice))
    assert "Switch off 2 accounts?" in html and "<strong>Atelier, Bakery" in html
    assert "the first of 3, by name" in html and "Do it again for the other 1." in html
    page = staff_client.post("/installs/bulk/run/", choice, follow=True)
    assert "2 accounts switched off." in text_of(page)
    off = GoHighLevelIntegration.objects.filter(status=Status.DEACTIVATED).order_by("name")
    assert [row.name for row in off] == ["Atelier", "Bakery"]
    html = text_of(staff_client.get("/installs/bulk/", choice))
    assert "Switch off 1 account?" in html and "Do it again" not in html
    staff_client.post("/installs/bulk/run/", choice)
    assert [row.name for row in off.all()] == ["Atelier", "Bakery", "Cafe"]


def test_alerts_about_many_are_snoozed_and_one_click_takes_it_back(
    staff_client: Client, make_install: Any
) -> None:
    paused = [make_install(status=Status.PAUSED) for _ in range(2)]
    make_install(name="In order")
    choice = {"action": "snooze", "all": "1"}
    html = text_of(staff_client.get("/installs/bulk/", choice))
    assert "Snooze alerts about 2 accounts?" in html
    assert "1 of them is in order, or off and will be skipped" in html
    refused = staff_client.post("/installs/bulk/run/", choice | {"hours": "24"})
    assert refused.status_code == 400 and "This field is required" in text_of(refused)
    told = {"hours": "24", "reason": "the client pays on Monday"}
    page = staff_client.post("/installs/bulk/run/", choice | told, follow=True)
    assert "No alerts about 2 accounts for a while." in text_of(page)
    running = Snooze.objects.running(timezone.now())
    assert {snooze.integration for snooze in running} == set(paused)
    staff_client.post("/undo/")
    assert not running.all().exists()
    actions = AuditEvent.objects.order_by("pk").values_list("action", flat=True)
    assert list(actions) == ["alert.snooze", "alert.unsnooze"]


def test_the_list_keeps_its_filter_and_order_after_an_action(
    staff_client: Client, make_install: Any
) -> None:
    choice = {"action": "deactivate", "ids": [str(make_install().pk)]}
    choice |= {"query": "q=dental&sort=-expires\r\nX: y"}
    back_to = "/installs/?q=dental&sort=-expires%0D%0AX%3A+y"
    preview = staff_client.get("/installs/bulk/", choice).content.decode()
    assert preview.count(f'href="{back_to.replace("&", "&amp;")}"') == 2
    assert staff_client.post("/installs/bulk/run/", choice)["Location"] == back_to


@pytest.mark.parametrize("undone", ["switch-off", "snooze"])
def test_what_cannot_be_recorded_is_not_undone(
    staff_client: Client, make_install: Any, monkeypatch: pytest.MonkeyPatch, undone: str
) -> None:
    row = make_install(status=Status.PAUSED)
    if undone == "switch-off":
        staff_client.post(f"/installs/{row.pk}/switch-off/")
    else:
        chosen = {"ids": [str(row.pk)], "action": "snooze", "hours": "24", "reason": "known"}
        staff_client.post("/installs/bulk/run/", chosen)
        assert Snooze.objects.running(timezone.now()).exists()

    def fail(*_: Any, **__: Any) -> None:
        raise OSError

    monkeypatch.setattr("dashboard.undo.record", fail)
    with pytest.raises(OSError):
        staff_client.post("/undo/")
    if undone == "switch-off":
        assert GoHighLevelIntegration.objects.get().status == Status.DEACTIVATED
        assert not OrmQ.objects.exists()
    else:
        assert Snooze.objects.running(timezone.now()).exists()


def test_undo_is_offered_once(staff_client: Client, make_install: Any) -> None:
    row = make_install()
    staff_client.post("/installs/bulk/run/", {"action": "deactivate", "ids": [str(row.pk)]})
    assert b"/undo/" in staff_client.get("/installs/").content
    assert b"/undo/" not in staff_client.get("/installs/").content
    staff_client.post("/undo/")
    page = staff_client.post("/undo/", follow=True)
    assert b"There is nothing to undo any more." in page.content
    actions = AuditEvent.objects.order_by("pk").values_list("action", flat=True)
    assert list(actions) == ["install.deactivate", "install.reactivate"]  # the second undid nothing


def test_rubbish_selects_nothing(staff_client: Client, make_install: Any) -> None:
    make_install()
    for query in ({}, {"action": "nothing", "all": "1"}, {"action": "refresh", "ids": ["x", "'"]}):
        page = staff_client.get("/installs/bulk/", query, follow=True)
        assert b"There is nothing to do for these accounts." in page.content
    staff_client.post("/installs/bulk/run/", {"action": "nothing", "all": "1"})
    assert not RenewalJob.objects.exists() and not AuditEvent.objects.exists()


def test_refreshing_all_that_match_leads_htmx_to_the_preview(
    staff_client: Client, make_install: Any
) -> None:
    make_install()
    answer = staff_client.post(
        "/installs/refresh/", {"all": "1", "query": "q=x"}, headers={"HX-Request": "true"}
    )
    assert answer["HX-Redirect"] == "/installs/bulk/?action=refresh&all=1&query=q%3Dx"
