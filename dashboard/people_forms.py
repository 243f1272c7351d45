from __future__ import annotations

from typing import Any, cast
from zoneinfo import available_timezones

from django import forms
from django.contrib.auth.password_validation import validate_password
from django.contrib.auth.validators import UnicodeUsernameValidator
from django.core.exceptions import ValidationError

from access.models import Invitation, User
from access.roles import Role
from dashboard.agency import agency_choices

_ROLE_WORDS = {
    Role.VIEWER: "Viewer: looks",
    Role.OPERATOR: "Operator: renews, replays, snoozes",
    Role.OWNER: "Owner: keys, people, reveal, rotate",
}


class RoleForm(forms.Form):
    """A role, and the agencies that it is for."""

    role = forms.TypedChoiceField(
        choices=[(role.value, words) for role, words in _ROLE_WORDS.items()],
        coerce=Role,
        widget=forms.Select(attrs={"class": "form-select"}),
    )
    agencies = forms.MultipleChoiceField(
        required=False,
        label="Only these agencies",
        widget=forms.CheckboxSelectMultiple,
        help_text="None ticked: all agencies. Somebody limited sees nothing of the others, "
        "and can neither manage people nor rotate keys.",
    )
    more_agencies = forms.CharField(
        required=False,
        label="Further agency ids",
        help_text="Of agencies that are not in the list, separated by spaces.",
    )

    def __init__(self, *args: Any, by: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = cast(forms.MultipleChoiceField, self.fields["agencies"])
        field.choices = agency_choices(by, self.initial.get("agencies", ()))

    def chosen_agencies(self) -> list[str]:
        return [*self.cleaned_data["agencies"], *self.cleaned_data["more_agencies"].split()]


class InvitationForm(RoleForm):
    username = forms.CharField(
        max_length=150, label="Name", validators=[UnicodeUsernameValidator()]
    )
    email = forms.EmailField(
        required=False, label="Email", help_text="They may sign in with it instead of the name."
    )
    field_order = ["username", "email", "role", "agencies", "more_agencies"]


class NewPasswordForm(forms.Form):
    """The password of somebody who comes in by an invitation, by the rules for passwords."""

    password1 = forms.CharField(
        label="Password",
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )
    password2 = forms.CharField(
        label="Password again",
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )

    def __init__(self, *args: Any, invitation: Invitation, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.person = User(username=invitation.username, email=invitation.email)

    def clean_password1(self) -> str:
        password: str = self.cleaned_data["password1"]
        validate_password(password, self.person)
        return password

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if "password1" in cleaned and cleaned["password1"] != cleaned.get("password2"):
            raise ValidationError("The two passwords differ.")
        return cleaned


class TimeZoneForm(forms.Form):
    time_zone = forms.ChoiceField(
        required=False,
        label="Time zone",
        choices=lambda: [("", "UTC"), *((name, name) for name in sorted(available_timezones()))],
        widget=forms.Select(attrs={"class": "form-select"}),
    )
