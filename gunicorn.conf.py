"""The web server: `gunicorn config.wsgi -c gunicorn.conf.py` (docs/settings.md has the names)."""

import logging
import os
import shutil
import tempfile
from pathlib import Path

from config.env import Env
from config.logs import JSON, TEXT, logging_config

env = Env()
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

# Its own lines go where the application's go, in the same form.
loglevel = env.str("LOG_LEVEL", default="INFO").lower()
logconfig_dict = logging_config(
    level=loglevel.upper(),
    form=env.str("LOG_FORMAT", default=TEXT if env.bool("DJANGO_DEBUG", default=False) else JSON),
)
logging.captureWarnings(True)
accesslog = None
# Nobody uses it, and its place would be a socket in the home folder.
control_socket_disable = True

# Where the processes of this server share the panels just drawn (dashboard/looks.py), and add up
# what /metrics shows. A reload reads this file again and finds the names set.
_FOLDER = "WHATREACH_WEB_FOLDER"
if not os.environ.get(_FOLDER):
    os.environ[_FOLDER] = tempfile.mkdtemp(prefix="whatreach-web-")
if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = os.environ[_FOLDER]


def child_exit(server, worker):
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)


def on_exit(server):
    # After an upgrade of the binary in place (USR2) the new server uses the folder.
    if not server.reexec_pid:
        shutil.rmtree(os.environ[_FOLDER], ignore_errors=True)
