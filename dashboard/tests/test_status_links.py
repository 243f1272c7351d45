from __future__ import annotations

import uuid
from typing import Any

from django.test import Client

from access.models import AuditEvent, StatusLink
from access.roles import Role
from integrations.health import Status


def make_link(client: Client, **values: str) -> StatusLink:
    client.post("/status-links/", {"name": "Office", **values})
    return StatusLink.objects.get(name="Office")


def test_whoever_has_the_link_sees_numbers_and_no_names(
    staff_client: Client, make_install: Any
) -> None:
    make_install(name="Harbour Dental")
    make_install(name="Old Mill", status=Status.REFUSED, cause="refused")
    link = make_link(staff_client)
    visitor = Client()
    told = visitor.get(f"/status/{link.pk}/status.json").json()
    assert (told["status"], told["total"], told["needs_you"], told["healthy"]) == ("red", 2, 1, 1)
    badge = visitor.get(f"/status/{link.pk}/badge.svg")
    assert badge["Content-Type"] == "image/svg+xml" and b"1 need attention" in badge.content
    wall = visitor.get(f"/status/{link.pk}/").content.decode()
    assert "1 account needs you." in wall
    for page in (str(told), badge.content.decode(), wall):
        assert "Harbour" not in page and "Old Mill" not in page


def test_an_agencys_link_counts_its_accounts_alone(staff_client: Client, make_install: Any) -> None:
    make_install(company_id="agency-1")
    make_install(company_id="agency-2")
    link = make_link(staff_client, company_id="agency-2")
    assert Client().get(f"/status/{link.pk}/status.json").json()["total"] == 1


def test_a_removed_link_leads_nowhere(staff_client: Client) -> None:
    link = make_link(staff_client)
    staff_client.post(f"/status-links/{link.pk}/delete/")
    for path in ("", "badge.svg", "status.json"):
        assert Client().get(f"/status/{link.pk}/{path}").status_code == 404
    actions = AuditEvent.objects.order_by("pk").values_list("action", flat=True)
    assert list(actions) == ["status_link.create", "status_link.delete"]


def test_a_guessed_link_leads_nowhere(db: None) -> None:
    assert Client().get(f"/status/{uuid.uuid4()}/badge.svg").status_code == 404


def test_whoever_is_limited_makes_links_of_their_own_agencies_alone(make_person: Any) -> None:
    client = Client()
    client.force_login(make_person("kim", Role.OWNER, agencies=["agency-1"]))
    StatusLink.objects.create(name="All", created_by="sam")
    answer = client.post("/status-links/", {"name": "Office", "company_id": ""})
    assert answer.status_code == 422 and b"one of your agencies" in answer.content
    assert make_link(client, company_id="agency-1").created_by == "kim"
    assert [link.name for link, _ in client.get("/status-links/").context["links"]] == ["Office"]
