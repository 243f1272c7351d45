"""The environment, read strictly: a value that cannot be understood is named, not guessed."""

from __future__ import annotations

from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured

_BOOLEANS = (*environ.Env.BOOLEAN_TRUE_STRINGS, "false", "off", "n", "no", "0", "")


class Env(environ.Env):
    def get_value(self, var: str, cast: Any = None, **options: Any) -> Any:
        """Return the value as `cast`, or its default; no number of ours is below 0.

        Errors: ImproperlyConfigured, with the setting's name and what it should be.
        """
        if cast is bool and self.ENVIRON.get(var, "").strip().lower() not in _BOOLEANS:
            raise ImproperlyConfigured(f"{var} is neither true nor false.")
        try:
            value = super().get_value(var, cast=cast, **options)
        except ValueError:
            value = None
        if cast is int and (value is None or value < 0):
            raise ImproperlyConfigured(f"{var} is not a whole number of 0 or more.")
        return value
