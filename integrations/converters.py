"""What addresses of the API are made of."""

from __future__ import annotations

import uuid


class AnyUUID:
    """A UUID as callers write it: in capitals or without hyphens, too."""

    regex = "[0-9a-fA-F-]{32,36}"

    def to_python(self, value: str) -> uuid.UUID:
        return uuid.UUID(value)  # a ValueError: no such address

    def to_url(self, value: uuid.UUID | str) -> str:
        return str(value)
