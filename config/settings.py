"""All settings, each read once from the environment (docs/settings.md lists them).

Every secret may also come from a file named by NAME_FILE. A value that cannot be read stops the
start: a half-configured service that holds tokens is worse than one that does not run.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import environ
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()
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
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "csp",
    "django_filters",
    "django_htmx",
    "django_q",
    "django_tables2",
    "ninja",
    "access",
    "integrations",
    "webhooks",
    "dashboard",
    # Only commands, run as a process of their own: no tables and no addresses in the product.
    "sandbox",
]

MIDDLEWARE = [
    "config.middleware.ProxyMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "access.middleware.PasswordChangeMiddleware",
    "integrations.middleware.JsonErrorMiddleware",
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
    "default": env.db_url("DATABASE_URL", default=f"sqlite:///{BASE_DIR / 'whatreach.sqlite3'}")
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
if _engine == "mysql":
    import pymysql

    pymysql.install_as_MySQLdb()
    _database.setdefault("OPTIONS", {}).update(
        charset="utf8mb4",
        isolation_level="read committed",
        # Leases compare with the database's clock, which must speak UTC as Django does.
        init_command="SET time_zone='+00:00', sql_mode='STRICT_TRANS_TABLES'",
    )

# --- The HighLevel app ----------------------------------------------------------------------

GHL_CLIENT_ID = env.str("GHL_CLIENT_ID", default="")
GHL_CLIENT_SECRET = secret("GHL_CLIENT_SECRET")
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

# --- Tokens ---------------------------------------------------------------------------------

REFRESH_MARGIN = timedelta(seconds=env.int("REFRESH_MARGIN_S", default=3600))
REFRESH_JITTER = timedelta(seconds=env.int("REFRESH_JITTER_S", default=3600))
TOKEN_ENCRYPTION_KEYS = secret("TOKEN_ENCRYPTION_KEYS")
RENEWAL_THREADS = env.int("RENEWAL_THREADS", default=8)

# --- Worker ---------------------------------------------------------------------------------

# Our own rows hold the plan of what to renew or process when; queue rows are doorbells, so the
# queue does not repeat a task that fails.
# retry > timeout * (1 + ceil((queue_limit + 1) / workers)), or a running task starts twice.
Q_CLUSTER = {
    "name": "whatreach",
    "orm": "default",
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
ACCOUNT_SIGNUP_FIELDS = ["username*", "email", "password1*", "password2*"]

# Without a mail server, mails (a new password's link) are written to the log.
_mail = env.email_url("EMAIL_URL", default="consolemail://")
EMAIL_BACKEND, EMAIL_HOST, EMAIL_PORT = (
    _mail["EMAIL_BACKEND"],
    _mail["EMAIL_HOST"],
    _mail["EMAIL_PORT"],
)
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = _mail["EMAIL_HOST_USER"], _mail["EMAIL_HOST_PASSWORD"]
EMAIL_USE_TLS, EMAIL_USE_SSL = _mail.get("EMAIL_USE_TLS", False), _mail.get("EMAIL_USE_SSL", False)
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="whatreach@localhost")

# --- Cookies, headers, static files ---------------------------------------------------------

# Over plain http (the local demo) secure cookies would sign nobody in.
SERVED_OVER_HTTPS = env.bool("DJANGO_HTTPS", default=GHL_REDIRECT_URI.startswith("https://"))
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SERVED_OVER_HTTPS
SECURE_SSL_REDIRECT = SERVED_OVER_HTTPS and TRUST_PROXY
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$"]
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

# --- Logs -----------------------------------------------------------------------------------

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name} {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": env.str("LOG_LEVEL", default="INFO")},
    # It tells of every task, several times a minute.
    "loggers": {"django-q": {"level": "WARNING"}},
}
