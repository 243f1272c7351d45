from __future__ import annotations

import csv
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.test import Client
from django.utils import timezone

from integrations.health import Status
from integrations.models import GoHighLevelIntegration


def exported(client: Client, query: str = "") -> list[dict[str, str]]:
    answer = client.get(f"/installs/export.csv{query}")
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    text = b"".join(answer.streaming_content).decode("utf-8-sig")  # type: ignore[attr-defined]
    return list(csv.DictReader(text.splitlines()))


def test_the_list_is_exported_as_it_is_filtered(staff_client: Client, make_install: Any) -> None:
    make_install(name="Harbour Dental")
    make_install(name="Old Mill", status=Status.PAUSED)
    (row,) = exported(staff_client, "?state=paused")
    assert (row["name"], row["state"]) == ("Old Mill", "Paused by HighLevel")
    assert len(exported(staff_client)) == 2


def test_no_token_is_exported(staff_client: Client, make_install: Any) -> None:
    row = make_install()
    content = str(exported(staff_client))
    assert row.open_access_token() not in content and row.open_refresh_token() not in content


def test_a_name_that_is_a_formula_stays_a_name(staff_client: Client, make_install: Any) -> None:
    make_install(name='=HYPERLINK("http://evil.test")')
    (row,) = exported(staff_client)
    assert row["name"].startswith("'=HYPERLINK")


def found(client: Client, query: str) -> set[str]:
    return {row["name"] for row in exported(client, query)}


def test_the_list_filters_by_expiry_scopes_and_use(staff_client: Client, make_install: Any) -> None:
    now = timezone.now()
    make_install(name="Ended", expires_in=timedelta(minutes=-5), scope=settings.GHL_SCOPES)
    make_install(name="Soon", expires_in=timedelta(minutes=30), scope=settings.GHL_SCOPES)
    make_install(name="Narrow", scope="locations.readonly", last_used_at=now)
    make_install(name="Gone", status=Status.UNINSTALLED, expires_in=timedelta(days=-5))
    GoHighLevelIntegration.objects.filter(name="Soon").update(last_used_at=now - timedelta(days=40))
    assert found(staff_client, "?expires=ended") == {"Ended"}
    assert found(staff_client, "?expires=1h") == {"Ended", "Soon"}
    assert found(staff_client, "?scopes=missing") == {"Narrow"}
    assert found(staff_client, "?used=1d") == {"Narrow"}
    assert found(staff_client, "?used=30d") == {"Ended", "Soon", "Gone"}
    assert found(staff_client, "?used=never") == {"Ended", "Gone"}
    assert len(found(staff_client, "?used=rubbish")) == 4


def test_the_filter_of_lacking_scopes_means_what_the_page_of_permissions_does(
    staff_client: Client, make_install: Any, settings: Any
) -> None:
    settings.GHL_SCOPES = "oauth.read"
    make_install(name="Whole", scope="oauth.read")
    make_install(name="Another scope", scope="oauth.readonly")
    make_install(name="Not signed in", scope="other", status=Status.WAITING)
    assert found(staff_client, "?scopes=missing") == {"Another scope"}
    page = staff_client.get("/permissions/accounts.csv")
    assert b"Another scope" in b"".join(page.streaming_content)
