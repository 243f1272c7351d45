from __future__ import annotations

from allauth.account.signals import password_changed, password_reset, password_set
from django.dispatch import receiver
from django.http import HttpRequest

from access.models import User


@receiver([password_changed, password_set, password_reset])
def forget_one_time_password(request: HttpRequest, user: User, **kwargs: object) -> None:
    User.objects.filter(pk=user.pk).update(must_change_password=False)
