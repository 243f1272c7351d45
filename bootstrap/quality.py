"""The commands that judge the code: test, check, e2e and their small relatives."""

from __future__ import annotations

import os
import shlex
import socket
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from bootstrap import installs
from bootstrap.console import must_succeed, say, succeeds

DEFAULT_PORTS = {"postgres": 5432, "postgresql": 5432, "mysql": 3306}
# Four at a time, since many wait for a process; a file's tests stay together, and the files keep
# the order of conftest.py. Without the browser plug-in: no unit test can start one by accident.
UNIT_TESTS = ("-p", "no:playwright", "-n", "4", "--dist", "loadfile", "--no-loadscope-reorder")
# Three at a time, each with a product of its own: much of a journey is waiting.
BROWSER_TESTS = ("--browser", "chromium", "-n", "3", "--dist", "loadfile", "--no-loadscope-reorder")
# Once one of them fails again the rest need not be asked.
FAILED_ALONE = ("--last-failed", "--last-failed-no-failures=none", "-n", "0", "-x")
TEST_SETTINGS = {"DJANGO_SETTINGS_MODULE": "config.settings_test"}
# What `check --deploy` judges: a production machine behind a TLS proxy. The keys open nothing.
PRODUCTION = {
    "WHATREACH_ENV_FILE": os.devnull,
    "DJANGO_SETTINGS_MODULE": "config.settings",
    "DJANGO_DEBUG": "false",
    "DJANGO_SECRET_KEY": "Vq3bT9xLw0ZrKe7mPs2dYh5jUn8cGa4fXi6oQt1vBy-RkWzEuMlHpDsJgCnA",
    "DJANGO_ALLOWED_HOSTS": "whatreach.example.com",
    "DJANGO_CSRF_TRUSTED_ORIGINS": "https://whatreach.example.com",
    "DJANGO_TRUST_PROXY": "true",
    "DATABASE_URL": "sqlite://:memory:",
    "TOKEN_ENCRYPTION_KEYS": "k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    "GHL_CLIENT_ID": "0123456789abcdef01234567-abcdefgh",
    "GHL_CLIENT_SECRET": "01234567-89ab-4cde-8f01-23456789abcd",
    "GHL_REDIRECT_URI": "https://whatreach.example.com/app/callback/",
}


def test() -> int:
    """Run the unit tests on SQLite and on each database of TEST_DATABASE_URLS."""
    python = _dev_python()
    failed = [
        _without_password(url) or "SQLite"
        for url in ("", *_database_urls())
        if not _suite_passes(python, url)
    ]
    return _verdict("Tests", failed)


def _dev_python() -> str:
    return installs.python_with("requirements.txt", "requirements-dev.txt")


def _database_urls() -> list[str]:
    urls = os.environ.get("TEST_DATABASE_URLS", "").split(",")
    return [url.strip() for url in urls if url.strip()]


def _suite_passes(python: str, url: str) -> bool:
    name = _without_password(url) or "SQLite"
    say(f"\n=== Tests on {name}")
    if url and not _is_reachable(url):
        say(f"Nothing answers at {name}. TEST_DATABASE_URLS names it, so the tests must run there.")
        return False
    # A developer's own DATABASE_URL has no say here: SQLite means SQLite.
    environ = {key: value for key, value in os.environ.items() if key != "DATABASE_URL"}
    environ |= {"DATABASE_URL": url} if url else {}
    which = ("-m", "not one_database") if url else ()
    return _tests_pass([python, "-m", "pytest", *UNIT_TESTS, *which, *_arguments()], environ)


def _tests_pass(command: list[str], environ: dict[str, str]) -> bool:
    """Run the tests, and with TEST_FAILED_AGAIN those that failed once more, one by one."""
    if succeeds(command, environ):
        return True
    if not environ.get("TEST_FAILED_AGAIN"):
        return False
    say("\n=== What failed, once more and by itself")
    return succeeds([*command, *FAILED_ALONE], environ)


def _is_reachable(url: str) -> bool:
    parts = urlsplit(url)
    port = parts.port or DEFAULT_PORTS.get(parts.scheme, 0)
    try:
        socket.create_connection((parts.hostname or "localhost", port), timeout=5).close()
    except OSError:
        return False
    return True


def _without_password(url: str) -> str:
    password = urlsplit(url).password
    return url.replace(f":{password}@", ":***@", 1) if password else url


def _arguments() -> list[str]:
    return shlex.split(os.environ.get("ARGS", ""))


def check() -> int:
    """Run every gate, also after one has failed, and list the failures."""
    gates = _gates(_dev_python())
    return _verdict("Gates", [name for name, gate in gates.items() if not _passes(name, *gate)])


def _gates(python: str) -> dict[str, tuple[Sequence[str], dict[str, str]]]:
    tool, manage = (python, "-m"), (python, "manage.py")
    return {
        "ruff check": ((*tool, "ruff", "check"), {}),
        "ruff format": ((*tool, "ruff", "format", "--check"), {}),
        "mypy": ((*tool, "mypy"), {}),
        "djlint": ((*tool, "djlint", "templates", "--lint", "--quiet"), {}),
        "djade": ((_beside(python, "djade"), "--check", "--target-version=5.2", *_templates()), {}),
        "import-linter": ((_beside(python, "lint-imports"), "--no-logo"), {}),
        "migrations": ((*manage, "makemigrations", "--check", "--dry-run"), TEST_SETTINGS),
        "deployment": ((*manage, "check", "--deploy", "--fail-level=WARNING"), PRODUCTION),
        "pip check": ((*tool, "pip", "check"), {}),
    }


def _beside(python: str, tool: str) -> str:
    return python.removesuffix("python") + tool


def _templates() -> list[str]:
    return sorted(str(path) for path in Path("templates").rglob("*.html"))


def _passes(name: str, command: Sequence[str], environ: dict[str, str]) -> bool:
    say(f"\n=== {name}")
    return succeeds(command, os.environ | environ)


def _verdict(what: str, failed: list[str]) -> int:
    say(f"\n{what} failed: {', '.join(failed)}" if failed else f"\n{what} passed.")
    return 1 if failed else 0


def e2e() -> int:
    """Run the browser tests."""
    browser()
    # Playwright's synchronous API keeps an event loop in the thread that also uses the database.
    environ = os.environ | {"DJANGO_ALLOW_ASYNC_UNSAFE": "true"}
    command = [_dev_python(), "-m", "pytest", "e2e", *BROWSER_TESTS, *_arguments()]
    return 0 if _tests_pass(command, environ) else 1


def browser() -> int:
    """Make sure that the browser of the end-to-end tests is there. Errors: Refused."""
    installs.ensure_chromium()
    return 0


def format_code() -> int:
    """Rewrite code and templates; what only a person can mend is left to `make check`."""
    python = _dev_python()
    for command in (["check", "--fix-only", "--quiet"], ["format"]):
        succeeds([python, "-m", "ruff", *command])
    succeeds([_beside(python, "djade"), "--target-version=5.2", *_templates()])
    return 0


def lock() -> int:
    """Pin every package with its hashes, for the oldest Python that we support."""
    pin = [_dev_python(), "-m", "uv", "pip", "compile", "--quiet", "--python-version=3.11"]
    pin += ["--generate-hashes", "--no-emit-index-url", "--no-header", "--no-annotate"]
    pin += ["--no-config", *_arguments()]
    for name in ("requirements", "requirements-dev", "requirements-redis"):
        must_succeed([*pin, f"{name}.in", f"--output-file={name}.txt"], what=f"Locking {name}.in")
    return 0


def compare() -> int:
    """Run HighLevel's official SDKs beside the product against the sandbox; needs Node.js."""
    return 0 if succeeds([_dev_python(), "-m", "bench.sdk", *_arguments()]) else 1


def screenshots() -> int:
    """Take pictures of every page, to look at; ARGS=--docs renews those of the documents."""
    installs.ensure_chromium()
    return 0 if succeeds([_dev_python(), "-m", "e2e.screenshots", *_arguments()]) else 1


def bench() -> int:
    """Run the benchmarks, in one table: var/bench.md."""
    return 0 if succeeds([_dev_python(), "-m", "bench", *_arguments()]) else 1


def soak() -> int:
    """Run the product for SOAK_MINUTES while everything around it goes wrong."""
    size = ["--minutes", os.environ.get("SOAK_MINUTES", "30")]
    size += ["--installs", os.environ.get("SOAK_INSTALLS", "2000")]
    return 0 if succeeds([_dev_python(), "-m", "bench.soak", *size, *_arguments()]) else 1
