"""All settings, each read once from the environment (docs/settings.md lists them).

Every secret may also come from a file named by NAME_FILE. A value that cannot be read stops the
start: a half-configured service that holds tokens is worse than one that does not run.
"""

from __future__ import annotations

import os
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from config import sentry
from config.env import Env
from config.logs import JSON, TEXT, logging_config

BASE_DIR = Path(__file__).resolve().parent.parent

env = Env()
env.read_env(os.environ.get("WHATREACH_ENV_FILE", BASE_DIR / ".env"))


def secret(name: str, default: str = "") -> str:
    """Return NAME, or the content of the file that NAME_FILE points to."""
    path = env.str(f"{name}_FILE", default="")
    if not path:
        return env.str(name, default=default)
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise ImproperlyConfigured(f"{name}_FILE={path} cannot be read: {error.strerror}") from None


# --- Core -----------------------------------------------------------------------------------

DEBUG = env.bool("DJANGO_DEBUG", default=False)
SECRET_KEY = secret("DJANGO_SECRET_KEY", default="only-for-debug" if DEBUG else "")
if not SECRET_KEY:
    raise ImproperlyConfigured("DJANGO_SECRET_KEY is not set. `make run` writes one into .env.")

ALLOWED_HOSTS = env.list("DJANGO_ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("DJANGO_CSRF_TRUSTED_ORIGINS", default=[])
TRUST_PROXY = env.bool("DJANGO_TRUST_PROXY", default=False)
SANDBOX_URL = env.str("SANDBOX_URL", default="")

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = "en-gb"
TIME_ZONE = "UTC"
USE_TZ = True

INSTALLED_APPS = [
    "config.admin.StaffAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "csp",
    "django_filters",
    "django_htmx",
    "django_q",
    "django_tables2",
    "ninja",
    "access",
    "integrations",
    "webhooks",
    "alerts",
    "operations",
    "dashboard",
    # Only commands, run as a process of their own: no tables and no addresses in the product.
    "sandbox",
]

MIDDLEWARE = [
    "operations.middleware.RequestMiddleware",
    "config.middleware.ProxyMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "access.middleware.HtmlNotKeptMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "access.middleware.PasswordChangeMiddleware",
    "access.middleware.SecondFactorMiddleware",
    "access.middleware.TimeZoneMiddleware",
    "integrations.middleware.JsonErrorMiddleware",
    "integrations.middleware.FreshTokenMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "dashboard.context.product",
            ],
        },
    }
]

# --- Database -------------------------------------------------------------------------------

DATABASES = {
    "default": env.db_url_config(
        secret("DATABASE_URL", default=f"sqlite:///{BASE_DIR / 'whatreach.sqlite3'}")
    )
}
_database = DATABASES["default"]
_engine = _database["ENGINE"].rsplit(".", 1)[-1]
if _engine == "sqlite3":
    # IMMEDIATE and a long busy timeout: writers queue instead of failing with "locked".
    # synchronous=FULL: at a power loss NORMAL may forget the last commit, here a token.
    _database.setdefault("OPTIONS", {}).update(
        transaction_mode="IMMEDIATE",
        timeout=20,
        init_command="PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
    )
_database.update(CONN_MAX_AGE=60, CONN_HEALTH_CHECKS=True)
# A host that is gone does not even refuse. HighLevel waits for an answer meanwhile, and everybody
# else's request holds a thread. DATABASE_URL may say otherwise: ?connect_timeout=10
_connect_s = 1.5
if _engine == "postgresql":
    # A host that loses its power says no goodbye. The database would keep its open transaction,
    # and with it an install's row, for hours; and we would wait as long for a lost database.
    _options = _database.get("OPTIONS", {})
    _database["OPTIONS"] = {
        "options": "-c idle_in_transaction_session_timeout=30s",
        "connect_timeout": 2,  # the least that its driver can
        # For connecting; once connected integrations.database_host gives it longer.
        "tcp_user_timeout": int(1000 * _options.get("connect_timeout", _connect_s)),
        "keepalives_idle": 15,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        **_options,
    }
if _engine == "mysql":
    import pymysql

    pymysql.install_as_MySQLdb()
    _database.setdefault("OPTIONS", {}).setdefault("connect_timeout", _connect_s)
    _database["OPTIONS"].update(
        # For connecting, too; once connected integrations.database_host takes it away.
        read_timeout=_database["OPTIONS"]["connect_timeout"],
        charset="utf8mb4",
        isolation_level="read committed",
        # Leases compare with the database's clock, which must speak UTC as Django does. A host
        # that is gone keeps its rows no longer than wait_timeout.
        init_command="SET time_zone='+00:00', sql_mode='STRICT_TRANS_TABLES', wait_timeout=300",
    )

# --- The HighLevel app ----------------------------------------------------------------------

GHL_CLIENT_ID = env.str("GHL_CLIENT_ID", default="")
GHL_CLIENT_SECRET = secret("GHL_CLIENT_SECRET")
# While the secret is being changed at HighLevel: tried when the first one is refused.
GHL_CLIENT_SECRET_NEXT = secret("GHL_CLIENT_SECRET_NEXT")
GHL_REDIRECT_URI = env.str("GHL_REDIRECT_URI", default="")
GHL_APP_ID = env.str("GHL_APP_ID", default="") or GHL_CLIENT_ID.partition("-")[0]
GHL_VERSION_ID = env.str("GHL_VERSION_ID", default="") or GHL_APP_ID
GHL_SCOPES = env.str(
    "GHL_SCOPES",
    default="locations.readonly oauth.readonly oauth.write marketplace-installer-details.readonly",
)
GHL_API_VERSION = env.str("GHL_API_VERSION", default="2021-07-28")
GHL_AUTHORIZE_PATH = env.str("GHL_AUTHORIZE_PATH", default="/v2/oauth/chooselocation")
# HighLevel is reported to have removed the call; on, a refused install is tried with it hourly.
GHL_RECONNECT = env.bool("GHL_RECONNECT", default=False)
GHL_MARKETPLACE_URL = env.str("GHL_MARKETPLACE_URL", default="https://marketplace.gohighlevel.com")
GHL_API_BASE_URL = env.str("GHL_API_BASE_URL", default="https://services.leadconnectorhq.com")

# HighLevel's published keys (webhook integration guide). PEM, or its base64 body.
GHL_WEBHOOK_PUBLIC_KEYS = env.list(
    "GHL_WEBHOOK_PUBLIC_KEYS",
    default=["MCowBQYDK2VwAyEAi2HR1srL4o18O8BRa7gVJY7G7bupbN3H9AwJrHCDiOg="],
)
GHL_WEBHOOK_RSA_PUBLIC_KEYS = env.list(
    "GHL_WEBHOOK_RSA_PUBLIC_KEYS",
    default=[
        "MIICIjANBgkqhkiG9w0BAQEFAAOCAg8AMIICCgKCAgEAokvo/r9tVgcfZ5DysOSC"
        "Frm602qYV0MaAiNnX9O8KxMbiyRKWeL9JpCpVpt4XHIcBOK4u3cLSqJGOLaPuXw6"
        "dO0t6Q/ZVdAV5Phz+ZtzPL16iCGeK9po6D6JHBpbi989mmzMryUnQJezlYJ3DVfB"
        "csedpinheNnyYeFXolrJvcsjDtfAeRx5ByHQmTnSdFUzuAnC9/GepgLT9SM4nCpv"
        "uxmZMxrJt5Rw+VUaQ9B8JSvbMPpez4peKaJPZHBbU3OdeCVx5klVXXZQGNHOs8gF"
        "3kvoV5rTnXV0IknLBXlcKKAQLZcY/Q9rG6Ifi9c+5vqlvHPCUJFT5XUGG5RKgOKU"
        "J062fRtN+rLYZUV+BjafxQauvC8wSWeYja63VSUruvmNj8xkx2zE/Juc+yjLjTXp"
        "IocmaiFeAO6fUtNjDeFVkhf5LNb59vECyrHD2SQIrhgXpO4Q3dVNA5rw576PwTzN"
        "h/AMfHKIjE4xQA1SZuYJmNnmVZLIZBlQAF9Ntd03rfadZ+yDiOXCCs9FkHibELhC"
        "HULgCsnuDJHcrGNd5/Ddm5hxGQ0ASitgHeMZ0kcIOwKDOzOU53lDza6/Y09T7sYJ"
        "PQe7z0cvj7aE4B+Ax1ZoZGPzpJlZtGXCsu9aTEGEnKzmsFqwcSsnw3JB31IGKAyk"
        "T1hhTiaCeIY/OwwwNUY2yvcCAwEAAQ=="
    ],
)
GHL_WEBHOOK_ACCEPT_RSA = env.bool("GHL_WEBHOOK_ACCEPT_RSA", default=False)

# The embedded page: the shared secret of HighLevel's user data; without one there is no such page.
GHL_SSO_KEY = secret("GHL_SSO_KEY")
EMBED_FRAME_ANCESTORS = env.list(
    "EMBED_FRAME_ANCESTORS",
    default=["https://app.gohighlevel.com", "https://app.leadconnectorhq.com"],
)

# --- Tokens ---------------------------------------------------------------------------------

REFRESH_MARGIN = timedelta(seconds=env.int("REFRESH_MARGIN_S", default=3600))
REFRESH_JITTER = timedelta(seconds=env.int("REFRESH_JITTER_S", default=3600))
TOKEN_ENCRYPTION_KEYS = secret("TOKEN_ENCRYPTION_KEYS")
RENEWAL_THREADS = env.int("RENEWAL_THREADS", default=8)
# How often HighLevel is asked whether a stored token works; 0: only its renewals show it.
VERIFY_EVERY = timedelta(seconds=env.int("VERIFY_EVERY_S", default=21_600))
HISTORY_KEEP_DAYS = env.int("HISTORY_KEEP_DAYS", default=400)
UNINSTALLED_KEEP_DAYS = env.int("UNINSTALLED_KEEP_DAYS", default=30)

# --- API ------------------------------------------------------------------------------------

API_RATE_PER_MINUTE = env.int("API_RATE_PER_MINUTE", default=3000)
API_FAILED_KEYS_PER_MINUTE = env.int("API_FAILED_KEYS_PER_MINUTE", default=30)
PROXY_TIMEOUT_S = env.int("PROXY_TIMEOUT_S", default=60)
PROXY_MAX_BODY_BYTES = env.int("PROXY_MAX_BODY_BYTES", default=26_214_400)

# --- Events ---------------------------------------------------------------------------------

WEBHOOK_TIMEOUT_S = env.int("WEBHOOK_TIMEOUT_S", default=10)
WEBHOOK_KEEP_DAYS = env.int("WEBHOOK_KEEP_DAYS", default=30)
# What tells how an account began and ended is small, and asked for later than the rest.
_keep = dict.fromkeys(
    ("INSTALL", "UNINSTALL", "app.installed", "app.uninstalled", "LocationCreate"), 365
)
try:
    _keep = env.dict("WEBHOOK_KEEP_DAYS_BY_TYPE", default=_keep)
    WEBHOOK_KEEP_DAYS_BY_TYPE = {kind: int(days) for kind, days in _keep.items()}
except ValueError:
    raise ImproperlyConfigured("WEBHOOK_KEEP_DAYS_BY_TYPE is not TYPE=days,TYPE=days") from None
# Answers are counted in memory and written so often; 0 leaves the writing to the caller.
WEBHOOK_COUNT_EVERY_S = 1.0

# --- Passing events on -----------------------------------------------------------------------

# Addresses in a private network, and http:// to them: only where the other back ends are there.
FORWARD_ALLOW_PRIVATE_ADDRESSES = env.bool("FORWARD_ALLOW_PRIVATE_ADDRESSES", default=False)
FORWARD_KEEP_DAYS = env.int("FORWARD_KEEP_DAYS", default=14)

# --- Alerts ---------------------------------------------------------------------------------

ALERTS_ALLOW_PRIVATE_ADDRESSES = env.bool("ALERTS_ALLOW_PRIVATE_ADDRESSES", default=False)
ALERTS_DISK_FREE_MB = env.int("ALERTS_DISK_FREE_MB", default=500)
HEARTBEAT_PING_URL = secret("HEARTBEAT_PING_URL")
WATCHDOG_URLS = secret("WATCHDOG_URLS").replace(",", " ").split()
WATCHDOG_STATE_FILE = env.str(
    "WATCHDOG_STATE_FILE", default=str(BASE_DIR / "var" / "watchdog.json")
)

# --- Worker ---------------------------------------------------------------------------------

WORKER_ALIVE_FILE = env.str("WORKER_ALIVE_FILE", default="")
WORKER_RESTART_COMMAND = env.str("WORKER_RESTART_COMMAND", default="python manage.py qcluster")

# Our own rows hold the plan of what to renew or process when; queue rows are doorbells, so the
# queue does not repeat a task that fails.
# retry > timeout * (1 + ceil((queue_limit + 1) / workers)), or a running task starts twice.
Q_CLUSTER = {
    "name": "whatreach",
    "orm": "default",
    "cache": "queue",
    "workers": env.int("WORKER_PROCESSES", default=2),
    "poll": 0.2,
    "bulk": 1,
    "queue_limit": 1,
    "guard_cycle": 0.5,
    "timeout": 240,
    "retry": 600,
    "max_attempts": 1,
    "ack_failures": True,
    "save_limit": 5000,
    "catch_up": False,
    "recycle": 500,
    "label": "Queue",
}

# One variable moves the queue and the cache out of the database, for many workers.
REDIS_URL = secret("REDIS_URL")
if REDIS_URL:
    del Q_CLUSTER["orm"]
    Q_CLUSTER |= {"redis": REDIS_URL, "broker_class": "operations.redis_queue.Redis"}

# --- Staff sign-in --------------------------------------------------------------------------

AUTH_USER_MODEL = "access.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "dashboard:overview"
ACCOUNT_LOGOUT_REDIRECT_URL = "account_login"
ACCOUNT_ADAPTER = "access.adapter.StaffAccountAdapter"
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_EMAIL_VERIFICATION = "none"
# Nobody gets a mail from here who does not belong here.
ACCOUNT_EMAIL_UNKNOWN_ACCOUNTS = False
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""
ACCOUNT_SIGNUP_FIELDS = ["username*", "email", "password1*", "password2*"]
# What is dangerous asks for the password (or second factor) again after this many seconds.
ACCOUNT_REAUTHENTICATION_TIMEOUT = 900
MFA_ADAPTER = "access.mfa.StaffMFAAdapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_TOTP_ISSUER = "WhatReach"
MFA_TOTP_TOLERANCE = 1
# Nobody signs up here, so no stranger can lock out the owner of an address.
MFA_ALLOW_UNVERIFIED_EMAIL = True
REQUIRE_MFA_FOR = env.list("REQUIRE_MFA_FOR", default=[])
INVITATION_LIFE = timedelta(days=env.int("INVITATION_DAYS", default=7))
AUDIT_KEEP_DAYS = env.int("AUDIT_KEEP_DAYS", default=730)

# Without a mail server, alerts are written to the log; links to sign in are not made.
_mail = env.email_url_config(secret("EMAIL_URL", default="consolemail://"))
EMAIL_BACKEND, EMAIL_HOST, EMAIL_PORT = (
    _mail["EMAIL_BACKEND"],
    _mail["EMAIL_HOST"],
    _mail["EMAIL_PORT"],
)
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = _mail["EMAIL_HOST_USER"], _mail["EMAIL_HOST_PASSWORD"]
EMAIL_USE_TLS, EMAIL_USE_SSL = _mail.get("EMAIL_USE_TLS", False), _mail.get("EMAIL_USE_SSL", False)
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="whatreach@localhost")

# --- Cache ----------------------------------------------------------------------------------

# The limits on wrong passwords are counted in it, so all processes must share it.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "access_cache",
        "OPTIONS": {"MAX_ENTRIES": 20_000},
    },
    # The queue writes its statistics several times a second, and nobody reads them.
    "queue": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "queue"},
    # dashboard/looks.py: a panel has up to 200 kB.
    "looks": {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        "LOCATION": "looks",
        "OPTIONS": {"MAX_ENTRIES": 50},
    },
}
# Made by gunicorn.conf.py for its own processes; other servers have one.
_web_folder = "WHATREACH_WEB_FOLDER"
if _web_folder in os.environ:
    CACHES["looks"] = {
        "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
        "LOCATION": os.environ[_web_folder],
        "OPTIONS": {"MAX_ENTRIES": 50},
    }
if REDIS_URL:
    CACHES["default"] = {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "whatreach",
    }

# --- Cookies, headers, static files ---------------------------------------------------------

# Over plain http (the local demo) secure cookies would sign nobody in.
SERVED_OVER_HTTPS = env.bool("DJANGO_HTTPS", default=GHL_REDIRECT_URI.startswith("https://"))
DEFAULT_EXCEPTION_REPORTER = "config.fault_page.QuietReporter"
DEFAULT_EXCEPTION_REPORTER_FILTER = "config.fault_page.QuietFilter"
CSRF_FAILURE_VIEW = "dashboard.errors.csrf_failure"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SERVED_OVER_HTTPS
# Browsers allow passkeys on https and, for trying out, on localhost.
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = not SERVED_OVER_HTTPS
SECURE_SSL_REDIRECT = SERVED_OVER_HTTPS and TRUST_PROXY
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]
SECURE_HSTS_SECONDS = 31_536_000 if SERVED_OVER_HTTPS else 0
# Other names under the operator's domain are not ours to force to https.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
if TRUST_PROXY:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}

# --- Logs and numbers -----------------------------------------------------------------------

LOG_FORMAT = env.str("LOG_FORMAT", default=TEXT if DEBUG else JSON)
if LOG_FORMAT not in (JSON, TEXT):
    raise ImproperlyConfigured(f"LOG_FORMAT={LOG_FORMAT} is neither {JSON} nor {TEXT}.")

METRICS_TOKEN = secret("METRICS_TOKEN")
try:
    METRICS_ALLOW = [ip_network(text.strip()) for text in env.list("METRICS_ALLOW", default=[])]
except ValueError as error:
    raise ImproperlyConfigured(f"METRICS_ALLOW: {error}") from None

# What this process knows and must never write; the values of the database's URL may be short.
SECRETS = [
    SECRET_KEY,
    GHL_CLIENT_SECRET,
    GHL_CLIENT_SECRET_NEXT,
    GHL_SSO_KEY,
    METRICS_TOKEN,
    REDIS_URL,
    HEARTBEAT_PING_URL,
    *WATCHDOG_URLS,
    EMAIL_HOST_PASSWORD,
    _database.get("PASSWORD"),
    *(entry.partition(":")[2].strip() for entry in TOKEN_ENCRYPTION_KEYS.split(",")),
]

LOGGING = logging_config(
    level=env.str("LOG_LEVEL", default="INFO"), form=LOG_FORMAT, secrets=SECRETS
)

# Where the operator's backups lie, for the check that they are young.
BACKUP_FOLDER = env.str("BACKUP_FOLDER", default="")

SENTRY_DSN = secret("SENTRY_DSN")
if SENTRY_DSN:
    sentry.begin(SENTRY_DSN, SECRETS)
