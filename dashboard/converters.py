from __future__ import annotations

from urllib.parse import quote, unquote


class HighLevelId:
    """An id of HighLevel's in an address. Any text must fit in, a slash too."""

    regex = r"[^/\x00]+"

    def to_python(self, value: str) -> str:
        text = unquote(value)
        if "\x00" in text:
            raise ValueError  # no database keeps it, so nothing has this id
        return text

    def to_url(self, value: str) -> str:
        return quote(value, safe="")
