"""What the worker's queue holds: what runs, what waits, what failed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django_q.models import OrmQ, Task
from django_q.tasks import async_task

from integrations.schedules import TICK

MOST = 50
# What a person may set off again: our own entry points, all safe to run twice.
OWN = ("integrations.", "webhooks.", "alerts.", "operations.", "access.")

_WORDS = {
    "scheduled_tick": "Look for due renewals",
    "tick": "Look for due renewals",
    "refresh_one": "Renew one account",
    "renew_batch": "Renew a batch",
    "renew_needing": "Renew all that need it",
    "sweep": "Process events",
    "show": "Sign of life",
    "finish_install": "Finish an install",
    "check_health": "Daily health check",
}


@dataclass(frozen=True)
class Entry:
    """A task in the queue. `arguments`: ids and other small values, in words."""

    pk: int
    what: str
    func: str
    arguments: str


@dataclass(frozen=True)
class Failure:
    pk: str
    what: str
    func: str
    at: datetime
    error: str


@dataclass(frozen=True)
class Tick:
    at: datetime
    took_s: float
    result: dict[str, Any]


@dataclass(frozen=True)
class Queue:
    running: list[Entry]
    waiting: list[Entry]
    waiting_count: int
    failures: list[Failure]
    ticks: list[Tick]


def read_queue(now: datetime) -> Queue:
    """Look at the queue, in five queries."""
    rows = OrmQ.objects.order_by("id")
    waiting = rows.filter(lock__lte=now)
    ticks = Task.objects.filter(group=TICK, success=True).order_by("-stopped")
    failures = Task.objects.filter(success=False).order_by("-stopped")
    return Queue(
        running=[_entry(row) for row in rows.filter(lock__gt=now)[:MOST]],
        waiting=[_entry(row) for row in waiting[:MOST]],
        waiting_count=waiting.count(),
        failures=[_failure(task) for task in failures[:MOST]],
        ticks=[_tick(task) for task in ticks[:10]],
    )


def try_again(pk: str) -> bool:
    """Put a failed task into the queue once more; whether there was one."""
    task = Task.objects.filter(pk=pk, success=False).first()
    if task is None or not task.func.startswith(OWN):
        return False
    async_task(task.func, *task.args, **(task.kwargs or {}))
    task.delete()
    return True


def cancel(pk: int, now: datetime) -> bool:
    """Take a waiting task out of the queue; one that runs is left to end."""
    deleted, _ = OrmQ.objects.filter(pk=pk, lock__lte=now).delete()
    return bool(deleted)


def what_it_does(func: str) -> str:
    name = func.rpartition(".")[2]
    return _WORDS.get(name, name.replace("_", " ").capitalize())


def _entry(row: OrmQ) -> Entry:
    func = str(row.func())
    return Entry(row.pk, what_it_does(func), func, _in_words(row.task.get("args", ())))


def _failure(task: Task) -> Failure:
    """The last line of a traceback says what went wrong; the rest is in the log."""
    lines = str(task.result or "").strip().splitlines()
    error = lines[-1][:300] if lines else "It was cut off."
    return Failure(task.pk, what_it_does(task.func), task.func, task.stopped, error)


def _tick(task: Task) -> Tick:
    result = task.result if isinstance(task.result, dict) else {}
    return Tick(task.stopped, (task.stopped - task.started).total_seconds(), result)


def _in_words(arguments: Any) -> str:
    text = ", ".join(
        f"{len(argument)} ids" if isinstance(argument, list) else str(argument)
        for argument in arguments
    )
    return text[:120]
