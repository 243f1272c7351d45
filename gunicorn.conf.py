"""The web server: `gunicorn config.wsgi -c gunicorn.conf.py` (docs/settings.md has the names)."""

import os
from pathlib import Path

import environ

env = environ.Env()
env.read_env(os.environ.get("WHATREACH_ENV_FILE", Path(__file__).resolve().parent / ".env"))

_host = env.str("HOST", default="127.0.0.1")
bind = f"{f'[{_host}]' if ':' in _host else _host}:{env.int('PORT', default=8000)}"

# Threads: most requests wait for the database or for HighLevel.
worker_class = "gthread"
workers = env.int("WEB_WORKERS", default=2)
threads = 8
keepalive = 5

# A renewal in flight (two calls of up to 13 s) ends before its process does.
timeout = 75
graceful_timeout = 30

# DJANGO_TRUST_PROXY alone decides whether X-Forwarded-Proto is believed.
forwarded_allow_ips = ""

loglevel = env.str("LOG_LEVEL", default="INFO").lower()
accesslog = None
# Nobody uses it, and its place would be a socket in the home folder.
control_socket_disable = True
