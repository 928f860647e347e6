#!/bin/bash
# check-archiving.sh [--archive DIR] [--timeout SECONDS]
#
# Proves that WAL leaves this server: writes a marker, ends the segment and waits until the archiver has handed it over;
# with --archive also that the file is in DIR, whole. Connects as libpq's environment says (PGHOST, PGUSER, ...); the role
# needs pg_switch_wal and pg_logical_emit_message (a superuser has both).
# Exit code 0: it arrived; 1: it did not, and why; 2: wrong usage or not a primary.
set -euo pipefail
archive='' timeout=60
while [ $# -gt 0 ]; do
  case $1 in
    --archive) archive=$2; shift 2 ;;
    --timeout) timeout=$2; shift 2 ;;
    *) sed -n '2,8p' "$0" | cut -c3- >&2; exit 2 ;;
  esac
done
ask() { psql -X -A -t -q -v ON_ERROR_STOP=1 -d postgres -c "$1"; }
fail() { echo "check-archiving: $*" >&2; exit 1; }

[ "$(ask 'SELECT pg_is_in_recovery()')" = f ] || { echo "check-archiving: this is a standby; ask the primary" >&2; exit 2; }
[ "$(ask 'SHOW archive_mode')" != off ] || fail "archive_mode is off; turning it on needs a restart"
how=$(ask "SELECT string_agg(name, ' ') FROM pg_settings
           WHERE name IN ('archive_command', 'archive_library') AND setting NOT IN ('', '(disabled)')")
[ -n "$how" ] || fail "neither archive_command nor archive_library is set: WAL piles up in pg_wal"

# The name is taken before the switch: pg_walfile_name of a segment's end differs between versions.
ask "SELECT pg_logical_emit_message(false, 'check-archiving', 'marker')" >/dev/null
segment=$(ask 'SELECT pg_walfile_name(pg_current_wal_insert_lsn())')
ask 'SELECT pg_switch_wal()' >/dev/null
deadline=$((SECONDS + timeout))
# Without .backup and .history files, whose names are no segments; text order is WAL order on one timeline.
until [ "$(ask "SELECT last_archived_wal ~ '^[0-9A-F]{24}' AND left(last_archived_wal, 24) >= '$segment'
                FROM pg_stat_archiver")" = t ]; do
  if [ $SECONDS -ge $deadline ]; then
    fail "$segment was not archived within $timeout s; $(ask "SELECT format('%s failures, the last at %s with %s',
         failed_count, coalesce(last_failed_time::text, 'no time'), coalesce(last_failed_wal, 'no file'))
         FROM pg_stat_archiver"); the server's log says why"
  fi
  sleep 0.2
done
if [ -n "$archive" ]; then
  [ -f "$archive/$segment" ] || fail "the archiver reported success, but $archive/$segment is not there"
  size=$(ask "SELECT setting FROM pg_settings WHERE name = 'wal_segment_size'")
  [ "$(stat -c %s "$archive/$segment")" = "$size" ] || fail "$archive/$segment is not $size bytes long"
fi
echo "$segment arrived"
