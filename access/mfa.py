"""Second factors: how allauth keeps their secrets, and for whom one is required."""

from __future__ import annotations

import base64
import hashlib

from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db.models import Exists, OuterRef

from access.models import User


class UnreadableFactor(ValidationError):
    """What a second factor keeps was sealed with another DJANGO_SECRET_KEY."""


class StaffMFAAdapter(DefaultMFAAdapter):
    """Seals the secrets of authenticator apps and recovery codes with a key made of
    DJANGO_SECRET_KEY: a copy of the database alone yields no codes."""

    def encrypt(self, text: str) -> str:
        return _cipher().encrypt(text.encode()).decode()

    def decrypt(self, encrypted_text: str) -> str:
        try:
            return _cipher().decrypt(encrypted_text.encode()).decode()
        except InvalidToken:
            raise UnreadableFactor(
                "DJANGO_SECRET_KEY has changed since this second factor was set up; "
                "an owner has to reset it."
            ) from None


def _cipher() -> MultiFernet:
    keys: list[str] = [settings.SECRET_KEY, *map(str, settings.SECRET_KEY_FALLBACKS)]
    digests = [hashlib.sha256(b"second factors|" + key.encode()).digest() for key in keys]
    return MultiFernet([Fernet(base64.urlsafe_b64encode(digest)) for digest in digests])


def lacks_required_factor(user: User) -> bool:
    """Whether a role of the person asks for a second factor that they have not set up."""
    if not settings.REQUIRE_MFA_FOR:
        return False
    factors = Authenticator.objects.filter(user=OuterRef("pk")).exclude(
        type=Authenticator.Type.RECOVERY_CODES
    )
    in_role = User.objects.filter(pk=user.pk, groups__name__in=settings.REQUIRE_MFA_FOR)
    return in_role.filter(~Exists(factors)).exists()
