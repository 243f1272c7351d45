"""The product's settings for the bare app: same database, same keys, no middleware."""

from __future__ import annotations

from config.settings import *  # noqa: F403
from config.settings import INSTALLED_APPS as PRODUCT_APPS

# allauth does not start without its middleware.
INSTALLED_APPS = [app for app in PRODUCT_APPS if not app.startswith("allauth")]
MIDDLEWARE: list[str] = []
ROOT_URLCONF = "bench.floor"
