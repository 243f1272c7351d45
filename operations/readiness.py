"""Whether everything that WhatReach needs is in place: one list of checks, each with its fix.

`manage.py doctor` prints it, the setup page shows it, and support_bundle packs it. A check looks,
changes nothing, and never raises: what it could not find out it says.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import Error as DatabaseFault
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.http.request import validate_host
from django.utils import timezone
from django_q.brokers import get_broker

from access.mail import has_mail_server
from alerts.models import Channel
from integrations import database_faults, heartbeat
from integrations.crypto import DecryptError, Keyring
from integrations.health import Status
from integrations.highlevel import HighLevel
from integrations.install import missing_settings
from integrations.models import GoHighLevelIntegration
from webhooks.models import GoHighLevelWebhook

WORKER_COMMAND = "python manage.py qcluster"
# Django's own measure of a key (security.W009).
_SHORTEST_KEY, _FEWEST_CHARACTERS = 50, 5
_CALLBACKS = ("/app/callback/", "/ghl/callback/")
_LOCAL = ("localhost", "127.0.0.1", "::1")
_CLOCK_WARNS, _CLOCK_STOPS = timedelta(seconds=5), timedelta(seconds=60)
_DISK_WARNS, _DISK_STOPS = 0.10, 0.03
_TOKENS_TRIED = 20
_LONG_ABSENT = timedelta(hours=1)
_QUEUE_IS_LONG = 1000
_BACKUP_IS_OLD = timedelta(hours=26)
_WATCHDOG_IS_LATE = timedelta(minutes=3)
_WAIT_FOR_RENEWAL = timedelta(minutes=15)
_IDLE = "idle_in_transaction_session_timeout"


class Verdict(StrEnum):
    OK = "ok"
    WARN = "warn"  # works, but look at it; or not done yet
    RED = "red"  # does not work, or is not safe


@dataclass(frozen=True)
class Check:
    """One finding. `sentence` says what is; `fix` what to do, empty when nothing is to be done."""

    name: str
    title: str
    verdict: Verdict
    sentence: str
    fix: str = ""


Finding = tuple[Verdict, str, str]


def _ok(sentence: str) -> Finding:
    return Verdict.OK, sentence, ""


def _warn(sentence: str, fix: str) -> Finding:
    return Verdict.WARN, sentence, fix


def _red(sentence: str, fix: str) -> Finding:
    return Verdict.RED, sentence, fix


def run(*, ask_highlevel: bool = True) -> list[Check]:
    """Return the findings in the order of setting up; one by one they come from `each`."""
    return list(each(ask_highlevel=ask_highlevel))


def each(*, ask_highlevel: bool = True) -> Iterator[Check]:
    """Yield one finding after the other. `ask_highlevel`: also make the one call to HighLevel that
    tells whether client id and secret are accepted (up to 13 s when it does not answer)."""
    for name in CHECKS:
        if name != "credentials" or ask_highlevel:
            yield find_out(name)


def find_out(name: str) -> Check:
    """Make the one check of this name; `credentials` asks HighLevel."""
    title, check = CHECKS[name]
    return Check(name, title, *_find_out(check))


def _find_out(check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except DatabaseFault as error:
        name = type(error).__name__
        if fault := database_faults.find_out(error):
            return _warn(f"Could not be found out: {fault} ({name}).", "Mend the database first.")
        return _warn(
            f"Could not be found out ({name}).",
            "Mend what is red. If this stays, support_bundle packs what a helper needs.",
        )


# --- Keys and addresses ---


def _keys() -> Finding:
    try:
        Keyring.parse(settings.TOKEN_ENCRYPTION_KEYS)
    except ImproperlyConfigured as error:
        return _red("The key that encrypts the tokens is missing or weak.", str(error))
    key = settings.SECRET_KEY
    if len(key) < _SHORTEST_KEY or len(set(key)) < _FEWEST_CHARACTERS:
        return _red(
            "DJANGO_SECRET_KEY is short.",
            "Set 50 random characters or more: "
            "python3 -c 'import secrets; print(secrets.token_urlsafe(64))'",
        )
    return _ok("The keys are strong.")


def _debug() -> Finding:
    if settings.DEBUG:
        return _red(
            "DJANGO_DEBUG is on: error pages show settings and variables to everybody.",
            "Remove DJANGO_DEBUG from the environment and restart.",
        )
    return _ok("Debug pages are off.")


def _address() -> Finding:
    url = urlsplit(settings.GHL_REDIRECT_URI)
    host = url.hostname or ""
    if not host:
        return _red(
            "GHL_REDIRECT_URI is not set.",
            "Set it to https://<your public name>/app/callback/, as registered with HighLevel.",
        )
    if url.path not in _CALLBACKS:
        return _red(
            f"GHL_REDIRECT_URI ends in {url.path or '/'}, where nothing finishes an install.",
            f"It must end in {_CALLBACKS[0]}, to the letter, here and with HighLevel.",
        )
    if not validate_host(host, settings.ALLOWED_HOSTS):
        return _red(
            f"WhatReach does not answer under {host}, the name in GHL_REDIRECT_URI.",
            f"Add {host} to DJANGO_ALLOWED_HOSTS and restart.",
        )
    if url.scheme != "https":
        if host in _LOCAL:
            return _warn(
                f"The address is {url.scheme}://{url.netloc}: for a trial on this machine only.",
                "To go live, give it a public name with https and set GHL_REDIRECT_URI to it.",
            )
        return _red(
            "Browsers and HighLevel reach WhatReach without encryption.",
            "Put a TLS proxy in front (docs/deploy.md) and set GHL_REDIRECT_URI to https://…",
        )
    if not settings.TRUST_PROXY:
        return _warn(
            "The address is https, but the proxy in front is not trusted.",
            "Behind a TLS proxy set DJANGO_TRUST_PROXY=true, else everybody has its address.",
        )
    return _ok(f"{url.scheme}://{url.netloc} with encryption, and the callback fits.")


def _highlevel_host() -> Finding:
    names = {urlsplit(u).hostname or "" for u in (settings.GHL_API_BASE_URL,)}
    foreign = [n for n in names if not n.endswith((".gohighlevel.com", ".leadconnectorhq.com"))]
    if not foreign:
        return _ok("Calls go to HighLevel.")
    if settings.SANDBOX_URL or set(foreign) <= set(_LOCAL):
        return _warn(
            "Calls go to the sandbox on this machine, not to HighLevel.",
            "To go live set GHL_CLIENT_ID, GHL_CLIENT_SECRET and GHL_REDIRECT_URI.",
        )
    return _red(
        f"Tokens are sent to {', '.join(foreign)}, which is not HighLevel.",
        "Remove GHL_API_BASE_URL from the environment and restart.",
    )


# --- The app ---


def _app() -> Finding:
    missing = missing_settings()
    if missing:
        return _red(
            f"Not set: {', '.join(missing)}.",
            "Take client id and secret from your app in HighLevel's marketplace (README, Go live).",
        )
    return _ok("Client id, secret and redirect address are set.")


def _credentials() -> Finding:
    if missing_settings():
        return _red("There is nothing to ask HighLevel with yet.", "Set the app's names first.")
    verdicts = HighLevel.from_settings().accepted_secrets()
    if None in verdicts.values():
        return _warn(
            "HighLevel gave no verdict on client id and secret.",
            "Look at /app/test-connectivity/ and ask again in a minute.",
        )
    good = [name for name, accepted in verdicts.items() if accepted]
    if not good:
        return _red(
            "HighLevel does not accept the client id and secret.",
            "Copy both anew from the app's page in HighLevel's marketplace and restart.",
        )
    if good == ["GHL_CLIENT_SECRET_NEXT"]:
        return _warn(
            "HighLevel accepts GHL_CLIENT_SECRET_NEXT, and GHL_CLIENT_SECRET no more.",
            "Put it in the place of GHL_CLIENT_SECRET, empty the other, and restart.",
        )
    if len(verdicts) > 1:
        return _ok(f"HighLevel accepts client id and secret ({' and '.join(good)}).")
    return _ok("HighLevel accepts client id and secret.")


# --- The machine ---


def _database() -> Finding:
    try:
        version, size = server_version(), database_bytes()
    except DatabaseFault as error:
        if database_faults.is_full(error):
            return _full()
        return _red(
            f"The database does not answer ({type(error).__name__}).",
            "Start it, and compare DATABASE_URL with its address, name and password.",
        )
    answers = f"{connection.display_name} {version} answers; {in_words(size)}."
    if connection.vendor == "postgresql" and (lacking := _what_a_pooler_lacks()):
        return _warn(f"{answers} A pooler such as PgBouncer stands before it.", lacking)
    return _ok(answers)


def _what_a_pooler_lacks() -> str:
    """A pooler hands out connections under numbers of its own, and does not pass our options on."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid(), current_setting(%s), current_user", [_IDLE])
        number, idle, user = cursor.fetchone()
    if number == connection.connection.info.backend_pid:
        return ""
    if not connection.settings_dict.get("DISABLE_SERVER_SIDE_CURSORS"):
        return (
            "Put ?disable_server_side_cursors=true at the end of DATABASE_URL: in transaction mode"
            " long lists break off without it."
        )
    if idle == "0":
        return (
            "So that a lost host does not hold rows for hours:"
            f" ALTER ROLE {user} SET {_IDLE} = '30s';"
        )
    return ""


def server_version() -> str:
    """Return the version of the database, "15.20"."""
    if connection.vendor == "sqlite":
        return ".".join(map(str, connection.Database.sqlite_version_info))  # type: ignore[attr-defined]
    return ".".join(map(str, connection.get_database_version()))


def database_bytes() -> int:
    """What the whole database takes on its disk."""
    sql = {
        "sqlite": "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
        "postgresql": "SELECT pg_database_size(current_database())",
        "mysql": "SELECT COALESCE(SUM(data_length + index_length), 0)"
        " FROM information_schema.tables WHERE table_schema = DATABASE()",
    }[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return int(cursor.fetchone()[0])


def _full() -> Finding:
    return _red(
        "The database is full: it takes nothing more, no renewed token either.",
        "Make room on its disk. What waited goes on by itself.",
    )


def _disk() -> Finding:
    try:
        database_faults.try_to_write()
    except DatabaseFault as error:
        if not database_faults.is_full(error):
            raise
        return _full()
    if connection.vendor != "sqlite":
        return _ok("The database keeps its own disk; watch it there.")
    usage = shutil.disk_usage(_sqlite_folder())
    left = f"{in_words(usage.free)} of the database's disk are free."
    share = usage.free / usage.total
    if share < _DISK_STOPS:
        return _red(left, "Make room now: without it no renewed token can be stored.")
    if share < _DISK_WARNS:
        return _warn(left, "Make room soon, or let HISTORY_KEEP_DAYS keep less.")
    return _ok(left)


def _sqlite_folder() -> Path:
    folder = Path(str(settings.DATABASES["default"]["NAME"])).resolve().parent
    return folder if folder.is_dir() else Path.cwd()


def _clock() -> Finding:
    with connection.cursor() as cursor:
        started = time.monotonic()
        cursor.execute(
            "SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')"
            if connection.vendor == "sqlite"
            else "SELECT CURRENT_TIMESTAMP(6)"
        )
        told = cursor.fetchone()[0]
        took = timedelta(seconds=time.monotonic() - started)
    there = datetime.fromisoformat(told) if isinstance(told, str) else told
    there = there if there.tzinfo else there.replace(tzinfo=UTC)
    off = max(abs(timezone.now() - there) - took, timedelta())
    if off > _CLOCK_WARNS:
        find = _red if off > _CLOCK_STOPS else _warn
        return find(
            f"This machine and the database differ by {off.total_seconds():.0f} s in their time.",
            "Run an NTP service on both.",
        )
    return _ok("This machine and the database agree on the time.")


def _migrations() -> Finding:
    executor = MigrationExecutor(connection)
    waiting = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if waiting:
        return _red(
            f"{len(waiting)} changes of the database are not applied.", "python manage.py migrate"
        )
    return _ok("The database has the present form.")


def _static_files() -> Finding:
    if settings.DEBUG or "Manifest" not in settings.STORAGES["staticfiles"]["BACKEND"]:
        return _ok("Static files are served from their sources.")
    if not (Path(settings.STATIC_ROOT) / "staticfiles.json").exists():
        return _red(
            "The static files are not collected: pages fail.",
            "python manage.py collectstatic --noinput",
        )
    return _ok("The static files are collected.")


# --- The worker ---


def _worker() -> Finding:
    return _sign_of_life(heartbeat.WORKER, "worker")


def _scheduler() -> Finding:
    return _sign_of_life(heartbeat.SCHEDULER, "worker's scheduler")


def _sign_of_life(name: str, what: str) -> Finding:
    now, last = timezone.now(), heartbeat.read_all().get(name)
    if last is not None and now - last < heartbeat.STALE_AFTER:
        return _ok(f"The {what} lives.")
    if last is None:
        return _red(f"The {what} has never shown itself.", f"Start it: {WORKER_COMMAND}")
    since = f"The {what} was last seen {_ago(now - last)} ago."
    if now - last > _LONG_ABSENT:
        since += (
            " If this is a restored backup and another copy ran in the meantime, refresh tokens"
            " that it spent are worthless here."
        )
    return _red(
        since,
        f"Start it: {WORKER_COMMAND}. Sub-accounts whose token is spent get a new one from their"
        " agency; the rest is shown as needing a reconnect.",
    )


def _renewals() -> Finding:
    now = timezone.now()
    late = GoHighLevelIntegration.objects.filter(renew_at__lte=now - _WAIT_FOR_RENEWAL).count()
    if late:
        return _warn(
            f"{late} renewals are overdue by more than 15 minutes.",
            "If the worker lives, give it time or more: WORKER_PROCESSES, RENEWAL_THREADS.",
        )
    return _ok("No renewal is overdue.")


def _queue() -> Finding:
    try:
        waiting = get_broker().queue_size()
    except ConnectionError as error:
        return _red(f"The queue cannot be reached: {error}.", "Start Redis, or unset REDIS_URL.")
    if waiting > _QUEUE_IS_LONG:
        return _warn(
            f"{waiting} tasks wait in the queue.",
            "If the worker lives, run more of it: WORKER_PROCESSES, or a second machine.",
        )
    return _ok(f"{waiting} tasks wait in the queue.")


def _tokens() -> Finding:
    """The newest few stored tokens: a wrong key opens none of them."""
    rows = GoHighLevelIntegration.objects.filter(status=Status.ACTIVE, generation__gt=0)
    newest = list(rows.order_by("-renewed_at")[:_TOKENS_TRIED])
    unreadable = sum(not _opens(row) for row in newest)
    if unreadable:
        return _red(
            f"{unreadable} of the {len(newest)} newest tokens cannot be read with the present key.",
            "Put the key that they were stored with back into TOKEN_ENCRYPTION_KEYS.",
        )
    return _ok("The stored tokens can be read." if newest else "No token is stored yet.")


def _opens(row: GoHighLevelIntegration) -> bool:
    try:
        row.open_access_token()
        if row.refresh_token_encrypted:
            row.open_refresh_token()
    except DecryptError:
        return False
    return True


def _backup() -> Finding:
    folder = Path(settings.BACKUP_FOLDER)
    if not settings.BACKUP_FOLDER:
        return _warn(
            "WhatReach does not know whether there are backups.",
            "Set BACKUP_FOLDER to where they lie (docs/backup.md has a script).",
        )
    made = [file.stat().st_mtime for file in folder.glob("[!.]*") if file.is_file()]
    if not made:
        return _red(f"There is no backup in {folder}.", "Run deploy/backup.sh (docs/backup.md).")
    age = timezone.now() - datetime.fromtimestamp(max(made), UTC)
    if age > _BACKUP_IS_OLD:
        return _red(
            f"The newest backup is {_ago(age)} old.", "See why deploy/backup.sh does not run."
        )
    return _ok(f"The newest backup is {_ago(age)} old.")


# --- Who hears of trouble ---


def _alerts() -> Finding:
    ways = Counter(Channel.objects.working().values_list("way", flat=True))
    if not ways:
        return _warn(
            "No alert reaches anybody: there is no channel that is on.",
            "Add one on the page Alerts.",
        )
    if ways[Channel.MAIL] and not has_mail_server():
        return _warn(
            "Alerts by mail end up in the log: there is no mail server.",
            "Set EMAIL_URL and restart.",
        )
    return _ok(f"Channels for alerts that are on: {ways.total()}.")


def _watchdog() -> Finding:
    now, last = timezone.now(), heartbeat.read_all().get(heartbeat.WATCHDOG)
    fix = "Have cron or a timer run python manage.py watchdog each minute (docs/alerts.md)."
    if last is None:
        return _warn("The watchdog has never looked: a worker that stands still is not told.", fix)
    if now - last > _WATCHDOG_IS_LATE:
        return _warn(f"The watchdog last looked {_ago(now - last)} ago.", fix)
    if not settings.WATCHDOG_URLS and not settings.HEARTBEAT_PING_URL:
        return _warn(
            "The watchdog looks, but has nobody to tell while the database is away.",
            "Set WATCHDOG_URLS or HEARTBEAT_PING_URL.",
        )
    return _ok("The watchdog looks each minute.")


# --- What has happened once works ---


def _webhook() -> Finding:
    newest = GoHighLevelWebhook.objects.order_by("-received_at").values_list("received_at")[:1]
    if not newest:
        return _warn(
            "No signed event has arrived yet.",
            "Enter the address of /app/webhook/ in the app's page at HighLevel and send a test.",
        )
    return _ok(f"The newest signed event came {_ago(timezone.now() - newest[0][0])} ago.")


def _first_install() -> Finding:
    if GoHighLevelIntegration.objects.filter(generation__gt=0).exists():
        return _ok("An account is connected.")
    return _warn("No account is connected yet.", "Open /app/install/ and allow the access.")


def _first_token() -> Finding:
    if GoHighLevelIntegration.objects.filter(last_used_at__isnull=False).exists():
        return _ok("A back end has got a token.")
    return _warn(
        "No back end has asked for a token yet.",
        "Make a key (python manage.py create_api_key NAME --scope tokens:read) and call"
        " /app/get-token/ with it.",
    )


def _ago(duration: timedelta) -> str:
    seconds = max(0, int(duration.total_seconds()))
    for unit, name in ((86_400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * unit:
            return f"{seconds // unit} {name}"
    return f"{seconds} seconds"


def in_words(size: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


CHECKS: dict[str, tuple[str, Callable[[], Finding]]] = {
    "keys": ("Strong keys", _keys),
    "debug": ("Debug pages off", _debug),
    "database": ("Database reachable", _database),
    "migrations": ("Database up to date", _migrations),
    "disk": ("Disk space", _disk),
    "clock": ("Clocks agree", _clock),
    "static_files": ("Static files", _static_files),
    "address": ("HTTPS and redirect address", _address),
    "app": ("HighLevel app set up", _app),
    "highlevel": ("HighLevel's address", _highlevel_host),
    "credentials": ("Client id and secret accepted", _credentials),
    "tokens": ("Stored tokens readable", _tokens),
    "worker": ("Worker alive", _worker),
    "scheduler": ("Scheduler alive", _scheduler),
    "renewals": ("Renewals on time", _renewals),
    "queue": ("Queue short", _queue),
    "backup": ("Backups", _backup),
    "alerts": ("Alerts reach somebody", _alerts),
    "watchdog": ("Watchdog looks", _watchdog),
    "webhook": ("Signed event received", _webhook),
    "first_install": ("First install", _first_install),
    "first_token": ("First token served", _first_token),
}
