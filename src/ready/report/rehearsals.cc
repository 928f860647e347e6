#include "ready/report/rehearsals.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "repo/evidence.h"
#include "util/strings.h"

namespace lifeboat::ready {
namespace {

using nlohmann::json;

std::optional<double> number(const json& document, const char* name) {
  auto found = document.find(name);
  if (found == document.end() || !found->is_number()) return std::nullopt;
  return found->get<double>();
}

std::string text_of(const json& document, const char* name) {
  auto found = document.find(name);
  return found != document.end() && found->is_string() ? found->get<std::string>() : "";
}

Rehearsal read(std::string_view id, const json& document, RehearsalKind kind) {
  Rehearsal rehearsal;
  rehearsal.id = id;
  rehearsal.kind = kind;
  rehearsal.time = {document.at("time_us").get<int64_t>()};
  const json& backup = document.at("backups").at(0);
  rehearsal.backup = backup.at("id").get<std::string>();
  rehearsal.passed = backup.at("passed").get<bool>();
  rehearsal.problems = backup.value("problems", std::vector<std::string>());
  rehearsal.target = text_of(document, "target");
  rehearsal.point_in_time = !rehearsal.target.empty() && !rehearsal.target.starts_with("latest") &&
                            !rehearsal.target.starts_with("immediate");
  if (auto reached = number(document, "last_commit_us"))
    rehearsal.last_commit = {static_cast<int64_t>(*reached)};
  rehearsal.medium = text_of(document, "medium");
  rehearsal.host = text_of(document, "host");
  rehearsal.rto_seconds = number(document, "rto_seconds");
  rehearsal.rpo_seconds = number(document, "rpo_seconds");
  rehearsal.rto_target_seconds = number(document, "rto_target_seconds");
  rehearsal.rpo_target_seconds = number(document, "rpo_target_seconds");
  rehearsal.rpo_how = text_of(document, "rpo_how");
  rehearsal.plain_bytes = number(document, "plain_bytes").value_or(0);
  rehearsal.wal_bytes = number(document, "wal_bytes").value_or(0);
  if (auto phases = document.find("phases"); phases != document.end() && phases->is_object()) {
    for (const auto& [name, seconds] : phases->items())
      if (seconds.is_number()) rehearsal.phases.emplace_back(name, seconds.get<double>());
  }
  return rehearsal;
}

}  // namespace

std::string_view to_string(RehearsalKind kind) {
  return kind == RehearsalKind::drill ? "drill" : "recovery";
}

std::optional<Rehearsal> parse_rehearsal(std::string_view id, std::string_view text) {
  const json document = json::parse(text, nullptr, false);
  if (!document.is_object()) return std::nullopt;
  const std::string kind = text_of(document, "kind");
  if (kind != "drill" && kind != "recovery") return std::nullopt;
  try {
    return read(id, document, kind == "drill" ? RehearsalKind::drill : RehearsalKind::recovery);
  } catch (const json::exception&) {
    return std::nullopt;
  }
}

Result<std::vector<Rehearsal>> read_rehearsals(const repo::LineageRepo& repo, size_t most,
                                               std::optional<RehearsalKind> only) {
  std::vector<Rehearsal> found;
  TRY_ASSIGN(std::vector<std::string> ids, repo::list_evidence(repo));
  for (auto id = ids.rbegin(); id != ids.rend() && found.size() < most; ++id) {
    auto text = repo::read_evidence(repo, *id);
    if (!text) continue;
    auto rehearsal = parse_rehearsal(*id, *text);
    if (rehearsal && (!only || rehearsal->kind == *only)) found.push_back(std::move(*rehearsal));
  }
  // Ids are ordered by the second only.
  std::ranges::stable_sort(found, std::greater(), [](const Rehearsal& one) { return one.time; });
  return found;
}

std::optional<WalVerdict> parse_wal_verdict(std::string_view text) {
  const json document = json::parse(text, nullptr, false);
  if (!document.is_object() || text_of(document, "kind") != "verify" || !document.contains("wal_problems"))
    return std::nullopt;
  try {
    return WalVerdict{{document.at("time_us").get<int64_t>()},
                      document.at("wal_problems").get<std::vector<std::string>>()};
  } catch (const json::exception&) {
    return std::nullopt;
  }
}

std::optional<WalVerdict> read_wal_verdict(const repo::LineageRepo& repo) {
  constexpr size_t kMostLookedAt = 50;
  auto ids = repo::list_evidence(repo);
  if (!ids) return std::nullopt;
  std::optional<WalVerdict> newest;
  size_t looked_at = 0;
  for (auto id = ids->rbegin(); id != ids->rend() && looked_at < kMostLookedAt; ++id, ++looked_at) {
    // Ids begin with the time, and are ordered by the second only.
    if (newest && *id < newest->time.to_compact()) break;
    auto text = repo::read_evidence(repo, *id);
    if (!text) continue;
    auto verdict = parse_wal_verdict(*text);
    if (verdict && (!newest || verdict->time > newest->time)) newest = std::move(verdict);
  }
  return newest;
}

std::vector<Rehearsal> rehearsals_of(const ops::RepoLocation& where, std::optional<Lineage> lineage) {
  auto repository = ops::open_repository(where);
  if (!repository) return {};
  auto chosen = ops::choose_lineage(*repository, where.cluster, lineage);
  if (!chosen) return {};
  auto rehearsals = read_rehearsals(chosen->repo);
  return rehearsals ? std::move(*rehearsals) : std::vector<Rehearsal>();
}

const Rehearsal* newest_passed(const std::vector<Rehearsal>& rehearsals, bool point_in_time) {
  auto found = std::ranges::find_if(
      rehearsals, [&](const Rehearsal& one) { return one.passed && (one.point_in_time || !point_in_time); });
  return found == rehearsals.end() ? nullptr : &*found;
}

}  // namespace lifeboat::ready
