#!/bin/sh
# Makes the files of docker-compose.yml's secrets, once: what is there already stays.
#   deploy/compose/secrets.sh [DIRECTORY]
set -eu
directory="${1:-$(dirname "$0")/secrets}"

# The directory keeps others out. The files are readable to all, because compose mounts them as they are, one by
# one, into containers that run as users of their own.
umask 022
mkdir -p "$directory"
chmod 0700 "$directory"
cd "$directory"

# A name, and 24 random bytes in hexadecimal: nothing that a URL or a quoted string would mind.
once() {
    [ -s "$1" ] || od -An -N24 -tx1 /dev/urandom | tr -d ' \n' >"$1"
}

once postgres_password
once migrator_password
once api_key_pepper
# As BF_SECRET_KEYS wants it: 32 bytes, in base64.
[ -s secret_keys ] || head -c 32 /dev/urandom | base64 >secret_keys

password="$(cat migrator_password)"
printf 'postgresql://bf_migrator:%s@pgbouncer:6432/apg_bf\n' "$password" >database_url
printf 'postgresql://bf_migrator:%s@postgres:5432/apg_bf\n' "$password" >direct_database_url
printf '"bf_migrator" "%s"\n' "$password" >pgbouncer_userlist
chmod 0444 ./*
