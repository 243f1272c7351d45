"""Writes of many rows that meet a worker's: databases end one of two that wait for each other."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial, wraps
from typing import ParamSpec, TypeVar

from django.db import OperationalError, connection, transaction

logger = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")

TRIES = 5
_POSTGRESQL, _MYSQL = "40P01", 1213


def despite_deadlocks(write: Callable[[], T]) -> T:
    """Run a write, and again at once when a deadlock ended it, as databases ask for.

    The write is a statement or a transaction: what ended left nothing behind, and the other one
    has its locks by then. Within a transaction only that whole one can be run again, so the
    fault is passed on. Errors: those of the write, a fifth deadlock in a row among them.
    """
    for _ in range(TRIES - 1):
        try:
            return write()
        except OperationalError as error:
            if connection.in_atomic_block or not _is_deadlock(error):
                raise
            logger.info("A deadlock ended a write; trying again.")
    return write()


def atomically(write: Callable[P, T]) -> Callable[P, T]:
    """Have each call of a function be one transaction, run again when a deadlock ended it."""

    @wraps(write)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return despite_deadlocks(partial(transaction.atomic(write), *args, **kwargs))

    return run


def _is_deadlock(error: OperationalError) -> bool:
    return getattr(error.__cause__, "sqlstate", "") == _POSTGRESQL or error.args[:1] == (_MYSQL,)
