from __future__ import annotations

import pytest

from access.browsers import browser_name

pytestmark = pytest.mark.one_database

WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)"
MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:132.0) Gecko/20100101 Firefox/132.0"
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15"
    " (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1"
)


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [
        (f"{WINDOWS} Chrome/130.0.0.0 Safari/537.36", "Chrome 130 on Windows"),
        (f"{WINDOWS} Chrome/130.0.0.0 Safari/537.36 Edg/130.0.0.0", "Edge 130 on Windows"),
        (MAC, "Firefox 132 on macOS"),
        (IPHONE, "Mobile Safari 17 on iOS"),
        ("curl/8.5.0", "curl 8"),
    ],
)
def test_a_browser_is_called_as_people_call_it(user_agent: str, name: str) -> None:
    assert browser_name(user_agent) == name


def test_what_nobody_knows_is_shown_as_it_calls_itself() -> None:
    assert browser_name("Harbour " * 20) == ("Harbour " * 20)[:80]
    assert browser_name("") == "A browser that gave no name"
