"""Who may do what: staff users and the API keys of the agency's other back ends."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import ClassVar

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.db.models import Q


class User(AbstractUser):
    must_change_password = models.BooleanField(
        default=False,
        help_text="Set with a one-time password: the next sign-in asks for a new one first.",
    )


class Scope(models.TextChoices):
    INTEGRATIONS_READ = "integrations:read", "See installs and their health"
    TOKENS_READ = "tokens:read", "Get access tokens"
    TOKENS_REFRESH = "tokens:refresh", "Renew tokens"
    PROXY = "proxy", "Call HighLevel without seeing the token"


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def usable(self, now: datetime) -> ApiKeyQuerySet:
        return self.filter(disabled_at=None).filter(Q(expires_at=None) | Q(expires_at__gt=now))


class ApiKey(models.Model):
    """A machine caller's key; access/keys.py makes and checks them.

    Only the SHA-256 of a key is stored: its 32 random bytes leave nothing to guess, so a slow
    password hash would cost every API call and protect nothing.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=16, unique=True, editable=False)
    digest = models.CharField(max_length=64, editable=False)
    scopes = models.JSONField(default=list, help_text="List of scope names.")
    installs = models.JSONField(
        default=list, blank=True, help_text="Ids of the installs it is limited to; empty: all."
    )
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    disabled_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_address = models.GenericIPAddressField(null=True, blank=True, editable=False)

    objects: ClassVar[models.Manager[ApiKey]] = ApiKeyQuerySet.as_manager()

    class Meta:
        verbose_name = "API key"
        ordering = ["name"]

    def __str__(self) -> str:
        return f"{self.name} (wr_{self.prefix}…)"

    def allows_install(self, install_id: uuid.UUID) -> bool:
        return not self.installs or str(install_id) in self.installs
