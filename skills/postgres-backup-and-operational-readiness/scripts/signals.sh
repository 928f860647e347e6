#!/bin/bash
# signals.sh
#
# Reads the signals of one PostgreSQL server (13 to 18) that decide whether it can be recovered and goes on working, and
# compares them with their thresholds. Changes nothing. Connects as libpq's environment says; a role with pg_monitor is
# enough. One line each: ok, WARNING or CRITICAL, the signal, its value, and the first thing to do.
# Exit code 0: all ok; 1: a warning; 2: something is critical, or the server does not answer.
set -euo pipefail
worst=0
query() { psql -X -A -t -q -F ' ' -v ON_ERROR_STOP=1 -d postgres -c "$1"; }

# judge NAME VALUE WARNING CRITICAL UNIT ACTION: whole numbers; more is worse
judge() {
  local verdict=ok
  if ! [[ $2 =~ ^[0-9]+$ ]]; then # a signal that cannot be read is not a good one
    worst=2
    printf 'CRITICAL %-22s could not be read\n' "$1"
    return
  fi
  if [ "$2" -ge "$4" ]; then
    verdict=CRITICAL worst=2
  elif [ "$2" -ge "$3" ]; then
    verdict=WARNING
    [ $worst -gt 1 ] || worst=1
  fi
  printf '%-8s %-22s %s %s (warning %s, critical %s)%s\n' "$verdict" "$1" "$2" "$5" "$3" "$4" \
    "$([ $verdict = ok ] || printf ': %s' "$6")"
}

version=$(query 'SHOW server_version_num') || exit 2
[ "$version" -ge 130000 ] || { echo "signals: PostgreSQL 13 or later is needed" >&2; exit 2; }
# On a standby nothing is written; what is passed on comes from what was replayed.
position='CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END'
# Slots of their own for superusers, and since 16 for pg_use_reserved_connections: nobody else gets them.
reserved=$(query "SELECT sum(setting::int) FROM pg_settings
                  WHERE name IN ('superuser_reserved_connections', 'reserved_connections')")

judge archive_off "$(query "SELECT (NOT pg_is_in_recovery() AND current_setting('archive_mode') = 'off')::int")" 1 1 '' \
  "no WAL leaves this server unless it is streamed: set archive_mode, restart"
judge wal_archive_failing "$(query "SELECT coalesce(last_failed_time > last_archived_time, last_failed_time IS NOT NULL)::int
                                    FROM pg_stat_archiver")" 1 1 '' "the server's log has the command's words"
judge wal_archive_waiting "$(query "SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'")" 10 100 \
  segments "mend the destination; remove nothing from pg_wal"
judge replication_lag "$(query "SELECT coalesce(max(pg_wal_lsn_diff($position, replay_lsn)), 0)::bigint >> 20
  FROM pg_stat_replication")" 5 10 MB "look at the standby's disk and log"
judge replication_lag_time "$(query "SELECT coalesce(max(extract(epoch FROM replay_lag)), 0)::int FROM pg_stat_replication")" \
  5 10 s "look for a long query on the standby that holds replay back"
judge slots_hold_wal "$(query "SELECT coalesce(max(pg_wal_lsn_diff($position, restart_lsn)), 0)::bigint >> 20
  FROM pg_replication_slots")" 10240 51200 MB "who owns the slot? drop it only when nobody does"
judge xid_wraparound "$(query 'SELECT max(age(datfrozenxid)) FROM pg_database')" 500000000 1000000000 transactions \
  "find what holds the horizon, then VACUUM the oldest tables"
judge multixact_wraparound "$(query 'SELECT max(mxid_age(datminmxid)) FROM pg_database')" 500000000 1000000000 multixacts \
  "VACUUM the tables with the oldest relminmxid"
judge connections "$(query "SELECT 100 * count(*) / (current_setting('max_connections')::int - $reserved)
  FROM pg_stat_activity WHERE backend_type = 'client backend'")" 80 90 '%' "find what is idle in transaction; pool, do not raise"
judge oldest_transaction "$(query "SELECT coalesce(max(extract(epoch FROM now() - xact_start)), 0)::int
  FROM pg_stat_activity WHERE backend_type = 'client backend'")" 3600 21600 s "end it, or ask its owner"
judge prepared_transactions "$(query "SELECT coalesce(max(extract(epoch FROM now() - prepared)), 0)::int
  FROM pg_prepared_xacts")" 3600 21600 s "a forgotten one stops VACUUM for ever: COMMIT or ROLLBACK PREPARED"
judge checksum_failures "$(query 'SELECT coalesce(sum(checksum_failures), 0) FROM pg_stat_database')" 1 1 pages \
  "damaged pages: copy first, repair on the copy"
exit $worst
