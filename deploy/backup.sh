#!/bin/sh
# A copy of the database, taken while everything runs: backup.sh FOLDER [KEEP]
#
# Reads DATABASE_URL from the environment or .env, as WhatReach does. Keeps the newest KEEP copies
# (48). The encryption key is not in it: keep that elsewhere (docs/backup.md).
set -eu
umask 077

folder=${1:?"usage: backup.sh FOLDER [KEEP]"}
keep=${2:-48}
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}

# Prints shell assignments: kind, file or host, port, user, name; the password goes another way.
eval "$("$python" "$root/deploy/database_url.py")"

mkdir -p "$folder"
target=$folder/whatreach-$(date -u +%Y%m%dT%H%M%SZ)
plain=$(mktemp "$folder/.plain.XXXXXX")
packed=$(mktemp "$folder/.packed.XXXXXX")
trap 'rm -f "$plain" "$packed"' EXIT
case $kind in
sqlite)
    # The online backup: also the newest commits, and never half a page.
    target=$target.sqlite3.gz
    "$python" - "$file" "$plain" <<'PYTHON'
import sqlite3, sys
source, copy = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True), sqlite3.connect(sys.argv[2])
source.backup(copy)
assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
copy.execute("PRAGMA journal_mode=DELETE")
copy.close()
PYTHON
    gzip -c "$plain" >"$packed"
    ;;
postgresql)
    target=$target.dump
    PGPASSWORD=$password pg_dump --format=custom --host="$host" --port="$port" \
        --username="$user" --file="$packed" "$name"
    ;;
mysql)
    target=$target.sql.gz
    MYSQL_PWD=$password mysqldump --single-transaction --hex-blob --skip-tz-utc --no-tablespaces \
        --host="$host" --port="$port" --user="$user" --result-file="$plain" "$name"
    gzip -c "$plain" >"$packed"
    ;;
esac
sync "$packed"
# Only a whole copy gets its name.
mv "$packed" "$target"
echo "$target"

ls -1t "$folder"/whatreach-* | tail -n "+$((keep + 1))" | while read -r old; do rm -f "$old"; done
