from __future__ import annotations

from ua_parser import parse_os, parse_user_agent

_KNOWN_AS = {"Mac OS X": "macOS"}
_SHOWN = 80


def browser_name(user_agent: str) -> str:
    """Return "Chrome 130 on Windows"; of an unknown one, the beginning of its own words."""
    browser, system = parse_user_agent(user_agent), parse_os(user_agent)
    if browser is None:
        return user_agent[:_SHOWN] or "A browser that gave no name"
    name = f"{browser.family} {browser.major}" if browser.major else browser.family
    return f"{name} on {_KNOWN_AS.get(system.family, system.family)}" if system else name
