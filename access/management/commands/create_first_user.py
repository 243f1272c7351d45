from __future__ import annotations

import secrets
from typing import Any

from django.contrib.auth.models import Group
from django.core.management.base import BaseCommand

from access.models import User
from access.roles import Role


class Command(BaseCommand):
    help = "Create the first staff user and print name and one-time password; else do nothing."

    def handle(self, *args: Any, **options: Any) -> None:
        if User.objects.exists():
            return
        password = secrets.token_urlsafe(12)
        user = User.objects.create_superuser("admin", password=password, must_change_password=True)
        user.groups.set(Group.objects.filter(name=Role.OWNER))
        self.stdout.write(f"First user: admin   One-time password: {password}")
