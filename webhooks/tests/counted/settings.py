from __future__ import annotations

from config.settings_test import *  # noqa: F403
from config.settings_test import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "webhooks.tests.counted.apps.CountedConfig"]
