"""The rows that the sandbox made: whether there are any, and their removal."""

from __future__ import annotations

from django.db import transaction
from django.db.models import Q

from integrations.models import COMPANY, GoHighLevelIntegration
from webhooks.models import GoHighLevelWebhook

# The client id that the sandbox gives to whoever asks; HighLevel never does.
CLIENT_ID = "5eed5eed5eed5eed5eed5eed-whatrdmo"
APP_ID = CLIENT_ID.partition("-")[0]


def exists() -> bool:
    return GoHighLevelIntegration.objects.filter(client_id=CLIENT_ID).exists()


def remove() -> int:
    """Delete the demo's installs with their renewals, and its events; return how many installs.

    Sub-accounts that still wait have no client id of their own; they go with their agency.
    """
    with transaction.atomic():
        demo = GoHighLevelIntegration.objects.filter(client_id=CLIENT_ID)
        companies = set(demo.exclude(company_id="").values_list("company_id", flat=True))
        companies |= set(demo.filter(user_type=COMPANY).values_list("resource_id", flat=True))
        waiting = Q(client_id="", company_id__in=companies)
        rows = GoHighLevelIntegration.objects.filter(Q(client_id=CLIENT_ID) | waiting)
        _all, counts = rows.delete()
        GoHighLevelWebhook.objects.filter(app_id=APP_ID).delete()
    return counts.get(GoHighLevelIntegration._meta.label, 0)
