#include "ops/drill/evidence.h"

#include <unistd.h>

#include <nlohmann/json.hpp>

#include "ops/catalogue/proof.h"
#include "repo/evidence.h"
#include "util/clock.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr size_t kMostLookedAt = 50;  // records, newest first

std::string dump(const ordered_json& document) {
  return document.dump(-1, ' ', false, json::error_handler_t::replace);
}

ordered_json counts_json(const CountedRows& counted) {
  ordered_json counts = ordered_json::array();
  for (const RowCount& count : counted.counts) {
    counts.push_back(
        {count.database, count.schema, count.table, count.database_oid, count.file_node, count.rows});
  }
  return counts;
}

std::string details(const DrillOptions& options, const DrillOutcome& outcome, const CountedRows& counted) {
  ordered_json checks = ordered_json::array();
  for (const DrillCheck& check : outcome.checks) {
    checks.push_back({{"id", check.id},
                      {"result", to_string(check.result)},
                      {"detail", check.detail},
                      {"seconds", check.seconds}});
  }
  const RestorePhases& phases = outcome.phases;
  ordered_json more = {{"target", outcome.plan.asked.to_string()},
                       {"server_version_num", outcome.plan.backup.server_version_num},
                       {"plain_bytes", outcome.plan.bytes},
                       {"wal_bytes", outcome.plan.reach.wal_bytes},
                       {"jobs", options.scratch.jobs},
                       {"medium", to_string(outcome.medium)},
                       {"fetched_bytes", outcome.fetched_bytes},
                       {"rotation_days", counted.scope.days},
                       {"rotation_turn", counted.scope.turn},
                       {"phases",
                        {{"preflight", phases.preflight},
                         {"copy", phases.copy},
                         {"configure", phases.configure},
                         {"sync", phases.sync},
                         {"mount", outcome.mount_seconds},
                         {"start", phases.start},
                         {"recovery", phases.recovery},
                         {"promote", phases.promote},
                         {"first_query", outcome.first_query_seconds},
                         {"checks", outcome.checks_seconds}}},
                       {"checks", checks},
                       {"rpo_how", outcome.loss.how},
                       {"lost_commits", outcome.loss.lost_commits},
                       {"next_xid", counted.next_xid},
                       {"counts", counts_json(counted)}};
  if (outcome.recovery) {
    more["end_lsn"] = outcome.recovery->replayed.to_string();
    more["end_timeline"] = outcome.plan.reach.timeline.value;
    more["last_commit_us"] = outcome.recovery->last_commit.unix_us;
  }
  if (outcome.beacon)
    more["beacon"] = {{"written_us", outcome.beacon->written.unix_us}, {"seconds", outcome.beacon->seconds}};
  if (options.rto_seconds) more["rto_target_seconds"] = *options.rto_seconds;
  if (options.rpo_seconds) more["rpo_target_seconds"] = *options.rpo_seconds;
  more["host"] = [] {
    char name[256] = {};
    gethostname(name, sizeof name - 1);
    return std::string(name);
  }();
  more["tool_version"] = options.tool_version;
  return dump(more);
}

Result<std::string> store(const repo::LineageRepo& repo, const ProofRecord& record) {
  return repo::write_evidence(repo, record.time, encode_proof(record));
}

}  // namespace

Result<std::string> write_drill_evidence(const repo::LineageRepo& repo, const DrillOptions& options,
                                         const DrillOutcome& outcome, const CountedRows& counted) {
  ProofRecord record;
  record.kind = "drill";
  record.time = {Clock::system().unix_us()};
  ProofRecord::Item item{outcome.plan.backup.id,
                         outcome.proven ? ProofLevel::asserted : ProofLevel::restored,
                         outcome.proven,
                         {}};
  item.by_questions = !outcome.proven;
  for (const DrillCheck& check : outcome.checks) {
    if (outcome.proven || check.result != CheckResult::failed) continue;
    item.problems.push_back(cat(check.id, ": ", check.detail));
    item.by_questions = item.by_questions && check.beside_the_backup;
  }
  record.backups.push_back(std::move(item));
  record.rto_seconds = outcome.rto_seconds;
  record.rpo_seconds = outcome.loss.seconds;
  record.more = details(options, outcome, counted);
  return store(repo, record);
}

Result<std::string> write_failed_drill(const repo::LineageRepo& repo, const DrillOptions& options,
                                       const BackupId& backup, const Error& error) {
  ProofRecord record;
  record.kind = "drill";
  record.time = {Clock::system().unix_us()};
  record.backups.push_back({backup, ProofLevel::none, false, {error.to_string()}});
  record.more =
      dump({{"target", options.scratch.target.to_string()}, {"tool_version", options.tool_version}});
  return store(repo, record);
}

Result<std::optional<EarlierCounts>> read_earlier_counts(const repo::LineageRepo& repo,
                                                         const WalHistory& history, Timeline timeline,
                                                         Lsn end, const DrillScope& scope) {
  const StoredTimeline* here = history.find(timeline);
  if (here == nullptr || !here->history) return std::optional<EarlierCounts>();
  TRY_ASSIGN(std::vector<std::string> ids, repo::list_evidence(repo));
  size_t looked_at = 0;
  for (auto id = ids.rbegin(); id != ids.rend() && looked_at < kMostLookedAt; ++id, ++looked_at) {
    TRY_ASSIGN(std::string text, repo::read_evidence(repo, *id));
    json document = json::parse(text, nullptr, false);
    if (!document.is_object() || document.value("kind", "") != "drill" || !document.contains("end_lsn"))
      continue;
    try {
      EarlierCounts earlier;
      earlier.evidence = *id;
      auto lsn = Lsn::parse(document.at("end_lsn").get<std::string>());
      if (!lsn) continue;
      earlier.end = *lsn;
      earlier.timeline = {document.at("end_timeline").get<uint32_t>()};
      earlier.next_xid = document.at("next_xid").get<uint64_t>();
      const int days = document.value("rotation_days", 1);
      const DrillScope counted{days, document.value("rotation_turn", 0)};
      if (!counted.all() && counted != scope) continue;
      if (earlier.end > end || !here->history->contains(earlier.timeline, earlier.end)) continue;
      for (const json& row : document.at("counts")) {
        earlier.counts.push_back({row.at(0).get<std::string>(), row.at(1).get<std::string>(),
                                  row.at(2).get<std::string>(), row.at(4).get<uint32_t>(),
                                  row.at(3).get<Oid>(), row.at(5).get<int64_t>()});
      }
      return std::optional<EarlierCounts>(std::move(earlier));
    } catch (const json::exception&) {
      continue;  // evidence of another shape proves nothing about rows
    }
  }
  return std::optional<EarlierCounts>();
}

}  // namespace lifeboat::ops
