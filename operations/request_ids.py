"""One id for everything that a request sets off: log lines, tasks, calls to HighLevel.

It lives in structlog's context, from where every log line and integrations/highlevel.py take it.
"""

from __future__ import annotations

import re
import uuid
from typing import Any

from structlog.contextvars import bind_contextvars, clear_contextvars, get_contextvars

HEADER = "X-Request-ID"
_SANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{7,63}")


def begin(given: str = "") -> str:
    """Start anew with the caller's id, if it is a sane one, else with one of our own."""
    request_id = given if _SANE.fullmatch(given) else uuid.uuid4().hex
    clear_contextvars()
    bind_contextvars(request_id=request_id)
    return request_id


def put_into_task(task: dict[str, Any], **_: Any) -> None:
    """Before a task is queued: it carries the id of the request that wanted it."""
    request_id = get_contextvars().get("request_id")
    if request_id:
        task["request_id"] = request_id


def take_from_task(task: dict[str, Any], **_: Any) -> None:
    """Before a task runs. One that nobody asked for, such as the tick, has its own id."""
    begin(str(task.get("request_id") or task["id"]))
    bind_contextvars(task_id=task["id"], task=str(task["func"]))


def forget(**_: Any) -> None:
    clear_contextvars()
