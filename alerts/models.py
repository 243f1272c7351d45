"""What is wrong and since when, who is told, and what became of telling them."""

from __future__ import annotations

import uuid
from datetime import datetime, time, timedelta
from typing import ClassVar

from django.db import models
from django.db.models import Q

from access.models import User
from access.times import zone_of
from alerts.kinds import About, Kind, about_of
from integrations.crypto import keyring
from integrations.models import GoHighLevelIntegration


class IncidentQuerySet(models.QuerySet["Incident"]):
    def open(self) -> IncidentQuerySet:
        return self.filter(closed_at=None)

    def visible_to(self, user: User) -> IncidentQuerySet:
        """Those of the agencies that the person is limited to; all for most people."""
        return self.filter(company_id__in=user.agencies) if user.agencies else self


class Incident(models.Model):
    """One thing that goes wrong, from its beginning to its end. Written by incidents.py.

    `key` names the thing ("install:<id>", "outage"). Not more than one of a key is open at a
    time: `open_key` is the key while it is open and null afterwards.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    key = models.CharField(max_length=80)
    open_key = models.CharField(max_length=80, null=True, unique=True)  # noqa: DJ001
    kind = models.CharField(max_length=20, choices=Kind.choices)
    integration = models.ForeignKey(
        GoHighLevelIntegration, null=True, on_delete=models.CASCADE, related_name="incidents"
    )
    company_id = models.CharField("agency id", max_length=64, blank=True)
    subject = models.CharField(max_length=200)
    cause = models.CharField(max_length=40, blank=True)
    # One more sentence with numbers, as "12 accounts are affected."
    detail = models.CharField(max_length=300, blank=True)

    opened_at = models.DateTimeField()
    # Since when it looks well again; it is closed when that has lasted.
    calm_since = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)
    # How often it came back lately: each time it has to be well for longer.
    relapses = models.PositiveSmallIntegerField(default=0)
    announced_at = models.DateTimeField(null=True)
    remind_at = models.DateTimeField(null=True)
    acknowledged_at = models.DateTimeField(null=True)
    acknowledged_by = models.CharField(max_length=150, blank=True)
    # How it ended where that was no recovery, as "removed in HighLevel"
    ending = models.CharField(max_length=60, blank=True)

    objects: ClassVar[models.Manager[Incident]] = IncidentQuerySet.as_manager()

    class Meta:
        indexes = [
            # The page: those open, and the newest that ended; cleanup: WHERE closed_at < …
            models.Index(fields=["closed_at", "-opened_at"], name="incident_closed"),
            # incidents.py: the last ones of a key
            models.Index(fields=["key", "-opened_at"], name="incident_of_key"),
            # incidents.py: WHERE remind_at <= now
            models.Index(fields=["remind_at"], name="incident_remind"),
            # A limited person's page
            models.Index(fields=["company_id", "-opened_at"], name="incident_of_agency"),
        ]

    def __str__(self) -> str:
        return f"{self.subject} {self.about.title}"

    @property
    def about(self) -> About:
        return about_of(self.kind, self.cause)

    @property
    def is_open(self) -> bool:
        return self.closed_at is None

    def is_about_channel_of(self, owner_id: int) -> bool:
        """Whether it is about another channel of this person (watch.channel_key)."""
        return self.kind == Kind.CHANNEL and self.key.endswith(f":{owner_id}")

    def lasted(self, now: datetime) -> timedelta:
        return (self.closed_at or now) - self.opened_at


class SnoozeQuerySet(models.QuerySet["Snooze"]):
    def running(self, now: datetime) -> SnoozeQuerySet:
        return self.filter(ended_at=None, until__gt=now)

    def visible_to(self, user: User) -> SnoozeQuerySet:
        return self.filter(company_id__in=user.agencies) if user.agencies else self


class Snooze(models.Model):
    """No alerts about one thing for a while. `rank`: how bad it was; a worse state ends it."""

    OVER, WORSE, UNDONE, REPLACED = "over", "worse", "undone", "replaced"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    key = models.CharField(max_length=80)
    integration = models.ForeignKey(
        GoHighLevelIntegration, null=True, on_delete=models.CASCADE, related_name="snoozes"
    )
    company_id = models.CharField("agency id", max_length=64, blank=True)
    subject = models.CharField(max_length=200)
    rank = models.PositiveSmallIntegerField(default=0)
    reason = models.CharField(max_length=200)
    by = models.CharField(max_length=150)
    created_at = models.DateTimeField()
    until = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    ending = models.CharField(
        max_length=10,
        blank=True,
        choices=[
            (OVER, "its time was over"),
            (WORSE, "things got worse"),
            (UNDONE, "somebody ended it"),
            (REPLACED, "another one took its place"),
        ],
    )

    objects: ClassVar[models.Manager[Snooze]] = SnoozeQuerySet.as_manager()

    class Meta:
        indexes = [
            # Those running, those whose time is over
            models.Index(fields=["ended_at", "until"], name="snooze_running"),
            models.Index(fields=["key", "ended_at"], name="snooze_of_key"),
        ]

    def __str__(self) -> str:
        return f"{self.subject} until {self.until:%Y-%m-%d %H:%M}"


class ChannelQuerySet(models.QuerySet["Channel"]):
    def working(self) -> ChannelQuerySet:
        """Those that are switched on, of people who may still see the pages."""
        owner = Q(owner=None) | Q(owner__is_active=True, owner__is_staff=True)
        return self.filter(owner, disabled_at=None)

    def manageable_by(self, user: User) -> ChannelQuerySet:
        """The person's own; and the team's, for those who may operate (`managed_by` of one)."""
        return self.filter(Q(owner=user) | Q(owner=None))


class Channel(models.Model):
    """A way to reach somebody: a mail address or an apprise URL. Without an owner: the team's.

    The address is sealed, since most apprise URLs hold a secret. `label` may be shown.
    """

    MAIL, APPRISE = "mail", "apprise"
    BY_PERSON, UNSUBSCRIBED, FAILED = "person", "unsubscribed", "failed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.CASCADE, related_name="channels"
    )
    name = models.CharField(max_length=60)
    way = models.CharField(max_length=10, choices=[(MAIL, "Mail"), (APPRISE, "Apprise")])
    address_encrypted = models.BinaryField(default=bytes)
    label = models.CharField(max_length=120)
    agencies = models.JSONField(default=list, blank=True, help_text="HighLevel ids; empty: all.")
    kinds = models.JSONField(default=list, blank=True, help_text="Empty: all.")
    wants_digest = models.BooleanField(default=True)
    zone = models.CharField("time zone", max_length=50, default="UTC")
    quiet_from = models.TimeField(null=True, blank=True)
    quiet_until = models.TimeField(null=True, blank=True)
    digest_at = models.DateTimeField("next digest")
    created_at = models.DateTimeField()

    # How telling goes. Written by delivery.py.
    told_at = models.DateTimeField("last success", null=True, blank=True)
    failing_since = models.DateTimeField(null=True, blank=True)
    refusals = models.PositiveSmallIntegerField(default=0)
    last_error = models.CharField(max_length=200, blank=True)
    disabled_at = models.DateTimeField(null=True, blank=True)
    disabled_why = models.CharField(
        max_length=12,
        blank=True,
        choices=[
            (BY_PERSON, "switched off"),
            (UNSUBSCRIBED, "unsubscribed by a link in a mail"),
            (FAILED, "switched off, since nothing arrived any more"),
        ],
    )

    objects: ClassVar[models.Manager[Channel]] = ChannelQuerySet.as_manager()

    class Meta:
        ordering = ["created_at"]

    def __str__(self) -> str:
        return f"{self.name} ({self.label})"

    @property
    def is_on(self) -> bool:
        return self.disabled_at is None

    @property
    def company_id(self) -> str:
        """For the audit trail: the agency whose people may see it."""
        return self.agencies[0] if len(self.agencies) == 1 else ""

    def seal(self, address: str) -> bytes:
        return keyring().encrypt(address, self._binding)

    def open_address(self) -> str:
        """Return the mail address or apprise URL. Errors: DecryptError."""
        return keyring().decrypt(self.address_encrypted, self._binding)

    @property
    def _binding(self) -> str:
        return f"alert channel|address|{self.pk}"

    def wants(self, incident: Incident) -> bool:
        """Whether this channel is told of it: by kind, by agency, and by what its owner may see.

        Who is limited to agencies hears of these alone, not of what concerns the whole product.
        """
        if self.kinds and incident.kind not in self.kinds:
            return False
        if self.owner_id and incident.is_about_channel_of(self.owner_id):
            return True
        limits = [self.agencies, self.owner.agencies if self.owner else []]
        return all(incident.company_id in limit for limit in limits if limit)

    def managed_by(self, user: User, *, may_operate: bool) -> bool:
        if self.owner_id:
            return self.owner_id == user.pk
        of_theirs = bool(self.agencies) and set(self.agencies) <= set(user.agencies)
        return may_operate and (not user.agencies or of_theirs)

    def quiet_ends(self, now: datetime) -> datetime | None:
        """Return when the quiet hours that `now` lies in are over; None outside of them."""
        if self.quiet_from is None or self.quiet_until is None:
            return None
        local = now.astimezone(zone_of(self.zone))
        if not _is_between(local.time(), self.quiet_from, self.quiet_until):
            return None
        end = datetime.combine(local.date(), self.quiet_until, tzinfo=local.tzinfo)
        return end if end > local else end + timedelta(days=1)


def _is_between(moment: time, begin: time, end: time) -> bool:
    """Whether a time of day is in a span that may go over midnight."""
    if begin <= end:
        return begin <= moment < end
    return moment >= begin or moment < end


class Delivery(models.Model):
    """One message to one channel. The row is the truth about it; a queue entry rings the bell.

    Its text is made when it is sent, from its notices: what ended meanwhile is told as ended.
    """

    INCIDENTS, DIGEST = "incidents", "digest"
    WAITING, SENT, GIVEN_UP, DROPPED = "waiting", "sent", "given_up", "dropped"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    channel = models.ForeignKey(Channel, on_delete=models.CASCADE, related_name="deliveries")
    about = models.CharField(
        max_length=10, choices=[(INCIDENTS, "Incidents"), (DIGEST, "Weekly digest")]
    )
    created_at = models.DateTimeField()
    # When it is (again) to be sent; null when it is not.
    due_at = models.DateTimeField(null=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    status = models.CharField(
        max_length=10,
        default=WAITING,
        choices=[
            (WAITING, "Waiting"),
            (SENT, "Sent"),
            (GIVEN_UP, "Given up"),
            (DROPPED, "Dropped: the channel is off"),
        ],
    )
    subject = models.CharField(max_length=200, blank=True)
    error = models.CharField(max_length=200, blank=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name_plural = "deliveries"
        indexes = [
            # delivery.py: WHERE due_at <= now
            models.Index(fields=["due_at"], name="alert_due"),
            # The page: the newest of a channel; cleanup: WHERE created_at < …
            models.Index(fields=["channel", "-created_at"], name="alert_of_channel"),
            models.Index(fields=["created_at"], name="alert_oldest"),
        ]

    def __str__(self) -> str:
        return f"{self.get_about_display()} {self.created_at:%Y-%m-%d %H:%M}"


class Notice(models.Model):
    """What a delivery tells about one incident."""

    BEGAN, WORSE, STILL, ENDED = "began", "worse", "still", "ended"

    delivery = models.ForeignKey(Delivery, on_delete=models.CASCADE, related_name="notices")
    incident = models.ForeignKey(Incident, on_delete=models.CASCADE, related_name="notices")
    what = models.CharField(
        max_length=6,
        choices=[(BEGAN, "Began"), (WORSE, "Got worse"), (STILL, "Goes on"), (ENDED, "Ended")],
    )

    def __str__(self) -> str:
        return self.what


class Turn(models.Model):
    """Who looks for incidents now: one process at a time, however many there are."""

    name = models.CharField(max_length=20, primary_key=True)
    free_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.name} {self.free_at:%H:%M:%S}"
