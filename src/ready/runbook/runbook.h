// Runbooks: symptom → first diagnostic → safe first action, with this cluster's own names, paths, commands
// and the minutes that drills measured (RK1). Inputs for people who know their house, not the whole of it.
//
// Pure over RunbookFacts. What they print stands on its own: absolute programs, repository, key, no
// configuration file and no environment, so that a sheet of paper is enough when everything is down.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ops/follow_up.h"
#include "ready/report/facts.h"

namespace lifeboat::ready {

struct RunbookFacts {
  std::string cluster;
  Timestamp written;
  std::string owner;  // whom to call; "" when nobody is named
  std::string host;   // of the database
  std::string os_user = "postgres";
  int major = 0;
  std::string system_id;
  std::string pgdata;
  std::string bin;             // PostgreSQL's programs; "" when they were not found
  std::string stated_bin;      // --pg-bin, which our own commands then have too
  std::string debian_cluster;  // "15 main"
  std::string port;
  bool patroni = false;
  std::vector<std::string> tablespaces;  // "fast at /mnt/fast"
  ops::FollowUp us;                      // program, repository, key, connection, data directory
  std::string repository_place;
  std::string repository_problem;         // why it cannot be read: backups and minutes are then not known
  std::vector<std::string> keys;          // "key-file, slot …"
  std::string expiry = "--pitr-days 30";  // options of expire: the rules that are stated, else an example
  std::string newest_backup;
  std::string newest_verified;
  uint64_t bytes = 0;                // of the newest backup
  std::optional<double> rpo_target;  // seconds
  std::optional<double> rto_target;
  std::vector<Rehearsal> rehearsals;  // newest first
  std::string from;                   // "the running server", "the newest backup's manifest"
  std::string bloated;                // database of the relation that is estimated worst; "": of none
};

// The server where it answers, else what the newest backup recorded of it.
RunbookFacts runbook_facts(const ReportFacts& facts, const ops::RepoLocation& where);

enum class Effect : uint8_t { looks, changes };
struct RunbookCommand {
  std::string line;  // to be pasted into a shell, by root or by the data's owner
  Effect effect = Effect::looks;
};
struct RunbookStep {
  std::string says;
  std::vector<RunbookCommand> commands;
};

struct Runbook {
  std::string id;  // "primary-loss"
  std::string title;
  std::vector<std::string> symptoms;
  std::vector<RunbookStep> diagnostic;
  std::vector<RunbookStep> action;
  std::vector<RunbookStep> afterwards;
  std::vector<std::string> never;
  std::string minutes;
};

struct RunbookInfo {
  std::string_view id;
  std::string_view title;
  Runbook (*make)(const RunbookFacts& facts) = nullptr;
};
std::span<const RunbookInfo> runbook_infos();

// All of them, or the one with that id; empty when there is none of that id.
std::vector<Runbook> make_runbooks(const RunbookFacts& facts, std::string_view id = "");

struct Review {
  std::string by;  // "" : nobody
  Timestamp at;
};
// Markdown that reads as plain text; prose is wrapped at 100 columns, commands stand on lines of their own.
std::string runbook_markdown(const RunbookFacts& facts, const Runbook& runbook, const Review& review);

}  // namespace lifeboat::ready
