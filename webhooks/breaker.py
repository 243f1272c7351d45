"""While the database takes no event, one delivery at a time finds out whether it does again.

The others are put off at once. Each of them would wait as long, in a thread of the web server that
the next ones then wait for: longer together than HighLevel is promised. Of each process by itself.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import Error as DatabaseFault
from django.db import InterfaceError, OperationalError

# Those that waited for a thread meanwhile are put off first: they have no time left for a trial.
PAUSE_S = 0.3
# Longer than a delivery waits for the database: one that finds it still unable renews it in time.
# When none came for so long, the next ones all try: a database that is back owes nobody a 429.
UNABLE_FOR_S = 3.0
NEVER = -math.inf
_unable_at = NEVER
_trying = threading.Lock()


@contextmanager
def one_at_a_time_while_unable() -> Iterator[None]:
    """Errors: OperationalError at once, while the database is unable and another one tries it."""
    ago_s = time.monotonic() - _unable_at
    is_trial = ago_s < UNABLE_FOR_S
    if is_trial and (ago_s < PAUSE_S or not _trying.acquire(blocking=False)):
        raise OperationalError("the database took no event a moment ago")
    try:
        yield
    except DatabaseFault as fault:
        # Any other fault is the event's own, and an answer of a database that is able.
        _note(unable=isinstance(fault, OperationalError | InterfaceError))
        raise
    else:
        _note(unable=False)
    finally:
        if is_trial:
            _trying.release()


def _note(*, unable: bool) -> None:
    global _unable_at
    _unable_at = time.monotonic() if unable else NEVER
