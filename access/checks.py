from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

from access.roles import Role


@register()
def check_required_factors(**_: Any) -> list[CheckMessage]:
    """A role that does not exist would leave everybody without the second factor asked for."""
    unknown = [name for name in settings.REQUIRE_MFA_FOR if name not in list(Role)]
    if not unknown:
        return []
    return [
        Error(
            f"REQUIRE_MFA_FOR names no role: {', '.join(unknown)}.",
            hint=f"The roles are {', '.join(Role)}.",
            id="access.E001",
        )
    ]
