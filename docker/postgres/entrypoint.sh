#!/bin/sh
# POSTGRES_USER, POSTGRES_PASSWORD and POSTGRES_DB say what an empty data folder gets.
set -eu

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    : "${POSTGRES_PASSWORD:?set it to the password of the first user}"
    user=${POSTGRES_USER:-postgres}
    secret=$(mktemp)
    printf '%s' "$POSTGRES_PASSWORD" >"$secret"
    initdb --username="$user" --pwfile="$secret" --auth-host=scram-sha-256 --auth-local=trust --encoding=UTF8
    rm "$secret"
    echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
    # Nobody else gets in until the database is there.
    pg_ctl --wait --options="-c listen_addresses=''" start
    if [ "${POSTGRES_DB:-$user}" != postgres ]; then
        createdb --username="$user" "${POSTGRES_DB:-$user}"
    fi
    pg_ctl --wait --mode=fast stop
fi
exec "$@" -c listen_addresses='*'
