"""What the page of one account shows beside the row itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Q, QuerySet
from django.urls import reverse

from integrations import scopes
from integrations.health import Status
from integrations.models import LOCATION, GoHighLevelIntegration, RefreshAttempt
from webhooks.models import GoHighLevelWebhook

# HighLevel: a refresh token lives one year, or until it is used (OAuth 2.0 guide).
REFRESH_TOKEN_LIFE = timedelta(days=365)


@dataclass(frozen=True)
class Progress:
    """How many of an agency's sub-accounts have their access."""

    connected: int
    total: int

    @property
    def is_complete(self) -> bool:
        return self.connected == self.total


def last_attempt(install: GoHighLevelIntegration) -> RefreshAttempt | None:
    return install.attempts.order_by("-started_at").first()


def events_of(install: GoHighLevelIntegration) -> QuerySet[GoHighLevelWebhook]:
    """An agency's events are those that name no sub-account."""
    if install.is_agency:
        return GoHighLevelWebhook.objects.filter(company_id=install.resource_id, location_id="")
    return GoHighLevelWebhook.objects.filter(location_id=install.resource_id)


def progress(install: GoHighLevelIntegration) -> Progress | None:
    """None for a sub-account."""
    if not install.is_agency:
        return None
    locations = GoHighLevelIntegration.objects.renewable().filter(
        user_type=LOCATION, company_id=install.resource_id
    )
    counted = locations.aggregate(
        total=Count("pk"), waiting=Count("pk", filter=Q(status=Status.WAITING))
    )
    return Progress(connected=counted["total"] - counted["waiting"], total=counted["total"])


def runway(install: GoHighLevelIntegration) -> datetime | None:
    """Return until when we could stand still and still renew; each renewal begins the year anew."""
    if not install.is_active or install.renewed_at is None:
        return None
    return install.renewed_at + REFRESH_TOKEN_LIFE


def missing_scopes(install: GoHighLevelIntegration) -> list[str]:
    """Return what the app asks for now and the account did not allow, as far as that is known."""
    return scopes.missing(install.scope) if install.is_active and install.scope else []


def curl_example(install: GoHighLevelIntegration, base_url: str) -> str:
    """Return a command to paste. `base_url` ends with a slash."""
    url = _token_url(install, base_url)
    return f'curl -H "Authorization: Bearer $WHATREACH_API_KEY" "{url}?min_valid_for=300"'


def python_example(install: GoHighLevelIntegration, base_url: str) -> str:
    """Return the same for Python."""
    return (
        "import os, requests\n\n"
        "answer = requests.get(\n"
        f'    "{_token_url(install, base_url)}",\n'
        '    headers={"Authorization": f"Bearer {os.environ[\'WHATREACH_API_KEY\']}"},\n'
        "    timeout=30,\n"
        ")\n"
        "answer.raise_for_status()\n"
        'token = answer.json()["access_token"]'
    )


def _token_url(install: GoHighLevelIntegration, base_url: str) -> str:
    path = reverse("integrations:api-1:get_token", args=[install.pk])
    return f"{base_url.rstrip('/')}{path}"
