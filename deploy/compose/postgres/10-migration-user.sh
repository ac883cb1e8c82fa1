#!/bin/sh
# Run once by the image's entrypoint, on a new volume: the role that owns everything, and is no superuser.
set -eu
SECRET="${MIGRATOR_PASSWORD_FILE:-/run/secrets/migrator_password}"
export SECRET
psql -X -v ON_ERROR_STOP=1 --no-password --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
    -v database="$POSTGRES_DB" <<'SQL'
\set password `cat "$SECRET"`
CREATE ROLE bf_migrator LOGIN CREATEROLE PASSWORD :'password';
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
GRANT CONNECT, CREATE ON DATABASE :"database" TO bf_migrator;
SQL
