"""One of everything, so that no page of the product is empty."""

from __future__ import annotations

import json
from dataclasses import dataclass

from playwright.sync_api import Page

from e2e.people import install
from e2e.product import Product, manage

MAKE_ONE_OF_EACH = """
import json
from datetime import timedelta
from django.urls import reverse
from django.utils import timezone
from access import people
from access.keys import create_api_key
from access.models import Invitation, StatusLink, User
from alerts import links
from alerts.models import Channel, Incident
from integrations.bulk import create_job
from integrations.models import GoHighLevelIntegration
from webhooks import endpoints

create_api_key("Billing", scopes=["tokens:read"])
endpoints.create(by="admin", name="Shop", url="https://shop.example.com/events")
StatusLink.objects.create(name="Hall", created_by="admin")
now = timezone.now()
tomorrow = now + timedelta(days=1)
invitation = Invitation.objects.create(
    username="ines", role="viewer", invited_by="admin", ends_at=tomorrow
)
# Another file of journeys may have made these already.
User.objects.get_or_create(username="kim", is_staff=True)
GoHighLevelIntegration.objects.get_or_create(
    user_type="Location", resource_id="gone", name="Gone Florist", status="uninstalled"
)
channel = Channel.objects.create(
    name="Ops", way="mail", label="ops@example.com", digest_at=tomorrow, created_at=now
)
channel.address_encrypted = channel.seal("ops@example.com")
channel.save()
# It came back so often that it is not ended soon, though the disk is well.
disk = {"key": "disk", "kind": "disk", "subject": "A disk", "opened_at": now, "relapses": 6}
incident, _ = Incident.objects.get_or_create(open_key="disk", defaults=disk)
token = people.invitation_token(invitation)
print(json.dumps({
    "newcomer": reverse("dashboard:invitation", args=[token]),
    "mail-unsubscribe": links.signed(links.Act.UNSUBSCRIBE, channel),
    "mail-acknowledge": links.signed(links.Act.ACKNOWLEDGE, channel, incident),
    "mail-snooze": links.signed(links.Act.SNOOZE, channel, incident),
}))
create_job(GoHighLevelIntegration.objects.values_list("pk", flat=True), caller="admin")
"""


@dataclass(frozen=True)
class Furniture:
    """`ids`: HighLevel's, by the names of the sub-accounts; the first one has been refused by it.
    `links`: {name: address} of the pages that only a link in a message leads to.
    """

    ids: dict[str, str]
    links: dict[str, str]


def furnish(product: Product, page: Page) -> Furniture:
    """Somebody must be signed in."""
    names = ["Harbour Dental", "Old Mill Bakery", "Green Gym"]
    agency = product.control("agencies", name="Northwind Marketing", locations=names)
    install(product, page, agency["id"])
    said = manage(product.environ, "shell", "-c", MAKE_ONE_OF_EACH)
    ids = {location["name"]: location["id"] for location in agency["locations"]}
    product.control("refuse", location_id=ids["Harbour Dental"])
    return Furniture(ids, json.loads(said.splitlines()[-1]))
