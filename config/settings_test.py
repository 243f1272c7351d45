"""The ordinary settings on a fixed environment: a developer's .env never reaches the tests."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

# Of this process alone: two test runs at the same time must not meet in one file.
_SQLITE = Path(tempfile.gettempdir()) / f"whatreach-test-{os.getpid()}.sqlite3"

os.environ["WHATREACH_ENV_FILE"] = os.devnull
os.environ.setdefault("DATABASE_URL", f"sqlite:///{_SQLITE}")
os.environ.update(
    DJANGO_SECRET_KEY="tests-" + "k" * 50,
    DJANGO_DEBUG="false",
    DJANGO_ALLOWED_HOSTS="localhost,127.0.0.1,testserver",
    TOKEN_ENCRYPTION_KEYS="t1:MDEyMzQ1Njc4OUFCQ0RFRkdISUpLTE1OT1BRUlNUVVY=",
    GHL_CLIENT_ID="5eed5eed5eed5eed5eed5eed-whatrdmo",
    GHL_CLIENT_SECRET="5eed5eed-0000-4000-8000-000000005eed",
    GHL_REDIRECT_URI="http://localhost/app/callback/",
    LOG_LEVEL="WARNING",
)

from config.settings import *  # noqa: E402, F403
from config.settings import DATABASES, STORAGES  # noqa: E402

# Several processes and threads must meet in it, so it is a file even for SQLite.
DATABASES["default"]["TEST"] = (
    {"NAME": str(_SQLITE)} if DATABASES["default"]["ENGINE"].endswith("sqlite3") else {}
)
STORAGES["staticfiles"]["BACKEND"] = "django.contrib.staticfiles.storage.StaticFilesStorage"
# Serve static files from their sources: nothing is collected for the tests.
WHITENOISE_AUTOREFRESH = WHITENOISE_USE_FINDERS = True
# Threads would not see what a test's transaction holds; tests of the threads say so themselves.
RENEWAL_THREADS = 1
WEBHOOK_COUNT_EVERY_S = 0
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
