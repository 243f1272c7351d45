from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client, RequestFactory
from django.utils import timezone

from access import audit
from access.models import AppendOnlyError, AuditEvent, User


def test_a_click_leaves_who_did_what_to_what_and_from_where(
    staff_client: Client, make_install: Any
) -> None:
    row = make_install(name="Harbour Dental")
    staff_client.post(f"/installs/{row.pk}/refresh/", REMOTE_ADDR="192.0.2.7")
    event = AuditEvent.objects.get()
    assert (event.actor_name, event.action, event.outcome) == ("sam", "install.refresh", "done")
    assert (event.target_id, event.target_name) == (str(row.pk), "Harbour Dental")
    assert (event.address, event.company_id) == ("192.0.2.7", row.company_id)


def test_looking_leaves_nothing(staff_client: Client) -> None:
    staff_client.get("/")
    assert not AuditEvent.objects.exists()


def test_nobody_changes_or_removes_what_is_recorded(staff: User) -> None:
    request = RequestFactory().post("/")
    request.user = staff
    event = audit.record(request, "key.create")
    event.action = "nothing"
    for attempt in (
        event.save,
        event.delete,
        AuditEvent.objects.all().delete,
        lambda: AuditEvent.objects.update(action="nothing"),
    ):
        with pytest.raises(AppendOnlyError):
            attempt()
    assert AuditEvent.objects.get().action == "key.create"


def test_what_is_older_than_the_retention_time_is_purged(db: None) -> None:
    audit.record_system("keys.rotate", by="rotate_token_keys")
    assert AuditEvent.objects.all().purge(timezone.now() - timedelta(days=1)) == 0  # type: ignore[attr-defined]
    assert AuditEvent.objects.all().purge(timezone.now() + timedelta(days=1)) == 1  # type: ignore[attr-defined]
