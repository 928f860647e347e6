#!/bin/bash
# verify-restore.sh --backup DIR [--archive DIR] [--target-time TIME] [--sql QUERY]... [--work DIR]
#
# Rehearses a recovery: copies a plain-format pg_basebackup, lets it recover (with --archive: through restore-wal.sh to
# TIME, else to the end of the archive), and checks it on a server of its own: pg_verifybackup before, then pg_amcheck,
# a pg_dump of every database that is thrown away, your own queries (each must return one row: true), and pg_checksums
# after. The copy listens on no network, archives nowhere, subscribes to nothing, and is removed at the end.
# Run it as the account that runs PostgreSQL. Prints what was proven, and the time that it took (measured RTO).
# Exit code 0: all of it held; 1: something did not; 2: wrong usage.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
backup='' archive='' target='' queries=() work=${TMPDIR:-/var/tmp}
while [ $# -gt 0 ]; do
  case $1 in
    --backup) backup=$2 ;;
    --archive) archive=$2 ;;
    --target-time) target=$2 ;;
    --sql) queries+=("$2") ;;
    --work) work=$2 ;;
    *) sed -n '2,10p' "$0" | cut -c3- >&2; exit 2 ;;
  esac
  shift 2
done
fail() { echo "verify-restore: $*" >&2; exit 1; }
[ -f "$backup/PG_VERSION" ] || { echo "verify-restore: $backup is not a plain-format backup" >&2; exit 2; }
[ -z "$target" ] || [ -n "$archive" ] || { echo "verify-restore: --target-time needs --archive" >&2; exit 2; }
# A copied link still leads to where the original tablespace lives, and the copy would write there.
[ -z "$(find "$backup/pg_tblspc" -mindepth 1 -maxdepth 1 -type l)" ] ||
  fail "$backup has tablespaces: make the copy with pg_basebackup --tablespace-mapping"
major=$(cat "$backup/PG_VERSION")
for directory in "/usr/lib/postgresql/$major/bin" "/usr/pgsql-$major/bin"; do
  [ ! -x "$directory/postgres" ] || PATH=$directory:$PATH
done
[[ $(postgres --version) =~ \ ${major}[.a-z] ]] || fail "the programs of PostgreSQL $major are not in PATH"

rehearsal=$(mktemp -d "$work/rehearsal-XXXXXX")
copy=$rehearsal/data
end() {
  [ ! -f "$copy/postmaster.pid" ] || pg_ctl -D "$copy" -m immediate -w stop >/dev/null || true
  rm -rf "$rehearsal"
}
trap end EXIT
started=$(date +%s.%N)

pg_verifybackup --no-parse-wal "$backup" >/dev/null || fail "pg_verifybackup finds damage in $backup"
cp -a "$backup" "$copy"
chmod 700 "$copy"
{
  # Empty where unused: what the source had set would otherwise hold here too.
  for name in recovery_target recovery_target_lsn recovery_target_name recovery_target_xid recovery_end_command \
    archive_cleanup_command primary_conninfo primary_slot_name synchronous_standby_names; do
    echo "$name = ''"
  done
  echo "recovery_target_time = '$target'"
  echo "recovery_target_action = 'promote'"
  echo "recovery_target_timeline = 'latest'"
  echo "restore_command = '\"$here/restore-wal.sh\" \"$archive\" %f \"%p\"'"
} >>"$copy/postgresql.auto.conf"
[ -z "$archive" ] || touch "$copy/recovery.signal"
[ -f "$copy/postgresql.conf" ] || touch "$copy/postgresql.conf" # Debian keeps its own below /etc
printf 'local all all trust\n' >"$rehearsal/hba"                  # the directory is 0700: only this account gets in

pg_ctl -D "$copy" -l "$rehearsal/log" -t 3600 -w start -o "-k $rehearsal -c listen_addresses='' \
  -c hba_file='$rehearsal/hba' -c archive_mode=off -c max_logical_replication_workers=0 -c cron.launch_active_jobs=off \
  -c ssl=off -c logging_collector=off -c huge_pages=off -c default_transaction_read_only=off" >/dev/null ||
  { tail -n 20 "$rehearsal/log" >&2; fail "the copy does not start"; }
export PGHOST=$rehearsal PGDATABASE=postgres
ask() { psql -X -A -t -q -v ON_ERROR_STOP=1 -c "$1"; }
until [ "$(ask 'SELECT pg_is_in_recovery()')" = f ]; do sleep 0.5; done
echo "recovered to $(ask "SELECT coalesce(pg_last_xact_replay_timestamp()::text, 'the end of the backup')")"

if command -v pg_amcheck >/dev/null && [ "$major" -ge 14 ]; then
  pg_amcheck --all --install-missing --heapallindexed >"$rehearsal/amcheck" 2>&1 ||
    { cat "$rehearsal/amcheck" >&2; fail "pg_amcheck finds damage"; }
  echo "amcheck: tables and B-tree indexes are whole"
fi
ask "SELECT datname FROM pg_database WHERE datallowconn AND datname <> 'template0'" | while IFS= read -r database; do
  pg_dump --file=/dev/null --dbname="dbname='$(printf '%s' "$database" | sed "s/[\\\\']/\\\\&/g")'"
done || fail "a database cannot be read from end to end"
echo "every row of every database was read"
for query in ${queries[@]+"${queries[@]}"}; do
  answer=$(ask "$query") || fail "this does not run: $query"
  [ "$answer" = t ] || fail "not true in the copy: $query"
  echo "true: $query"
done
echo "measured RTO: $(awk -v a="$started" -v b="$(date +%s.%N)" 'BEGIN { printf "%.1f", b - a }') s"

pg_ctl -D "$copy" -m fast -w stop >/dev/null
if [ "$(LC_ALL=C pg_controldata -D "$copy" | sed -n 's/^Data page checksum version: *//p')" != 0 ]; then
  pg_checksums --check -D "$copy" >/dev/null || fail "pg_checksums finds damaged pages"
  echo "every page matches its checksum"
else
  echo "data checksums are off in this cluster: silent damage by the disk would not be seen"
fi
