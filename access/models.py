"""Who may do what: staff users and the API keys of the agency's other back ends."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.db.models import Q

from access.actions import ACTIONS

# What a role can hold; access/roles.py names them for the code.
PERMISSIONS: Sequence[tuple[str, str]] = (
    ("view_dashboard", "See accounts and their health"),
    ("operate_installs", "Renew, replay, reconcile, snooze"),
    ("disconnect_installs", "Disconnect accounts and erase them"),
    ("reveal_tokens", "Look at an access token"),
    ("manage_keys", "Make and change API keys"),
    ("manage_people", "Invite people and give roles"),
    ("rotate_encryption_keys", "Rotate the keys that tokens are sealed with"),
)

# What a person limited to some agencies may hold: the rest concerns all agencies alike.
LIMITED_MAY = {
    f"access.{name}"
    for name, _words in PERMISSIONS
    if name not in ("manage_people", "rotate_encryption_keys")
}


class User(AbstractUser):
    must_change_password = models.BooleanField(
        default=False,
        help_text="Set with a one-time password: the next sign-in asks for a new one first.",
    )
    agencies = models.JSONField(
        default=list,
        db_default=[],
        blank=True,
        help_text="HighLevel ids of the agencies this person is limited to; empty: all.",
    )
    time_zone = models.CharField(
        max_length=64,
        default="",
        db_default="",
        blank=True,
        help_text="IANA name of the zone that times are shown in, as Europe/Berlin; empty: UTC.",
    )

    class Meta(AbstractUser.Meta):
        permissions = [*PERMISSIONS]

    def has_perm(self, perm: str, obj: Any = None) -> bool:
        """What concerns all agencies alike is nothing for a person limited to some of them, not
        even for an owner or a superuser: they could widen themselves."""
        return not (self.agencies and perm not in LIMITED_MAY) and super().has_perm(perm, obj)

    def has_module_perms(self, app_label: str) -> bool:
        return not self.agencies and super().has_module_perms(app_label)

    @property
    def role(self) -> str:
        """The name of the role; a superuser does what an owner does. One query, if not fetched."""
        names = [group.name for group in self.groups.all()]
        return "Owner" if self.is_superuser else next(iter(sorted(names)), "")


class Invitation(models.Model):
    """A place kept for somebody who is to choose a password; access/people.py makes the link."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    username = models.CharField(max_length=150)
    email = models.EmailField(blank=True)
    role = models.CharField(max_length=20)
    agencies = models.JSONField(default=list, blank=True)
    invited_by = models.CharField(max_length=150)
    created_at = models.DateTimeField(auto_now_add=True)
    ends_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        # The people page: those that are open, the newest first
        indexes = [
            models.Index(fields=["accepted_at", "revoked_at", "-ends_at"], name="invitation_open")
        ]

    def __str__(self) -> str:
        return self.username

    def is_open(self, now: datetime) -> bool:
        return self.accepted_at is None and self.revoked_at is None and self.ends_at > now


class EmbeddedSession(models.Model):
    """Somebody who looks at the embedded page in HighLevel: of one agency, for half an hour.

    `proof` is the digest of the user data that began it: each begins one session only, so rows
    stay after their end. `digest` is that of the cookie's text.
    """

    proof = models.CharField(max_length=64, primary_key=True)
    digest = models.CharField(max_length=64, unique=True)
    company_id = models.CharField("agency id", max_length=64)
    user_id = models.CharField("HighLevel user id", max_length=64)
    user_name = models.CharField(max_length=200, blank=True)
    began_at = models.DateTimeField(auto_now_add=True)
    ends_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.user_name or self.user_id


class CacheEntry(models.Model):
    """Django's cache, in which sign-in counts wrong passwords: its table, so that `migrate` makes
    it. Only django.core.cache reads and writes it."""

    cache_key = models.CharField(max_length=255, primary_key=True)
    value = models.TextField()
    expires = models.DateTimeField(db_index=True)

    class Meta:
        db_table = "access_cache"

    def __str__(self) -> str:
        return self.cache_key


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
    # While a rotation overlaps, the secret before works too.
    old_digest = models.CharField(
        max_length=64, default="", db_default="", blank=True, editable=False
    )
    old_digest_until = models.DateTimeField(null=True, blank=True, editable=False)
    old_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    scopes = models.JSONField(default=list, help_text="List of scope names.")
    installs = models.JSONField(
        default=list,
        blank=True,
        help_text="Ids of the installs it is limited to. With agencies empty too: all installs.",
    )
    agencies = models.JSONField(
        default=list,
        db_default=[],
        blank=True,
        help_text="HighLevel ids of the agencies it is limited to.",
    )
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.CharField(
        max_length=150, default="", db_default="", blank=True, editable=False
    )
    rotated_at = models.DateTimeField(null=True, blank=True, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    disabled_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_address = models.GenericIPAddressField(null=True, blank=True, editable=False)
    # {scope: the day of its last use, as "2026-11-24"}
    scopes_used = models.JSONField(default=dict, db_default={}, blank=True, editable=False)

    # Whether the caller of this request sent the secret from before the rotation.
    sent_old_secret = False

    objects: ClassVar[models.Manager[ApiKey]] = ApiKeyQuerySet.as_manager()

    class Meta:
        verbose_name = "API key"
        ordering = ["name"]

    def __str__(self) -> str:
        return f"{self.name} (wr_{self.prefix}…)"

    @property
    def is_limited(self) -> bool:
        """Whether it reaches some installs only: the chosen ones, and those of chosen agencies."""
        return bool(self.installs or self.agencies)

    def is_usable(self, now: datetime) -> bool:
        return self.disabled_at is None and (self.expires_at is None or self.expires_at > now)

    def old_secret_works(self, now: datetime) -> bool:
        return self.old_digest_until is not None and self.old_digest_until > now


class KeyAddress(models.Model):
    """An address that a key was used from."""

    key = models.ForeignKey(ApiKey, on_delete=models.CASCADE, related_name="addresses")
    address = models.GenericIPAddressField()
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()

    class Meta:
        verbose_name = "address of a key"
        constraints = [
            models.UniqueConstraint(fields=["key", "address"], name="key_address_once"),
        ]

    def __str__(self) -> str:
        return self.address


class KeyAlert(models.Model):
    """An unusual use of a key. `details` are small JSON values: of new addresses the last one and
    how many more, as {"address": "192.0.2.7", "others": 3}."""

    NEW_ADDRESS, TEN_TIMES, SWEEP = "new_address", "ten_times", "sweep"

    key = models.ForeignKey(ApiKey, on_delete=models.CASCADE, related_name="alerts")
    kind = models.CharField(
        max_length=20,
        choices=[
            (NEW_ADDRESS, "Used from a new address"),
            (TEN_TIMES, "Ten times its usual use"),
            (SWEEP, "Read more than half of all accounts within ten minutes"),
        ],
    )
    at = models.DateTimeField()
    details = models.JSONField(default=dict, blank=True)
    # Somebody looked at it and said that it is expected.
    accepted_at = models.DateTimeField(null=True, blank=True)
    accepted_by = models.CharField(max_length=150, blank=True)

    class Meta:
        verbose_name = "unusual use of a key"
        indexes = [
            # The newest that nobody has looked at; those of one key and kind
            models.Index(fields=["accepted_at", "-at"], name="key_alert_open"),
            models.Index(fields=["key", "kind", "-at"], name="key_alert_of_key"),
        ]

    def __str__(self) -> str:
        return f"{self.key.name}: {self.get_kind_display()}"


class CallWindow(models.Model):
    """How many calls of one name were taken in its newest minute; access/limits.py counts them."""

    name = models.CharField(max_length=60, primary_key=True)
    minute = models.BigIntegerField()
    taken = models.PositiveIntegerField()

    class Meta:
        verbose_name = "counted calls"
        # limits.forget_old: WHERE minute < …
        indexes = [models.Index(fields=["minute"], name="call_window_minute")]

    def __str__(self) -> str:
        return f"{self.name}: {self.taken}"


class AppendOnlyError(Exception):
    """Nobody changes the record of what was done."""


class AuditEventQuerySet(models.QuerySet["AuditEvent"]):
    def visible_to(self, user: User) -> AuditEventQuerySet:
        """What concerns the person's agencies, and what they did; everything for whoever is not
        limited."""
        if not user.agencies:
            return self
        did = Q(actor_id=str(user.pk), actor_kind=AuditEvent.PERSON)
        return self.filter(Q(company_id__in=user.agencies) | did)

    def update(self, **kwargs: Any) -> int:
        raise AppendOnlyError

    def delete(self) -> tuple[int, dict[str, int]]:
        raise AppendOnlyError

    def purge(self, before: datetime) -> int:
        """Drop what is older than the retention time, some rows at a time so that nobody waits;
        the one way that rows leave."""
        dropped = 0
        while ids := list(self.filter(at__lt=before).values_list("pk", flat=True)[:500]):
            dropped += self.filter(pk__in=ids)._raw_delete(self.db)
        return dropped


class AuditEvent(models.Model):
    """Who did what to what, when, from where, and how it ended. Written by access/audit.py."""

    PERSON, KEY, SYSTEM = "person", "key", "system"
    DONE, REFUSED, FAILED = "done", "refused", "failed"

    id = models.BigAutoField(primary_key=True)
    at = models.DateTimeField(auto_now_add=True)
    actor_kind = models.CharField(
        max_length=10, choices=[(PERSON, "Person"), (KEY, "API key"), (SYSTEM, "System")]
    )
    actor_id = models.CharField(max_length=40, blank=True)
    actor_name = models.CharField(max_length=150)
    address = models.GenericIPAddressField(null=True, blank=True)
    request_id = models.CharField(max_length=64, blank=True)
    action = models.CharField(max_length=60)
    outcome = models.CharField(
        max_length=10, choices=[(DONE, "Done"), (REFUSED, "Refused"), (FAILED, "Failed")]
    )
    target_id = models.CharField(max_length=64, blank=True)
    target_name = models.CharField(max_length=200, blank=True)
    company_id = models.CharField("agency id", max_length=64, blank=True)
    details = models.JSONField(default=dict, blank=True)

    objects = AuditEventQuerySet.as_manager()

    class Meta:
        verbose_name = "audit event"
        indexes = [
            # The activity page, the newest first: whole, of one action, person, object, agency
            models.Index(fields=["-at"], name="audit_newest"),
            models.Index(fields=["action", "-at"], name="audit_action"),
            models.Index(fields=["actor_id", "-at"], name="audit_actor"),
            models.Index(fields=["target_id", "-at"], name="audit_target"),
            models.Index(fields=["company_id", "-at"], name="audit_agency"),
        ]

    def __str__(self) -> str:
        return f"{self.actor_name}: {self.action} {self.target_name}".rstrip()

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise AppendOnlyError
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        raise AppendOnlyError

    @property
    def words(self) -> str:
        """What was done, for people; the code of an action that only an older version knew."""
        return ACTIONS.get(self.action, self.action)


class StatusLink(models.Model):
    """An address that shows how many accounts are in which state, to whoever has it: a badge for
    a wiki, figures for a monitor, a screen on the wall. Its id is what nobody can guess."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=100)
    company_id = models.CharField("agency id", max_length=64, blank=True, help_text="Empty: all.")
    created_by = models.CharField(max_length=150)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = "status link"
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name
