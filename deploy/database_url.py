"""Print DATABASE_URL as assignments for backup.sh and restore.sh, read as WhatReach reads it."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import environ

ROOT = Path(__file__).resolve().parent.parent
KINDS = {"sqlite3": "sqlite", "postgresql": "postgresql", "mysql": "mysql"}

env = environ.Env()
env.read_env(os.environ.get("WHATREACH_ENV_FILE", ROOT / ".env"))
file = env.str("DATABASE_URL_FILE", default="")
default = f"sqlite:///{ROOT / 'whatreach.sqlite3'}"
text = Path(file).read_text().strip() if file else env.str("DATABASE_URL", default=default)
url = env.db_url_config(text)
kind = KINDS[url["ENGINE"].rpartition(".")[2]]
ports = {"postgresql": 5432, "mysql": 3306, "sqlite": ""}
values = {
    "kind": kind,
    "file": ROOT / url["NAME"] if kind == "sqlite" else "",
    "name": url["NAME"],
    "host": url.get("HOST") or "127.0.0.1",
    "port": url.get("PORT") or ports[kind],
    "user": url.get("USER") or "",
    "password": url.get("PASSWORD") or "",
}
for name, value in values.items():
    print(f"{name}={shlex.quote(str(value))}")
