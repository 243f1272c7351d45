"""Who each address is for, and what it leaves in the audit trail: declared beside each view.

config/tests/test_audiences.py walks the URLconf and fails for a view that declares nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from access.actions import ACTIONS

V = TypeVar("V", bound=Callable[..., Any])

ONLY_SHOWS = "It only shows; nothing changes and no token is in it."


class Who(StrEnum):
    ANYONE = "anyone"
    STAFF = "staff"
    KEY = "API key"
    HIGHLEVEL = "HighLevel"
    OPERATOR = "operator"


@dataclass(frozen=True)
class Audience:
    """`needs`: the permission or scope. `audit`: the action it records; else `no_audit` says why
    it records none."""

    who: Who
    needs: str = ""
    audit: str = ""
    no_audit: str = ""

    def __post_init__(self) -> None:
        if bool(self.audit) == bool(self.no_audit):
            raise ValueError("An audience names its audit event, or why it has none.")
        if self.audit and self.audit not in ACTIONS:
            raise ValueError(f"access/actions.py has no words for {self.audit}.")


def audience(who: Who, *, needs: str = "", audit: str = "", no_audit: str = "") -> Callable[[V], V]:
    """Declare a view's audience; the view itself has to see to it that nobody else gets in."""
    declared = Audience(who, needs, audit, no_audit)

    def declare(view: V) -> V:
        view.audience = declared  # type: ignore[attr-defined]
        return view

    return declare
