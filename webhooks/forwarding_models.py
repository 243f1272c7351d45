"""Who gets the events besides us, and what became of each one sent there."""

from __future__ import annotations

import base64
import os
import uuid
from collections.abc import Iterable
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any, ClassVar
from urllib.parse import urlsplit

from django.db import models
from django.db.models import Q
from standardwebhooks import Webhook

from access.models import User
from integrations.crypto import keyring

SECRET_BYTES = 32


class EndpointQuerySet(models.QuerySet["Endpoint"]):
    def active(self) -> EndpointQuerySet:
        return self.filter(disabled_at=None)

    def reachable(self, now: datetime) -> EndpointQuerySet:
        """Those that are on, and not left in peace after failures."""
        return self.active().filter(Q(probe_at=None) | Q(probe_at__lte=now))

    def without_secrets(self) -> EndpointQuerySet:
        return self.defer("secret_encrypted", "old_secret_encrypted")


class Endpoint(models.Model):
    """An address of another back end that gets the events, signed with a secret of its own.

    There are few (endpoints.MOST): they may be loaded whole. Writers update the columns they own:
    delivery.py those from `failures` on, endpoints.py the others.
    """

    FAILING, GONE, STAFF = "failing", "gone", "staff"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=100)
    url = models.CharField("address", max_length=500)
    description = models.CharField(max_length=300, blank=True)
    event_types = models.JSONField(
        default=list, blank=True, help_text="Types, or patterns as Contact*; empty: all."
    )
    agencies = models.JSONField(
        default=list, blank=True, help_text="HighLevel ids of the agencies; empty: all."
    )
    secret_encrypted = models.BinaryField(default=bytes)
    # While a rotation overlaps, both sign.
    old_secret_encrypted = models.BinaryField(default=bytes)
    old_secret_until = models.DateTimeField(null=True, blank=True)
    rotated_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField()
    created_by = models.CharField(max_length=150, blank=True)

    # Events that came before are not sent by themselves.
    active_since = models.DateTimeField()
    disabled_at = models.DateTimeField(null=True, blank=True)
    disabled_reason = models.CharField(
        max_length=10,
        blank=True,
        choices=[
            (FAILING, "Switched off: nothing could be delivered for five days."),
            (GONE, "Switched off: it answered that it is gone for good (410)."),
            (STAFF, "Switched off by hand."),
        ],
    )
    disabled_by = models.CharField(max_length=150, blank=True)

    failures = models.PositiveIntegerField("failed deliveries in a row", default=0)
    failing_since = models.DateTimeField(null=True, blank=True)
    # Until when it is left in peace; then one delivery finds out whether it works again.
    probe_at = models.DateTimeField(null=True, blank=True)
    delivered_at = models.DateTimeField("last delivered", null=True, blank=True)
    # While a process is delivering to it.
    sending_until = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[models.Manager[Endpoint]] = EndpointQuerySet.as_manager()

    class Meta:
        verbose_name = "endpoint"
        ordering = ["name", "pk"]

    def __str__(self) -> str:
        return self.name

    @property
    def is_active(self) -> bool:
        return self.disabled_at is None

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or self.url

    @property
    def company_id(self) -> str:
        """The agency that it concerns alone, for the audit trail; empty when there are several."""
        return self.agencies[0] if len(self.agencies) == 1 else ""

    def is_visible_to(self, user: User) -> bool:
        """Whoever is limited to some agencies sees the endpoints that get the events of these
        alone."""
        if not user.agencies:
            return True
        return bool(self.agencies) and set(self.agencies) <= set(user.agencies)

    def wants(self, event_type: str, company_id: str) -> bool:
        if self.agencies and company_id not in self.agencies:
            return False
        return not self.event_types or any(
            fnmatchcase(event_type, pattern) for pattern in self.event_types
        )

    # --- The secrets ---

    def seal(self, field: str, secret: str) -> bytes:
        """Encrypt a secret for this row's `field` ("secret" or "old_secret")."""
        return keyring().encrypt(secret, self._binding(field))

    def open_secret(self) -> str:
        """Return the signing secret, "whsec_…". Errors: DecryptError."""
        return keyring().decrypt(self.secret_encrypted, self._binding("secret"))

    def signers(self, now: datetime) -> list[Webhook]:
        """Return what signs now: the secret, and the one before while the rotation overlaps.

        Errors: DecryptError.
        """
        secrets = [self.open_secret()]
        if self.has_old_secret(now):
            secrets.append(
                keyring().decrypt(self.old_secret_encrypted, self._binding("old_secret"))
            )
        return [Webhook(secret) for secret in secrets]

    def has_old_secret(self, now: datetime) -> bool:
        return self.old_secret_until is not None and self.old_secret_until > now

    def _binding(self, field: str) -> str:
        return f"endpoint|{field}|{self.pk}"


def make_secret() -> str:
    return "whsec_" + base64.b64encode(os.urandom(SECRET_BYTES)).decode()


class DeliveryQuerySet(models.QuerySet["Delivery"]):
    def waiting(self) -> DeliveryQuerySet:
        return self.filter(send_at__isnull=False)

    def due(self, now: datetime) -> DeliveryQuerySet:
        return self.filter(send_at__lte=now)

    def send_again(self, now: datetime) -> int:
        """Make these due, as if they were new; return how many there are."""
        return self.update(
            status=Delivery.WAITING, attempts=0, send_at=now, claim=None, delivered_at=None
        )


class Delivery(models.Model):
    """One event for one endpoint. The row is the truth; a queue entry only rings the bell.

    `send_at` is when it is to be sent (again), null when that is over. Whoever sends it takes it
    by moving `send_at` ahead and writing a `claim`; a crash leaves the next try planned.
    """

    WAITING, DELIVERED, FAILED = "waiting", "delivered", "failed"

    endpoint = models.ForeignKey(
        Endpoint, on_delete=models.CASCADE, related_name="deliveries", db_index=False
    )
    # Null: a test event, whose body is made when it is sent.
    event = models.ForeignKey(
        "webhooks.GoHighLevelWebhook",
        on_delete=models.CASCADE,
        null=True,
        related_name="deliveries",
    )
    status = models.CharField(
        max_length=10,
        default=WAITING,
        choices=[(WAITING, "Waiting"), (DELIVERED, "Delivered"), (FAILED, "Failed")],
    )
    created_at = models.DateTimeField()
    send_at = models.DateTimeField(null=True)
    claim = models.UUIDField(null=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    tried_at = models.DateTimeField(null=True)
    delivered_at = models.DateTimeField(null=True)
    took_ms = models.PositiveIntegerField(null=True)
    http_status = models.PositiveSmallIntegerField(null=True)
    error = models.CharField(max_length=200, blank=True)
    answer = models.CharField(max_length=500, blank=True, help_text="The beginning of its answer.")

    objects: ClassVar[models.Manager[Delivery]] = DeliveryQuerySet.as_manager()

    class Meta:
        verbose_name = "delivery"
        verbose_name_plural = "deliveries"
        constraints = [
            # endpoints.fan_out: an event goes to an endpoint once, however often it is looked at
            models.UniqueConstraint(fields=["endpoint", "event"], name="delivery_once"),
        ]
        indexes = [
            # delivery.py: WHERE endpoint AND send_at <= now ORDER BY send_at
            models.Index(fields=["endpoint", "send_at"], name="delivery_due"),
            # The log, newest first: all of an endpoint, those in one state
            models.Index(fields=["endpoint", "-id"], name="delivery_newest"),
            models.Index(fields=["endpoint", "status", "-id"], name="delivery_in_status"),
            # endpoints.purge: WHERE created_at < …
            models.Index(fields=["created_at"], name="delivery_oldest"),
        ]

    def __str__(self) -> str:
        return f"{self.message_id} {self.status}"

    @property
    def message_id(self) -> str:
        """The webhook-id: the same at each try, and each time the event is sent again."""
        return f"msg_test_{self.pk}" if self.event_id is None else f"msg_{self.event_id.hex}"


def clean_types(types: Iterable[Any]) -> list[str]:
    """Return the patterns of event types, each once, in their order."""
    return list(dict.fromkeys(kind for text in types if (kind := str(text).strip())))
