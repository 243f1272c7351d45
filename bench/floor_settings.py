"""The product's settings for the bare app: same database, same keys; floor_wsgi.py drops the
middleware that allauth wants to see here."""

from __future__ import annotations

from config.settings import *  # noqa: F403

MIDDLEWARE = ["allauth.account.middleware.AccountMiddleware"]
ROOT_URLCONF = "bench.floor"
