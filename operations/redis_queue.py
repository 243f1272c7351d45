"""The queue in Redis instead of the database, for installations with several workers (REDIS_URL).

What is in the queue only rings bells; our own rows say what is to be done. So a task that Redis
loses, or that cannot be put there, costs a minute: the tick finds the row.
"""

from __future__ import annotations

import logging
from functools import partial

from django.db import transaction
from django_q.brokers import redis_broker
from redis import RedisError

logger = logging.getLogger(__name__)


class Redis(redis_broker.Redis):
    def enqueue(self, task: str) -> None:
        """Ring after the transaction: before it nobody else can see what it was rung for, and
        after a rollback there is nothing to see."""
        transaction.on_commit(partial(self._push, task))

    def queue_size(self) -> int:
        """Errors: the built-in ConnectionError, which those know who have no Redis."""
        try:
            return int(super().queue_size())
        except RedisError as error:
            raise ConnectionError(f"Redis does not answer ({type(error).__name__})") from None

    def _push(self, task: str) -> None:
        try:
            super().enqueue(task)
        except RedisError as error:
            logger.warning("Redis does not take a task (%s).", type(error).__name__)
