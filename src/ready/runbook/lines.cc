#include "ready/runbook/lines.h"

#include "pg/client/conninfo.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ready {

RunbookCommand ours(const RunbookFacts& facts, std::string_view words, ops::Needs needs,
                    std::string_view more, Effect effect) {
  const bool starts_servers = words == "restore" || words == "recover" || words == "rollback";
  if (!starts_servers || facts.stated_bin.empty())
    return {ops::command_line(facts.us, words, needs, more), effect};
  const std::string with_bin = cat("--pg-bin ", shell_quote(facts.stated_bin), " ", more);
  return {ops::command_line(facts.us, words, needs, with_bin), effect};
}

RunbookCommand program(const RunbookFacts& facts, std::string_view name, std::string_view more,
                       Effect effect) {
  const std::string path = facts.bin.empty() ? std::string(name) : join_path(facts.bin, name);
  return {cat(ops::as_owner(ops::Person::root, facts.os_user), shell_quote(path), " ", more), effect};
}

RunbookCommand sql(const RunbookFacts& facts, std::string_view statement, Effect effect,
                   const std::string& database) {
  std::string connect = facts.us.conninfo.empty() ? std::string("dbname=postgres") : facts.us.conninfo;
  std::string words = cat("-X -d ", shell_quote(connect));
  if (!database.empty()) words += cat(" -c ", shell_quote(cat("\\connect ", sql_identifier(database))));
  return program(facts, "psql", cat(words, " -c ", shell_quote(statement)), effect);
}

namespace {

// "-h /run/postgresql -p 5432 "
std::string local_server(const RunbookFacts& facts) {
  std::string where;
  if (const std::string sockets = pg::socket_directory(facts.us.conninfo); !sockets.empty())
    where += cat("-h ", shell_quote(sockets), " ");
  if (!facts.port.empty()) where += cat("-p ", facts.port, " ");
  return where;
}

}  // namespace

RunbookCommand owner_sql(const RunbookFacts& facts, std::string_view statement, Effect effect) {
  return program(facts, "psql", cat("-X ", local_server(facts), "-d postgres -c ", shell_quote(statement)),
                 effect);
}

RunbookCommand vacuum_all(const RunbookFacts& facts, std::string_view more) {
  return program(facts, "vacuumdb", cat(local_server(facts), "--all ", more), Effect::changes);
}

RunbookCommand shell(std::string line, Effect effect) {
  return {std::move(line), effect};
}

RunbookCommand start_server(const RunbookFacts& facts) {
  if (!facts.debian_cluster.empty())
    return shell(cat("pg_ctlcluster ", facts.debian_cluster, " start"), Effect::changes);
  return program(facts, "pg_ctl", cat("-D ", shell_quote(facts.pgdata), " start"), Effect::changes);
}

RunbookCommand stop_server(const RunbookFacts& facts) {
  if (!facts.debian_cluster.empty())
    return shell(cat("pg_ctlcluster ", facts.debian_cluster, " stop -m fast"), Effect::changes);
  return program(facts, "pg_ctl", cat("-D ", shell_quote(facts.pgdata), " -m fast stop"), Effect::changes);
}

// No time at all: whoever pastes the command without reading is refused before anything is touched.
std::string moment_to_fill_in() {
  return "YYYY-MM-DD HH:MM:SS+00";
}

std::string beside(const RunbookFacts& facts) {
  return ops::copy_directory(facts.pgdata.empty() ? std::nullopt : std::optional(facts.pgdata), "copy");
}

std::string measured_minutes(const RunbookFacts& facts) {
  if (!facts.repository_problem.empty())
    return cat("not known when this was written: the repository could not be read (",
               facts.repository_problem, ")");
  const Rehearsal* newest = newest_passed(facts.rehearsals);
  if (newest == nullptr || !newest->rto_seconds)
    return "never measured: no drill of this cluster has passed. Nobody knows how long this takes.";
  std::string text =
      cat(format_seconds(*newest->rto_seconds), " until the first answer (", to_string(newest->kind), " of ",
          newest->time.to_string(), ", ", format_bytes(static_cast<uint64_t>(newest->plain_bytes)), " and ",
          format_bytes(static_cast<uint64_t>(newest->wal_bytes)), " of WAL");
  std::vector<std::string> phases;
  for (const auto& [name, seconds] : newest->phases)
    if (seconds >= 1) phases.push_back(cat(name, " ", format_seconds(seconds)));
  if (!phases.empty()) text += cat("; ", join(phases, ", "));
  text += ")";
  if (facts.rto_target) text += cat("; the target is ", format_seconds(*facts.rto_target));
  return text;
}

}  // namespace lifeboat::ready
