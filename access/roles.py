"""What staff may do. Roles are Django groups: superusers may change in the admin what one holds.

A person may also be limited to some agencies (`User.agencies`); then nothing else exists for them.
"""

from __future__ import annotations

from enum import StrEnum

from django.contrib.auth.models import Group
from django.contrib.auth.models import Permission as PermissionRow


class Permission(StrEnum):
    """The names that views ask for; `models.PERMISSIONS` has what each allows, in words."""

    VIEW = "access.view_dashboard"
    OPERATE = "access.operate_installs"
    DISCONNECT = "access.disconnect_installs"
    REVEAL = "access.reveal_tokens"
    KEYS = "access.manage_keys"
    PEOPLE = "access.manage_people"
    ROTATE = "access.rotate_encryption_keys"


class Role(StrEnum):
    VIEWER = "Viewer"
    OPERATOR = "Operator"
    OWNER = "Owner"


PERMISSIONS_OF_ROLE = {
    Role.VIEWER: [Permission.VIEW],
    Role.OPERATOR: [Permission.VIEW, Permission.OPERATE],
    Role.OWNER: list(Permission),
}


def ensure_roles(**_: object) -> None:
    """After each migrate: have the three groups. One that holds anything is left as it is."""
    for role, permissions in PERMISSIONS_OF_ROLE.items():
        group, _created = Group.objects.get_or_create(name=role)
        if not group.permissions.exists():
            codenames = [permission.partition(".")[2] for permission in permissions]
            group.permissions.set(
                PermissionRow.objects.filter(
                    content_type__app_label="access",
                    content_type__model="user",
                    codename__in=codenames,
                )
            )
