// Runbooks in which data is brought back.
#include "ready/runbook/books.h"
#include "ready/runbook/lines.h"
#include "util/strings.h"

namespace lifeboat::ready {

using ops::Needs;

Runbook primary_loss(const RunbookFacts& facts) {
  Runbook book;
  book.symptoms = {cat("host ", facts.host, " does not answer, or its disks are gone"),
                   cat("no server runs in ", facts.pgdata, " and it does not start"),
                   "PANIC or \"could not read block\" in the server's log"};
  book.diagnostic = {
      {"Does it run, and what does the cluster's own file say?",
       {program(facts, "pg_ctl", cat("-D ", shell_quote(facts.pgdata), " status")),
        program(facts, "pg_controldata", shell_quote(facts.pgdata))}},
      {"To which moment could it be recovered? Needs the repository only; run it on any host.",
       {ours(facts, "wal status", Needs::repository), ours(facts, "list", Needs::repository)}}};
  book.action = {
      {"If host and disks are well, start it: crash recovery loses nothing.", {start_server(facts)}},
      {facts.patroni ? "Patroni promotes a standby by itself; look before anything else: patronictl list."
                     : "If there is a standby, promote it, as whoever owns failover has written, and make "
                       "sure that the "
                       "old primary cannot come back (power, network) before clients are let in.",
       {}},
      {"Else recover. First what would be done, how much would be lost, how long it takes; nothing is "
       "touched:",
       {ours(facts, "recover", Needs::server, "--failure primary-lost --dry-run")}},
      {"Then do it. An old data directory is kept aside, and its WAL that was not archived is stored first.",
       {ours(facts, "recover", Needs::server, "--failure primary-lost", Effect::changes)}},
      {"On another host: install PostgreSQL and lifeboat, bring the key, and restore into a new directory.",
       {ours(facts, "restore", Needs::repository,
             cat("--to ", shell_quote(facts.pgdata), " --start --archive-mode keep"), Effect::changes)}}};
  book.afterwards = {
      {"Is archiving on, and does it reach the repository?",
       {ours(facts, "doctor", Needs::server), ours(facts, "wal check", Needs::server, "", Effect::changes)}},
      {"A backup of the new timeline at once, and statistics for the planner.",
       {ours(facts, "backup", Needs::server, "", Effect::changes),
        vacuum_all(facts, "--analyze-in-stages")}}};
  book.never = {"delete or overwrite the old data directory: it may hold the last WAL",
                "run pg_resetwal: it makes a server that starts and lies",
                "start the old primary once another one is open for clients"};
  book.minutes = measured_minutes(facts);
  return book;
}

Runbook data_changed(const RunbookFacts& facts) {
  const std::string moment = moment_to_fill_in();
  const std::string copy =
      cat("--failure data-changed --target-time ", shell_quote(moment), " --to ", shell_quote(beside(facts)),
          " --port ", parse_u64(facts.port).value_or(5432) + 1);
  Runbook book;
  book.symptoms = {"a table, schema or database was dropped or truncated",
                   "a statement changed or deleted rows that it should not have",
                   "an application wrote nonsense since a known moment"};
  book.diagnostic = {{"When, and by which transaction? One of:",
                      {ours(facts, "wal find", Needs::repository, "--dropped"),
                       ours(facts, "wal find", Needs::repository, "--truncated"),
                       ours(facts, "wal find", Needs::repository, "--deletes-over 1000"),
                       ours(facts, "wal find", Needs::repository, "--busiest"),
                       ours(facts, "wal find", Needs::repository, cat("--around ", shell_quote(moment)))}}};
  book.action = {
      {"Stop what still writes wrong data (the application, not the server).", {}},
      {cat("In what follows put the moment that you found in the place of ", moment,
           ", with its zone: the last one at which the data was right."),
       {}},
      {"Look before you change anything: a copy of the moment before, beside the cluster, which goes on.",
       {ours(facts, "recover", Needs::server, cat(copy, " --dry-run"))}},
      {"The same for real; take from the copy what was lost (pg_dump, COPY), or let tables be brought into a "
       "schema of "
       "their own: lifeboat restore --table.",
       {ours(facts, "recover", Needs::server, copy, Effect::changes)}},
      {"Only when everything has to go back: the whole cluster, in its place. What came after the moment "
       "stays in the "
       "directory that is kept aside.",
       {ours(facts, "rollback", Needs::server, cat("--target-time ", shell_quote(moment), " --dry-run")),
        ours(facts, "rollback", Needs::server,
             cat("--target-time ", shell_quote(moment), " --stop --preserve"), Effect::changes)}}};
  book.afterwards = {
      {"What is different between the copy and the cluster, by key, is what lifeboat diff shows.", {}},
      {"After a rollback in place: a backup of the new timeline.",
       {ours(facts, "backup", Needs::server, "", Effect::changes)}}};
  book.never = {"roll the whole cluster back before a copy was looked at: everything since then goes with it",
                "merge rows into the live table from memory; compare first"};
  book.minutes = measured_minutes(facts);
  return book;
}

Runbook region_lost(const RunbookFacts& facts) {
  Runbook book;
  book.symptoms = {cat("host ", facts.host, ", its disks and its site are gone, perhaps for long")};
  book.diagnostic = {{cat("Is the repository still there? ", facts.us.where.url, " (", facts.repository_place,
                          "). If it went with the site, use the copy of it, with --repo."),
                      {ours(facts, "list", Needs::repository), ours(facts, "wal status", Needs::repository)}},
                     {cat("Is a key at hand? ",
                          facts.keys.empty() ? "The repository is not encrypted." : join(facts.keys, "; ")),
                      {ours(facts, "key check", Needs::repository)}}};
  book.action = {
      {cat("On a host elsewhere: PostgreSQL ", facts.major, ", lifeboat, the key, ",
           format_bytes(facts.bytes), " of room and some for WAL. First what would be done:"),
       {ours(facts, "restore", Needs::repository, cat("--to ", shell_quote(facts.pgdata), " --dry-run"))}},
      {"Then restore; it can answer queries within seconds while the rest arrives (--instant).",
       {ours(facts, "restore", Needs::repository,
             cat("--to ", shell_quote(facts.pgdata), " --start --archive-mode keep"), Effect::changes),
        ours(facts, "restore", Needs::repository,
             cat("--to ", shell_quote(facts.pgdata), " --instant --archive-mode keep"), Effect::changes)}},
      {"Fence the lost site before clients are let in: its server must not come back as a primary.", {}}};
  book.afterwards = {
      {"Register the new host, turn archiving on, back up.",
       {ours(facts, "doctor", Needs::server), ours(facts, "backup", Needs::server, "", Effect::changes)}}};
  book.never = {"let both sites take writes", "let expire run while the loss is being looked at"};
  book.minutes = measured_minutes(facts);
  return book;
}

}  // namespace lifeboat::ready
