#!/bin/bash
# dump-all.sh DIR [--jobs N]
#
# Dumps roles and tablespaces, and each database that takes connections, into DIR/<UTC time>/: globals.sql, and one
# directory-format dump per database, made with N connections (default 2). Every dump is read back whole before the set
# gets its final name, so a directory without ".partial" is a complete set. Deletes nothing but what it failed to finish.
# Connects as libpq's environment says. Passwords belong in a pass file, never in an argument.
set -euo pipefail
[ $# -gt 0 ] || { sed -n '2,8p' "$0" | cut -c3- >&2; exit 2; }
target=$1 jobs=2
shift
while [ $# -gt 0 ]; do
  case $1 in
    --jobs) jobs=$2; shift 2 ;;
    *) echo "dump-all: unknown option $1" >&2; exit 2 ;;
  esac
done
umask 077 # globals.sql holds password hashes
name=$(date -u +%Y%m%dT%H%M%SZ)
partial=$target/$name.partial
mkdir "$partial"
trap 'rm -rf "$partial"' EXIT

pg_dumpall --globals-only --file="$partial/globals.sql"
# Names may hold anything but a zero byte; one per line is enough unless somebody put a line end into one.
psql -X -A -t -q -d postgres -c "SELECT datname FROM pg_database WHERE datallowconn AND datname <> 'template0'" |
  while IFS= read -r database; do
    dump=$partial/$(printf '%s' "$database" | tr / _)
    quoted=$(printf '%s' "$database" | sed "s/[\\\\']/\\\\&/g") # a name may look like a connection string
    pg_dump --format=directory --jobs="$jobs" --compress=6 --file="$dump" --dbname="dbname='$quoted'"
    pg_restore --file=/dev/null "$dump" # reads and decompresses every byte; --list does not
  done
sums=$(cd "$partial" && find . -type f -print0 | sort -z | xargs -0 sha256sum)
printf '%s\n' "$sums" >"$partial/SHA256SUMS"
find "$partial" -type f -exec sync {} +
mv "$partial" "$target/$name"
sync "$target"
trap - EXIT
echo "$target/$name"
