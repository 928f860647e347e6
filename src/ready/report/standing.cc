#include "ready/report/standing.h"

#include <algorithm>

#include "util/strings.h"

namespace lifeboat::ready {
namespace {

constexpr std::string_view kTime = "time ";
constexpr std::string_view kExclusive = " (exclusive)";

// Of a target that is a moment; unset for any other.
Timestamp moment_of(const Rehearsal& drill) {
  std::string_view text = drill.target;
  if (!text.starts_with(kTime)) return {};
  text.remove_prefix(kTime.size());
  if (text.ends_with(kExclusive)) text.remove_suffix(kExclusive.size());
  auto time = parse_time(text);
  return time ? *time : Timestamp();
}

bool is_kind(const Rehearsal& drill, std::string_view kind) {
  return drill.target.starts_with(kind);
}

// Does `later`, which passed, show what `failed` was to show?
bool makes_good(const Rehearsal& later, const Rehearsal& failed) {
  if (is_kind(later, "latest")) return true;
  if (is_kind(failed, "immediate")) return later.backup >= failed.backup;  // ids are ordered by time
  if (later.target == failed.target) return true;
  // Of the end of WAL, and of what is no time, all that is known is that it lay before the drill.
  const Timestamp moment = moment_of(failed);
  const Timestamp wanted = moment.valid() ? moment : failed.time;
  return std::max(later.last_commit, moment_of(later)) >= wanted;
}

Reading* find_reading(SignalReport& report, std::string_view id) {
  auto found =
      std::ranges::find_if(report.readings, [&](const Reading& one) { return one.signal->id == id; });
  return found == report.readings.end() ? nullptr : &*found;
}

void fail(Reading& reading, const std::string& reason) {
  reading.value = 1;
  reading.verdict = worse_of(reading.verdict, judge(1, reading.policy.thresholds, reading.signal->worse));
  reading.found = cat(reason, "; ", reading.found);
}

std::string describe(const Rehearsal& failed) {
  return cat("the drill of backup ", failed.backup, " to ", failed.target, " at ", failed.time.to_string(),
             " failed, and none that reaches as far has passed since: ", join(failed.problems, "; "));
}

void tell_result(Reading& reading, const std::vector<Rehearsal>& rehearsals,
                 const std::vector<LogicalBackup>& dumps) {
  // An unknown one says why nothing could be read.
  if (reading.verdict == Verdict::unknown) return;
  const Rehearsal* failed = standing_failure(rehearsals);
  const bool told = reading.value && *reading.value > 0;
  if (failed != nullptr && !told) fail(reading, describe(*failed));
  const LogicalBackup* dump = newest_whole(dumps);
  if (dump != nullptr && !dump->failure.empty())
    fail(reading, cat("the newest dump, ", dump->id, ", failed its last check: ", dump->failure));
}

void tell_age(Reading& reading, const std::vector<Rehearsal>& rehearsals) {
  if (reading.value || reading.verdict != Verdict::critical) return;
  auto passed = std::ranges::find_if(
      rehearsals, [](const Rehearsal& one) { return one.kind == RehearsalKind::drill && one.passed; });
  if (passed == rehearsals.end()) return;
  reading.found = cat("no backup passed its newest drill: the last that passed, of backup ", passed->backup,
                      " at ", passed->time.to_string(), ", was taken back by one that failed later");
}

}  // namespace

const Rehearsal* standing_failure(const std::vector<Rehearsal>& rehearsals) {
  for (auto failed = rehearsals.begin(); failed != rehearsals.end(); ++failed) {
    if (failed->kind != RehearsalKind::drill || failed->passed) continue;
    const bool good = std::any_of(rehearsals.begin(), failed, [&](const Rehearsal& later) {
      return later.passed && makes_good(later, *failed);
    });
    if (!good) return &*failed;
  }
  return nullptr;
}

void apply_evidence(SignalReport& report, const std::vector<Rehearsal>& rehearsals,
                    const std::vector<LogicalBackup>& dumps) {
  if (Reading* result = find_reading(report, "drill_result")) tell_result(*result, rehearsals, dumps);
  if (Reading* age = find_reading(report, "drill_age")) tell_age(*age, rehearsals);
}

void apply_unread(SignalReport& report, const Error& problem) {
  Reading* result = find_reading(report, "drill_result");
  if (result == nullptr || rank_of(result->verdict) == Rank::critical) return;
  result->verdict = Verdict::unknown;
  result->value.reset();
  result->found = cat("not all drills and dumps could be read: ", problem.to_string());
}

void apply_wal_verdict(SignalReport& report, const WalVerdict& verdict, const repo::Card* newest_backup) {
  Reading* gaps = find_reading(report, "wal_gaps");
  if (gaps == nullptr || !gaps->value || verdict.problems.empty()) return;
  const bool behind = newest_backup != nullptr && newest_backup->started > verdict.time;
  gaps->verdict = worse_of(gaps->verdict, behind ? Verdict::warning : Verdict::critical);
  if (!behind) gaps->value = *gaps->value + static_cast<double>(verdict.problems.size());
  gaps->found = cat("verify of ", verdict.time.to_string(), " found: ", join(verdict.problems, "; "), "; ",
                    gaps->found);
  gaps->action = behind ? "lifeboat verify tells what is out of reach since then"
                        : "lifeboat backup begins a new window; store the segment again where a sound copy "
                          "of it is left, then lifeboat verify";
}

const LogicalBackup* newest_whole(const std::vector<LogicalBackup>& dumps) {
  auto whole = std::ranges::find_if(dumps.rbegin(), dumps.rend(), &LogicalBackup::whole);
  return whole == dumps.rend() ? nullptr : &*whole;
}

}  // namespace lifeboat::ready
