#include "ops/dump/latest.h"

#include <algorithm>

#include "ops/given_names.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr size_t kNamed = 3;

// Every server has a database postgres, and as a rule nothing is in it: dumps of earlier versions, which do
// not say whether they are of all, are so when it is among theirs.
bool has_every_database(const repo::DumpSummary& summary) {
  if (summary.every_database) return *summary.every_database;
  return std::ranges::find(summary.databases, "postgres") != summary.databases.end();
}

std::vector<std::string> missing_databases(const repo::DumpSummary& summary, const DumpWish& wish) {
  std::vector<std::string> missing;
  for (const std::string& name : wish.databases) {
    if (std::ranges::find(summary.databases, name) == summary.databases.end()) missing.push_back(name);
  }
  return missing;
}

// A table without rows of its own, as a partitioned one, is known of a pattern's dump by the pattern alone.
bool has_table(const repo::DumpRecord& record, const std::string& database, const std::string& name) {
  auto given = parse_given_table(name);
  if (!given) return false;
  auto by_pattern = [&](const repo::DumpPattern& one) {
    return one.option == "table" && one.pattern == name;
  };
  if (std::ranges::any_of(record.patterns, by_pattern)) return true;
  return std::ranges::any_of(record.databases, [&](const repo::DumpedDatabase& one) {
    return one.name == database && std::ranges::any_of(one.tables, [&](const repo::CountedTable& table) {
             return table.table == given->table && (given->schema.empty() || given->schema == table.schema);
           });
  });
}

std::string own_lack(const DumpCandidate& chosen) {
  switch (chosen.lack) {
    case DumpLack::databases:
      return cat("; no dump has every database, it has ", chosen.why);
    case DumpLack::tables:
      return cat("; it is ", chosen.why, ", and no dump has more of what was asked for");
    case DumpLack::sound:
      return cat("; ", chosen.why, ", and no other dump has as much of what was asked for");
    case DumpLack::rows:
      return "; it is schema only, so that no rows come back, and no dump has them";
    default:
      return "";
  }
}

std::string passed_over(const std::vector<DumpCandidate>& candidates, size_t chosen) {
  std::vector<std::string> newer;
  for (size_t i = 0; i < std::min(chosen, kNamed); ++i)
    newer.push_back(cat(candidates[i].id.text, " (", candidates[i].why, ")"));
  std::string text = cat("; passed over, though newer: ", join(newer, ", "));
  if (chosen > kNamed) text += cat(" and ", chosen - kNamed, " more");
  return text;
}

}  // namespace

DumpCandidate judge_dump(const BackupId& id, Timestamp started, const repo::DumpSummary& summary,
                         const DumpWish& wish, const repo::DumpRecord* record) {
  DumpCandidate candidate{id, started, DumpLack::nothing, ""};
  auto lacks = [&](DumpLack lack, std::string why) {
    candidate.lack = lack;
    candidate.why = std::move(why);
    return candidate;
  };
  if (wish.globals_alone) return candidate;
  if (auto missing = missing_databases(summary, wish); !missing.empty())
    return lacks(DumpLack::wanted, cat("without database ", join(missing, ", ")));
  if (summary.schema_only) return lacks(DumpLack::rows, "schema only");
  if (!wish.tables.empty()) {
    if (record == nullptr) return candidate;
    std::vector<std::string> missing;
    for (const std::string& table : wish.tables) {
      if (!has_table(*record, wish.databases.front(), table)) missing.push_back(table);
    }
    if (missing.empty()) return candidate;
    return lacks(summary.chosen_tables ? DumpLack::tables : DumpLack::asked,
                 cat("without rows of ", join(missing, ", ")));
  }
  if (summary.chosen_tables) return lacks(DumpLack::tables, "of some tables only");
  if (wish.every_database && !has_every_database(summary))
    return lacks(DumpLack::databases, cat("only ", join(summary.databases, ", ")));
  return candidate;
}

void judge_failed(std::string_view problem, DumpCandidate& candidate) {
  if (candidate.lack >= DumpLack::sound) return;
  candidate.lack = DumpLack::sound;
  candidate.why = cat("it failed its last check: ", problem);
}

std::optional<LatestDump> choose_latest(const std::vector<DumpCandidate>& candidates) {
  auto best = std::ranges::min_element(candidates, {}, &DumpCandidate::lack);
  if (best == candidates.end() || best->lack == DumpLack::wanted) return std::nullopt;
  LatestDump latest{static_cast<size_t>(best - candidates.begin()), ""};
  // Who dumps one database each day knows that, and what a table is, is told where it is looked for.
  const bool quiet = best->lack < DumpLack::tables;
  if (latest.index == 0 && quiet) return latest;
  latest.note = cat("latest is dump ", best->id.text, " of ", best->started.to_string());
  if (latest.index != 0) latest.note += passed_over(candidates, latest.index);
  latest.note += own_lack(*best);
  latest.doubt = std::any_of(candidates.begin(), best + 1,
                             [](const DumpCandidate& one) { return one.lack == DumpLack::sound; });
  return latest;
}

}  // namespace lifeboat::ops
