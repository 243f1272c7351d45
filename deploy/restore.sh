#!/bin/sh
# Put a copy made by backup.sh into an empty database: restore.sh COPY
#
# Reads DATABASE_URL from the environment or .env. Refuses a database that has tables. Afterwards:
# manage.py migrate, manage.py doctor, then start (docs/backup.md).
set -eu
umask 077

copy=${1:?"usage: restore.sh COPY"}
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
eval "$("$python" "$root/deploy/database_url.py")"

refuse() {
    echo "$1 is not empty: restore into an empty database." >&2
    exit 1
}

case $kind in
sqlite)
    [ ! -s "$file" ] || refuse "$file"
    rm -f "$file-wal" "$file-shm"
    gzip -dc "$copy" >"$file"
    ;;
postgresql)
    export PGPASSWORD=$password
    tables=$(psql --host="$host" --port="$port" --username="$user" --tuples-only --no-align \
        --command="SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'" "$name")
    [ "$tables" = 0 ] || refuse "$name"
    pg_restore --exit-on-error --no-owner --host="$host" --port="$port" --username="$user" \
        --dbname="$name" "$copy"
    ;;
mysql)
    export MYSQL_PWD=$password
    tables=$(mysql --host="$host" --port="$port" --user="$user" --skip-column-names --batch \
        --execute="SELECT count(*) FROM information_schema.tables WHERE table_schema = DATABASE()" "$name")
    [ "$tables" = 0 ] || refuse "$name"
    gzip -dc "$copy" | mysql --host="$host" --port="$port" --user="$user" "$name"
    ;;
esac
echo "Restored $copy. Now: manage.py migrate, manage.py doctor."
