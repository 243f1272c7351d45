"""The product's settings with another way to keep connections: BENCH_CONNECTIONS names it."""

from __future__ import annotations

import os

from config.settings import *  # noqa: F403
from config.settings import DATABASES

_way = os.environ["BENCH_CONNECTIONS"]
if _way != "kept":
    DATABASES["default"] |= {"CONN_MAX_AGE": 0, "CONN_HEALTH_CHECKS": False}
if _way == "pool":
    # As many as there are threads, as the kept ones are.
    DATABASES["default"]["OPTIONS"]["pool"] = {"min_size": 8, "max_size": 8}
