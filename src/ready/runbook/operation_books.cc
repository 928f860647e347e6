// Runbooks for a server that runs, and soon will not.
#include "ready/runbook/books.h"
#include "ready/runbook/lines.h"
#include "util/strings.h"

namespace lifeboat::ready {

using ops::Needs;

Runbook archive_failure(const RunbookFacts& facts) {
  Runbook book;
  book.symptoms = {"signals wal_archive_lag, archive_off or wal_gaps",
                   "pg_wal grows; .ready files in archive_status",
                   "\"archive command failed\" in the server's log"};
  book.diagnostic = {
      {"Names the first thing on the way that is broken, and what mends it:",
       {ours(facts, "doctor", Needs::server)}},
      {"What the archiver says, and what the repository has:",
       {sql(facts, "SELECT * FROM pg_stat_archiver"), ours(facts, "wal status", Needs::server)}},
      {"How long until the disk of pg_wal is full:",
       {shell(cat("df -h ", shell_quote(facts.pgdata + "/pg_wal")))}}};
  book.action = {
      {"Do what doctor prints. The archiver tries again by itself, at most a minute later.", {}},
      {"When the repository is full, what would expiry free?",
       {ours(facts, "expire", Needs::repository, cat(facts.expiry, " --dry-run"))}},
      {"When the disk of pg_wal fills first, give it room (grow the volume). A clean stop keeps all WAL; a "
       "full disk is a PANIC.",
       {}}};
  book.afterwards = {
      {"A marker travels to the repository:", {ours(facts, "wal check", Needs::server, "", Effect::changes)}},
      {"Where WAL was lost, recovery ends at the hole until there is a new backup:",
       {ours(facts, "backup", Needs::server, "", Effect::changes)}}};
  book.never = {"delete from pg_wal",
                "set archive_command = '/bin/true': it breaks recovery and says nothing"};
  book.minutes =
      cat("until data is at risk: ", facts.rpo_target ? cat("the RPO is ", format_seconds(*facts.rpo_target))
                                                      : std::string("no RPO is stated"));
  return book;
}

Runbook backup_failure(const RunbookFacts& facts) {
  Runbook book;
  book.symptoms = {"signals backup_age, backup_failures or job_failures",
                   cat("the newest backup that is known here is ",
                       facts.newest_backup.empty() ? "none" : facts.newest_backup)};
  book.diagnostic = {
      {"Which failed, and why?", {ours(facts, "list", Needs::repository, "--all")}},
      {"What is wrong with server, role, slots, repository?", {ours(facts, "doctor", Needs::server)}}};
  book.action = {{"Mend what they name, then take one by hand. It takes over what the failed one had copied.",
                  {ours(facts, "backup", Needs::server, "", Effect::changes)}}};
  book.afterwards = {
      {"Read it back.", {ours(facts, "verify", Needs::repository, "--backup latest", Effect::changes)}}};
  book.never = {"expire older backups to make room before a newer one is verified"};
  book.minutes =
      "the older backups and all WAL since then still recover to any moment; replay takes longer each day";
  return book;
}

Runbook wraparound(const RunbookFacts& facts) {
  Runbook book;
  const std::string_view sparing = facts.major >= 14 ? " --no-index-cleanup --no-truncate" : "";
  book.symptoms = {"signals xid_wraparound or multixact_wraparound",
                   "\"database must be vacuumed within N transactions\" in the log",
                   "\"database is not accepting commands to avoid wraparound data loss\""};
  book.diagnostic = {
      {"How near is it?",
       {sql(facts,
            "SELECT datname, age(datfrozenxid) AS xid_age, mxid_age(datminmxid) AS multixact_age FROM "
            "pg_database ORDER BY 2 DESC")}},
      {"What holds it back: old transactions, prepared transactions, slots?",
       {sql(facts,
            "SELECT pid, usename, state, xact_start, age(backend_xmin) FROM pg_stat_activity WHERE "
            "backend_xmin "
            "IS NOT NULL ORDER BY 5 DESC LIMIT 10"),
        sql(facts,
            "SELECT gid, prepared, owner, database, age(transaction) FROM pg_prepared_xacts ORDER BY 5 DESC"),
        sql(facts,
            "SELECT slot_name, slot_type, active, age(xmin), age(catalog_xmin) FROM pg_replication_slots "
            "ORDER BY "
            "greatest(age(xmin), age(catalog_xmin)) DESC NULLS LAST")}},
      {"The oldest tables of the database at hand (repeat it in the database that is oldest):",
       {sql(facts,
            "SELECT oid::regclass, age(relfrozenxid), mxid_age(relminmxid), "
            "pg_size_pretty(pg_total_relation_size(oid)) FROM "
            "pg_class "
            "WHERE relkind IN ('r', 'm', 't') ORDER BY 2 DESC LIMIT 10")}}};
  book.action = {
      {"End what holds it back first, else vacuum achieves nothing: ask the owner of the transaction, then "
       "pg_terminate_backend(PID); ROLLBACK PREPARED 'GID'; a slot that nobody reads is dropped by whoever "
       "owns it.",
       {}},
      {"Then the oldest tables, without what can wait (indexes and truncation, since PostgreSQL 14 and 12), "
       "by "
       "transaction ids and by multixacts, whichever is near:",
       {vacuum_all(facts, cat("--min-xid-age=200000000", sparing)),
        vacuum_all(facts, cat("--min-mxid-age=200000000", sparing))}}};
  book.afterwards = {
      {"Raise autovacuum's means (autovacuum_max_workers, autovacuum_vacuum_cost_limit) if it does not "
       "keep up by itself.",
       {}}};
  book.never = {
      "single-user mode as the first thing: a plain VACUUM still works in a server that refuses commands",
      "VACUUM FULL: it needs a transaction id and twice the room", "run pg_resetwal"};
  book.minutes = "not measured by drills";
  return book;
}

Runbook bloat(const RunbookFacts& facts) {
  Runbook book;
  const std::string database =
      facts.bloated.empty()
          ? "Statistics are kept by database: look into the one that status names, by \\connect in psql."
          : cat("Statistics are kept by database; when this was written, the worst was in ", facts.bloated,
                ".");
  book.symptoms = {"signals table_bloat or index_bloat", "queries get slower while rows stay as many",
                   "storage grows without new data"};
  book.diagnostic = {
      {"Which are estimated worst?", {ours(facts, "status", Needs::server)}},
      {cat("Does autovacuum come round? ", database),
       {sql(facts,
            "SELECT relid::regclass, n_live_tup, n_dead_tup, last_autovacuum, autovacuum_count FROM "
            "pg_stat_user_tables ORDER BY n_dead_tup DESC LIMIT 10",
            Effect::looks, facts.bloated)}},
      {"Is something old keeping dead rows?",
       {sql(facts,
            "SELECT pid, usename, state, xact_start, query FROM pg_stat_activity WHERE xact_start < now() - "
            "interval '1 hour' ORDER BY xact_start")}}};
  book.action = {
      {"End what is old, then vacuum what is worst; it blocks nobody:", {vacuum_all(facts, "--analyze")}},
      {"Indexes are made anew beside the old ones: REINDEX INDEX CONCURRENTLY name; look for invalid ones "
       "after.",
       {sql(facts, "SELECT indexrelid::regclass FROM pg_index WHERE NOT indisvalid", Effect::looks,
            facts.bloated)}}};
  book.afterwards = {
      {"Room comes back to the disk only by pg_repack, or by VACUUM FULL in a maintenance window.", {}}};
  book.never = {"VACUUM FULL on a table that is in use: it locks out everybody and needs twice the room"};
  book.minutes = "not measured by drills";
  return book;
}

Runbook storage_exhaustion(const RunbookFacts& facts) {
  Runbook book;
  book.symptoms = {"signals storage_used or repository_used", "\"No space left on device\" in the log",
                   "the server stopped with a PANIC on pg_wal"};
  const std::string directories = cat(shell_quote(facts.pgdata), " ", shell_quote(facts.pgdata + "/pg_wal"));
  book.diagnostic = {
      {"Which file system, and what grows?",
       {shell(cat("df -h ", directories)),
        shell(cat("du -xsh ", shell_quote(facts.pgdata), "/pg_wal/ ", shell_quote(facts.pgdata), "/base/"))}},
      {"pg_wal grows because it is not archived, or because a slot keeps it:",
       {ours(facts, "wal status", Needs::server),
        sql(facts,
            "SELECT slot_name, active, pg_size_pretty(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)) "
            "FROM "
            "pg_replication_slots")}},
      {"Data: by database, and temporary files:",
       {sql(facts,
            "SELECT datname, pg_size_pretty(pg_database_size(datname)), pg_size_pretty(temp_bytes) AS temp "
            "FROM "
            "pg_stat_database WHERE datname IS NOT NULL ORDER BY pg_database_size(datname) DESC")}},
      {"The repository: what would expiry free?",
       {ours(facts, "expire", Needs::repository, cat(facts.expiry, " --dry-run"))}}};
  book.action = {
      {"Grow the volume, or move logs and other strangers away. Mend archiving (runbook archive-failure); a "
       "slot that nobody reads is dropped by whoever owns it.",
       {}},
      {"A server that stopped starts again once there is room; nothing is lost.", {start_server(facts)}}};
  book.afterwards = {{"max_slot_wal_keep_size keeps slots from filling the disk again.",
                      {sql(facts, "SHOW max_slot_wal_keep_size")}}};
  book.never = {"delete from pg_wal, pg_xact or base, whatever their names look like",
                "turn archiving off to save room: the next recovery ends there"};
  book.minutes = "not measured by drills; `lifeboat status` shows when a file system will be full";
  return book;
}

Runbook connection_exhaustion(const RunbookFacts& facts) {
  Runbook book;
  book.symptoms = {"signal connections", "\"sorry, too many clients already\"",
                   "\"remaining connection slots are reserved\""};
  book.diagnostic = {
      {"Who has them? A superuser still gets in (superuser_reserved_connections), so this goes by the data's "
       "owner.",
       {owner_sql(
           facts,
           "SELECT datname, usename, application_name, state, count(*), max(now() - state_change) AS since "
           "FROM "
           "pg_stat_activity WHERE backend_type = 'client backend' GROUP BY 1, 2, 3, 4 ORDER BY 5 DESC "
           "LIMIT 20")}},
      {"Who waits for whom?",
       {owner_sql(
           facts,
           "SELECT pid, pg_blocking_pids(pid) AS blocked_by, wait_event_type, left(query, 60) AS query FROM "
           "pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0")}},
      {"When the reserved connections are used up too, nobody gets in; the host still shows each backend, "
       "who "
       "has it and what it does.",
       {shell("ps -C postgres -o pid,etime,args")}}};
  book.action = {
      {"End what idles inside a transaction for more than five minutes; it holds locks and does nothing:",
       {owner_sql(
           facts,
           "SELECT pid, usename, pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in "
           "transaction' AND state_change < now() - interval '5 minutes'",
           Effect::changes)}},
      {"When nobody gets in: end one that is \"idle in transaction\" by its process, which is what "
       "pg_terminate_backend() does, and go on as above.",
       {program(facts, "pg_ctl", "kill TERM PID", Effect::changes)}},
      {"Then have the application's pool made smaller, or its leak mended.", {}}};
  book.afterwards = {
      {"idle_in_transaction_session_timeout ends them by itself; a pooler comes before a higher "
       "max_connections, which needs a restart and memory.",
       {owner_sql(facts,
                  "SELECT name, setting FROM pg_settings WHERE name IN ('max_connections', "
                  "'superuser_reserved_connections', 'idle_in_transaction_session_timeout')")}}};
  book.never = {"kill -9 a backend: the whole server restarts",
                "restart the server to get rid of connections first thing"};
  book.minutes = "not measured by drills";
  return book;
}

}  // namespace lifeboat::ready
