"""What people enter about alerts."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import available_timezones

from django import forms
from django.http import QueryDict
from django.utils import timezone

from access.models import User
from alerts import addresses, digest
from alerts.kinds import Kind
from alerts.models import Channel
from integrations.models import GoHighLevelIntegration

MOST_AGENCIES = 50
SNOOZES = {
    "1": ("1 hour", timedelta(hours=1)),
    "4": ("4 hours", timedelta(hours=4)),
    "24": ("1 day", timedelta(days=1)),
    "72": ("3 days", timedelta(days=3)),
    "168": ("1 week", timedelta(days=7)),
    "720": ("30 days", timedelta(days=30)),
}


class SnoozeForm(forms.Form):
    hours = forms.ChoiceField(
        label="For how long",
        choices=[(value, label) for value, (label, _length) in SNOOZES.items()],
        initial="24",
        widget=forms.Select(attrs={"class": "form-select"}),
    )
    reason = forms.CharField(
        label="Why",
        max_length=200,
        help_text="Others see it: “client is told, reconnects on Monday”.",
    )

    def until(self, now: datetime) -> datetime:
        return now + SNOOZES[self.cleaned_data["hours"]][1]


class ChannelForm(forms.Form):
    name = forms.CharField(max_length=60, help_text="How you call it: “Ops in Slack”.")
    address = forms.CharField(
        label="Mail address or apprise URL",
        max_length=1000,
        help_text="ops@example.com, or for example slack://…, msteams://…, discord://…, "
        "jsons://host/path. It is stored encrypted.",
    )
    is_of_team = forms.BooleanField(
        label="For the whole team",
        required=False,
        help_text="Others who may operate can see, test and remove it.",
    )
    agencies = forms.CharField(
        label="Only these agencies",
        required=False,
        help_text="HighLevel ids, separated by commas. Empty: all that you may see.",
    )
    kinds = forms.MultipleChoiceField(
        label="Only these alerts",
        required=False,
        choices=Kind.choices,
        widget=forms.CheckboxSelectMultiple,
        help_text="None ticked: all.",
    )
    quiet_from = forms.TimeField(
        label="Quiet from",
        required=False,
        widget=forms.TimeInput(attrs={"type": "time"}),
        help_text="Alerts of quiet hours come together, when these are over.",
    )
    quiet_until = forms.TimeField(
        label="Quiet until", required=False, widget=forms.TimeInput(attrs={"type": "time"})
    )
    zone = forms.ChoiceField(
        label="Time zone",
        choices=lambda: [(name, name) for name in sorted(available_timezones())],
        widget=forms.Select(attrs={"class": "form-select"}),
    )
    wants_digest = forms.BooleanField(
        label="A digest each Monday, also when all is well", required=False, initial=True
    )

    def __init__(
        self,
        data: QueryDict | None = None,
        *,
        user: User,
        may_operate: bool,
        channel: Channel | None = None,
    ) -> None:
        """`channel`: the one to change; whose it is stays, and so does its address if none is
        given, since the one that is stored is shown to nobody."""
        super().__init__(data, initial=_as_entered(channel) if channel else {})
        self.user = user
        self.channel = channel
        self.fields["zone"].initial = getattr(user, "time_zone", "") or "UTC"
        if channel or not may_operate:
            del self.fields["is_of_team"]
        if channel:
            self.fields["address"].required = False
            self.fields["address"].help_text = f"Empty: {channel.label}, as it is."

    def clean_address(self) -> str:
        address: str = self.cleaned_data["address"].strip()
        if address:
            self.way = addresses.check(address)
        return address

    def clean_agencies(self) -> list[str]:
        text: str = self.cleaned_data["agencies"]
        wanted = list(dict.fromkeys(filter(None, map(str.strip, text.split(",")))))
        if len(wanted) > MOST_AGENCIES:
            raise forms.ValidationError(f"At most {MOST_AGENCIES} agencies.")
        installs = GoHighLevelIntegration.objects.visible_to(self.user)
        known = set(
            installs.filter(company_id__in=wanted).values_list("company_id", flat=True).distinct()
        )
        if unknown := [agency for agency in wanted if agency not in known]:
            raise forms.ValidationError(f"There is no agency with this id: {unknown[0][:64]}")
        return wanted

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if (data.get("quiet_from") is None) != (data.get("quiet_until") is None):
            self.add_error("quiet_until", "Quiet hours need a beginning and an end.")
        is_of_team = self.channel.owner is None if self.channel else data.get("is_of_team")
        if is_of_team and self.user.agencies and not data.get("agencies"):
            self.add_error("agencies", "A team's channel needs at least one of your agencies.")
        return data

    def save(self) -> Channel:
        """Add the channel, or write what was changed and nothing that delivery.py keeps of it."""
        data, now = self.cleaned_data, timezone.now()
        channel = self.channel or Channel(
            owner=None if data.get("is_of_team") else self.user, created_at=now
        )
        entered = ["name", "agencies", "kinds", "quiet_from", "quiet_until", "zone", "wants_digest"]
        for name in entered:
            setattr(channel, name, data[name])
        channel.digest_at = digest.next_time(now, data["zone"])
        if data["address"]:
            channel.way, channel.label = self.way, addresses.label_of(data["address"])
            channel.address_encrypted = channel.seal(data["address"])
            entered += ["way", "label", "address_encrypted"]
        channel.save(update_fields=[*entered, "digest_at"] if self.channel else None)
        return channel


def _as_entered(channel: Channel) -> dict[str, Any]:
    kept = ("name", "kinds", "quiet_from", "quiet_until", "zone", "wants_digest")
    agencies = {"agencies": ", ".join(channel.agencies)}
    return {name: getattr(channel, name) for name in kept} | agencies
