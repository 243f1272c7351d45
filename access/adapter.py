from __future__ import annotations

from allauth.account.adapter import DefaultAccountAdapter
from django.http import HttpRequest


class StaffAccountAdapter(DefaultAccountAdapter):
    """Nobody signs up by themselves: whoever belongs here is let in by an owner."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False
