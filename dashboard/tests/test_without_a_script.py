"""Every form for staff, as a browser without a script sends it: a page or a redirect answers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from access.audience import Who
from access.keys import create_api_key
from access.models import Invitation, StatusLink, User
from access.roles import Role
from alerts.models import Channel, Incident, Snooze
from config.audiences import Address, addresses
from integrations import bulk
from integrations.models import GoHighLevelIntegration
from webhooks import endpoints
from webhooks.models import GoHighLevelWebhook

# A task that failed, a delivery, an alarm of a key: their own tests send these forms without htmx.
ABOUT_OTHER_THINGS = {
    "task-retry",
    "task-cancel",
    "endpoint-delivery-send-again",
    "key-alert-accept",
}
FORMS = [
    address
    for address in addresses()
    if address.audience
    and address.audience.who is Who.STAFF
    and address.name.startswith("dashboard:")
    and not address.path.startswith("/live/")
    and address.name.partition(":")[2] not in ABOUT_OTHER_THINGS
]


@pytest.fixture
def about(
    make_install: Callable[..., GoHighLevelIntegration], make_person: Callable[..., User]
) -> dict[str, object]:
    """{beginning of an address's name: what stands for the id in it}."""
    now = timezone.now()
    tomorrow = now + timedelta(days=1)
    install, agency = make_install(), make_install(agency=True, company_id="agency-9")
    incident = Incident.objects.create(
        key="disk", open_key="disk", kind="disk", subject="The disk", opened_at=now
    )
    snooze = Snooze.objects.create(
        key="disk", subject="The disk", reason="known", by="sam", created_at=now, until=tomorrow
    )
    channel = Channel(name="Ops", way=Channel.MAIL, label="ops", digest_at=tomorrow, created_at=now)
    channel.address_encrypted = channel.seal("ops@example.com")
    channel.save()
    invitation = Invitation.objects.create(
        username="ines", role=Role.VIEWER, invited_by="sam", ends_at=tomorrow
    )
    endpoint = endpoints.create(by="sam", name="Shop", url="https://shop.example.com/events")
    event = GoHighLevelWebhook.objects.create(
        webhook_id="1", type="INSTALL", body=b"{}", occurred_at=now, received_at=now
    )
    return {
        "install": install.pk,
        "scope": agency.pk,
        "job": bulk.create_job([install.pk], caller="sam").pk,
        "agency": agency.company_id,
        "endpoint": endpoint.pk,
        "event": event.pk,
        "alert": incident.pk,
        "alert-unsnooze": snooze.pk,
        "alert-channel": channel.pk,
        "key": create_api_key("Billing", scopes=["tokens:read"])[0].pk,
        "people": make_person("kim", Role.VIEWER).pk,
        "people-invitation": invitation.pk,
        "status-link": StatusLink.objects.create(name="Hall", created_by="sam").pk,
    }


def test_each_form_is_answered_by_a_page(staff_client: Client, about: dict[str, object]) -> None:
    staff_client.raise_request_exception = False
    wrong = []
    for address in FORMS:
        # What one form does must not be in the way of the next.
        with transaction.atomic():
            answer = staff_client.post(path_of(address, about))
            transaction.set_rollback(True)
        # 502: HighLevel cannot be reached from here.
        is_page = answer.status_code in (200, 400, 422, 502) and b"<html" in answer.content
        if not (is_page or answer.status_code in (302, 405)):
            wrong.append((address.name, answer.status_code))
    assert wrong == []


def path_of(address: Address, about: dict[str, object]) -> str:
    if "<" not in address.path:
        return reverse(address.name)
    name = address.name.partition(":")[2]
    return reverse(address.name, args=[about[max(filter(name.startswith, about), key=len)]])
