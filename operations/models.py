"""Numbers that outlive the rows and processes they were counted from."""

from __future__ import annotations

from django.db import models


class Counter(models.Model):
    """A count for /metrics that only grows; see renewal_counts.py."""

    key = models.CharField(max_length=100, primary_key=True)
    value = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.key} {self.value}"
