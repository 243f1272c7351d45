"""How long a renewed token exists nowhere but in our memory: from HighLevel's answer to our commit.

A process killed in this window loses the token. Measured from outside, by wrapping the session
that brings the answer and the write that stores it.

python -m bench.window [--database-url URL] [--renewals N]
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

from bench import stage
from bench.results import Figure, note

GOAL_MS = 10


def measure(database_url: str, renewals: int) -> list[float]:
    """Print median and 95th percentile; return all windows in seconds."""
    with stage.staged(database_url) as sandbox:
        from django.db import connection

        from integrations import highlevel, refresh, storing
        from integrations.models import GoHighLevelIntegration

        try:
            stage.connect_installs(sandbox, renewals)
            answered_at, windows = [0.0], list[float]()
            send, persistently = highlevel.SESSION.send, storing.persistently

            def send_and_note(*args: Any, **kwargs: Any) -> Any:
                answer = send(*args, **kwargs)
                answered_at.append(time.perf_counter())
                return answer

            def store_and_note(write: Callable[[], Any]) -> Any:
                result = persistently(write)
                if answered_at:  # the first write after an answer is the token's
                    windows.append(time.perf_counter() - answered_at.pop())
                    answered_at.clear()
                return result

            with (
                mock.patch.object(highlevel.SESSION, "send", send_and_note),
                mock.patch.object(refresh, "persistently", store_and_note),
            ):
                for pk in GoHighLevelIntegration.objects.values_list("pk", flat=True):
                    answered_at.clear()
                    refresh.refresh_integration(pk, trigger="bench")
            print(f"{stage.machine()}: {_in_words(windows)}")
            late = sorted(windows)[int(len(windows) * 0.95)] * 1000
            note(Figure("window", f"95 % within {late:.1f} ms", "", "ms", late, GOAL_MS))
        finally:
            stage.forget_installs()
            connection.close()
    return windows


def _in_words(windows: list[float]) -> str:
    late = sorted(windows)[int(len(windows) * 0.95)]
    median = statistics.median(windows)
    return f"{len(windows)} renewals, median {median * 1e6:.0f} µs, 95 % within {late * 1e6:.0f} µs"


if __name__ == "__main__":
    parser = stage.arguments("From HighLevel's answer to our commit.")
    parser.add_argument("--renewals", type=int, default=500)
    given = parser.parse_args()
    measure(given.database_url, given.renewals)
