"""No page offers what the person who reads it may not do: buttons and links are for whom the
server obeys."""

from __future__ import annotations

import re
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from html import unescape
from typing import Any
from urllib.parse import urlsplit

import pytest
import time_machine
from django.test import Client
from django.urls import Resolver404, resolve
from django.utils import timezone
from django.utils.module_loading import import_string
from django_q.models import OrmQ, Task
from django_q.tasks import async_task

from access.keys import create_api_key
from access.models import Invitation, KeyAlert, StatusLink, User
from access.roles import Role
from alerts import incidents
from alerts.tests.conftest import make_channel  # noqa: F401
from dashboard import demo
from integrations import bulk, reconcile
from integrations.health import Status
from integrations.models import LOCATION, GoHighLevelIntegration
from integrations.tasks import tick
from sandbox.world import World
from webhooks import endpoints
from webhooks.models import Delivery, GoHighLevelWebhook

pytestmark = [pytest.mark.django_db, pytest.mark.one_database]
LINK = re.compile(r'\bhref="([^"]+)"')
ADDRESS = re.compile(r'\b(?:href|action|formaction|hx-get|hx-post)="([^"]+)"')
FORM = re.compile(r'\bform="([^"]+)"')
# So many of the addresses of one kind are looked at, and of one page's queries.
MOST_ALIKE, MOST_QUERIES = 20, 3


@pytest.fixture
def lived_in(
    make_install: Any,
    world: World,
    install_agency: Any,
    make_person: Callable[..., User],
    make_channel: Any,  # noqa: F811
) -> None:
    """A product in which there is something to do about everything."""
    now = timezone.now()
    for n, status in enumerate(Status):
        make_install(status=status, company_id=f"agency-{n}", client_id=demo.CLIENT_ID)
    troubled = make_install(status=Status.REFUSED, cause="refused", cause_since=now, scope="a")
    failing = make_install(failures=3, cause="unreachable", expires_in=timedelta(minutes=-5))
    _compare(world, install_agency())
    for is_over in (False, True):
        job = bulk.create_job([troubled.pk, failing.pk], caller="sam")
        job.items.filter(integration=troubled).update(outcome="failed")
        if is_over:
            bulk.cancel(job)
    for status in GoHighLevelWebhook.STATUSES:
        event = GoHighLevelWebhook.objects.create(
            webhook_id=str(uuid.uuid4()),
            type="INSTALL",
            body="{}",
            status=status,
            occurred_at=now,
            received_at=now,
        )
    endpoint = endpoints.create(by="sam", name="Shop", url="https://shop.example.com/")
    Delivery.objects.create(
        endpoint=endpoint, event=event, status=Delivery.FAILED, created_at=now, tried_at=now
    )
    key, _text = create_api_key("Billing", scopes=["tokens:read"])
    KeyAlert.objects.create(key=key, kind="address", at=now, details={"address": "203.0.113.7"})
    StatusLink.objects.create(name="Hall", created_by="sam")
    make_channel()
    incidents.look(now)
    incidents.snooze_installs(
        [failing], until=now + timedelta(hours=2), reason="They move", by="sam"
    )
    async_task("integrations.tasks.tick")
    task = {"name": "t", "func": "integrations.tasks.tick", "started": now, "stopped": now}
    Task.objects.create(id="t1", success=False, result="ValueError", **task)
    Invitation.objects.create(
        username="ines", role="viewer", invited_by="sam", ends_at=now + timedelta(days=1)
    )


def _compare(world: World, agency: GoHighLevelIntegration) -> None:
    """One sub-account is missing here, and one is gone at HighLevel."""
    _work()
    tick()
    new = world.create_location(agency.resource_id, "Opened Unheard")
    world.install(agency.resource_id, [new.id])
    gone = GoHighLevelIntegration.objects.filter(
        user_type=LOCATION, company_id=agency.resource_id
    ).first()
    world.uninstall(gone.resource_id)
    with time_machine.travel(timezone.now() + timedelta(minutes=1)):
        reconcile.begin(agency, caller="sam")
        _work()


def _work() -> None:
    """Do what waits in the queue."""
    while entry := OrmQ.objects.order_by("pk").first():
        entry.delete()
        import_string(entry.task["func"])(*entry.task["args"], **entry.task["kwargs"])


def pages_of(client: Client) -> dict[str, str]:
    """Follow every link from the first page on; return {address: page}."""
    pages: dict[str, str] = {}
    waiting, seen, alike = ["/"], {"/"}, Counter[str]()
    while waiting:
        address = waiting.pop()
        answer = client.get(address)
        if answer.status_code != 200 or answer.streaming:
            continue
        pages[address] = answer.content.decode()
        for found in map(unescape, LINK.findall(pages[address])):
            path, name = urlsplit(found).path, view_name(found)
            is_enough = alike[name] >= MOST_ALIKE or alike[path] >= MOST_QUERIES
            if name and found not in seen and not is_enough:
                seen.add(found)
                alike.update((path, name))
                waiting.append(found)
    return pages


def view_name(address: str) -> str:
    """Which of the dashboard's views answers there; empty: none."""
    try:
        found = resolve(urlsplit(address).path)
    except Resolver404:
        return ""
    return found.view_name if found.namespace == "dashboard" else ""


def may(person: User, address: str) -> bool:
    if not view_name(address):
        return True
    needs = resolve(urlsplit(address).path).func.audience.needs
    return not needs or person.has_perm(needs)


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
def test_a_page_offers_only_what_its_reader_may_do(
    lived_in: None, make_person: Callable[..., User], sign_in: Any, role: Role
) -> None:
    person = make_person("kim", role)
    pages = pages_of(sign_in(person))
    assert len({view_name(address) for address in pages}) > 18
    assert {
        (view_name(page), view_name(address))
        for page, html in pages.items()
        for address in map(unescape, ADDRESS.findall(html))
        if not may(person, address)
    } == set()
    # What is ticked and typed belongs to a form that is there.
    assert {
        (view_name(page), form)
        for page, html in pages.items()
        for form in FORM.findall(html)
        if f'id="{form}"' not in html
    } == set()
