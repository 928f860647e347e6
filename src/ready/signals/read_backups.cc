// Signals of backups, drills and keys.
#include <algorithm>
#include <cmath>
#include <ranges>

#include "ops/catalogue/damage.h"
#include "ready/signals/reads.h"
#include "util/strings.h"

namespace lifeboat::ready {
namespace {

constexpr double kRateDays = 30;
constexpr double kDay = 86'400;
constexpr size_t kMedianOf = 7;
// A change of size by less than this is never told: small clusters jump by half.
constexpr double kSmallestChange = 256e6;

using Backups = std::vector<const repo::Card*>;

Backups complete_backups(const SignalFacts& facts) {
  Backups found;
  for (const repo::Card& card : facts.doctor.repository.backups) {
    if (card.state == repo::BackupState::complete) found.push_back(&card);
  }
  return found;
}

std::string age_of(const SignalFacts& facts, Timestamp time) {
  return format_value(std::max(0.0, facts.now.seconds_since(time)), Unit::seconds);
}

// The newest drill, and the newest that passed.
struct Drills {
  BackupId backup;
  const ops::BackupProof* newest = nullptr;
  const ops::BackupProof* passed = nullptr;
};
Drills find_drills(const SignalFacts& facts) {
  Drills found;
  for (const auto& [id, proofs] : facts.doctor.repository.proofs.backups) {
    if (!proofs.drilled) continue;
    const ops::BackupProof* drill = &*proofs.drilled;
    if (found.newest == nullptr || found.newest->time < drill->time) {
      found.newest = drill;
      found.backup = id;
    }
    if (drill->passed && (found.passed == nullptr || found.passed->time < drill->time)) found.passed = drill;
  }
  return found;
}

}  // namespace

void read_backup_age(const SignalFacts& facts, const SignalPolicy&, Reading& reading) {
  if (!needs_catalogue(facts, reading)) return;
  const repo::Card* newest = newest_complete(facts);
  if (newest == nullptr) {
    reading.verdict = Verdict::critical;
    reading.found = "there is no complete backup";
    reading.action = "lifeboat backup";
    return;
  }
  const double age = std::max(0.0, facts.now.seconds_since(newest->stopped));
  const auto& verified = facts.doctor.repository.newest_verified;
  std::string found = cat(newest->id.text, " ended ", format_value(age, Unit::seconds), " ago");
  if (!verified)
    found += "; no backup is verified";
  else if (*verified != newest->id)
    found += cat("; the newest verified one is ", verified->text);
  else
    found += ", verified";
  measured(reading, age, std::move(found));
  if (auto problem = ops::known_damage(facts.doctor.repository.proofs, newest->id))
    raise_to(reading, Verdict::critical, cat(newest->id.text, " failed its last check: ", *problem));
}

void read_backup_failures(const SignalFacts& facts, const SignalPolicy&, Reading& reading) {
  if (!needs_catalogue(facts, reading)) return;
  const repo::Card* newest = newest_complete(facts);
  uint64_t failed = 0;
  std::string last;
  auto count = [&](const repo::Card& card) {
    if (newest != nullptr && card.id < newest->id) return;
    ++failed;
    last = cat("the last is ", card.id.text, " (", to_string(card.state), "): ", card.reason);
  };
  for (const repo::Card& card : facts.doctor.repository.backups)
    if (card.state == repo::BackupState::damaged) count(card);
  for (const repo::Card& card : facts.doctor.repository.attempts) count(card);
  // A run that fails before it has a lease leaves nothing in the repository.
  for (const JobFacts& job : facts.jobs) {
    if (!job.command.starts_with("backup") || job.failures <= failed) continue;
    failed = job.failures;
    last = cat("job ", job.name, ": ", job.error);
  }
  measured(reading, static_cast<double>(failed),
           failed == 0 ? std::string("none") : cat(counted(failed, "failure"), "; ", last));
}

void read_backup_success_rate(const SignalFacts& facts, const SignalPolicy&, Reading& reading) {
  if (!needs_catalogue(facts, reading)) return;
  auto recent = [&](const repo::Card& card) {
    return facts.now.seconds_since(card.started.valid() ? card.started : card.stopped) < kRateDays * kDay;
  };
  uint64_t all = 0;
  uint64_t good = 0;
  for (const repo::Card& card : facts.doctor.repository.backups) {
    if (!recent(card)) continue;
    ++all;
    if (card.state == repo::BackupState::complete) ++good;
  }
  for (const repo::Card& card : facts.doctor.repository.attempts)
    if (recent(card)) ++all;
  if (all == 0) return not_applicable(reading, "no backup was tried within 30 days");
  measured(reading, static_cast<double>(good) / static_cast<double>(all),
           cat(good, " of ", counted(all, "backup"), " within 30 days"));
}

void read_backup_duration(const SignalFacts& facts, const SignalPolicy&, Reading& reading) {
  if (!needs_catalogue(facts, reading)) return;
  const repo::Card* newest = newest_complete(facts);
  if (newest == nullptr) return not_applicable(reading, "there is no complete backup");
  measured(
      reading, newest->totals.seconds,
      cat(newest->id.text, " (", to_string(newest->type), ") took ", format_seconds(newest->totals.seconds)));
}

void read_backup_size(const SignalFacts& facts, const SignalPolicy&, Reading& reading) {
  if (!needs_catalogue(facts, reading)) return;
  Backups complete = complete_backups(facts);
  if (complete.empty()) return not_applicable(reading, "there is no complete backup");
  const auto size = static_cast<double>(complete.back()->totals.plain_bytes);
  complete.pop_back();
  const std::string is = format_bytes(static_cast<uint64_t>(size));
  reading.bytes = size;
  if (complete.empty()) return measured(reading, 0, cat(is, ", the first"));
  std::vector<double> before;
  for (const repo::Card* card : complete | std::views::reverse | std::views::take(kMedianOf))
    before.push_back(static_cast<double>(card->totals.plain_bytes));
  std::ranges::sort(before);
  const double median = before[before.size() / 2];
  const double change = median > 0 ? size / median - 1 : 0;
  const std::string found =
      cat(is, ", ", format_value(std::abs(change), Unit::ratio), change < 0 ? " less" : " more",
          " than the median of ", before.size(), " before");
  // Also for who judges the number alone, as Prometheus does.
  measured(reading, std::abs(size - median) < kSmallestChange ? 0 : std::abs(change), found);
}

void read_drill_age(const SignalFacts& facts, const SignalPolicy&, Reading& reading) {
  if (!needs_catalogue(facts, reading)) return;
  const Drills drills = find_drills(facts);
  if (drills.passed != nullptr) {
    const double age = std::max(0.0, facts.now.seconds_since(drills.passed->time));
    return measured(reading, age, cat("the last that passed was ", format_value(age, Unit::seconds), " ago"));
  }
  reading.verdict = Verdict::critical;
  reading.found = drills.newest == nullptr ? "no backup was ever drilled: nobody knows whether it restores"
                                           : "no drill has passed";
}

// "RTO 40 s, target 30 s", where it was missed; else empty.
std::string missed(std::string_view name, const std::optional<double>& measured,
                   const std::optional<double>& target) {
  if (!measured || !target || *measured <= *target) return "";
  return cat(name, " ", format_seconds(*measured), ", target ", format_seconds(*target));
}

void read_drill_result(const SignalFacts& facts, const SignalPolicy&, Reading& reading) {
  if (!needs_catalogue(facts, reading)) return;
  const Drills drills = find_drills(facts);
  if (drills.newest == nullptr) return not_applicable(reading, "no backup was ever drilled");
  std::string found = cat("backup ", drills.backup.text, ", ", age_of(facts, drills.newest->time), " ago: ");
  if (!drills.newest->passed)
    return measured(reading, 1, cat(found, "failed: ", join(drills.newest->problems, "; ")));
  // It came back, and not as it was promised.
  std::vector<std::string> misses = {
      missed("RTO", drills.newest->rto_seconds, drills.newest->rto_target_seconds),
      missed("RPO", drills.newest->rpo_seconds, drills.newest->rpo_target_seconds)};
  std::erase(misses, "");
  if (!misses.empty()) return measured(reading, 1, cat(found, "a target was missed: ", join(misses, "; ")));
  found += "passed";
  if (drills.newest->rto_seconds) found += cat(", RTO ", format_seconds(*drills.newest->rto_seconds));
  if (drills.newest->rpo_seconds) found += cat(", RPO ", format_seconds(*drills.newest->rpo_seconds));
  measured(reading, 0, std::move(found));
}

void read_backup_damage(const SignalFacts& facts, const SignalPolicy&, Reading& reading) {
  if (!needs_catalogue(facts, reading)) return;
  std::vector<std::string> found;
  for (const repo::Card& card : facts.doctor.repository.backups)
    if (ops::cannot_restore(card, facts.doctor.repository.proofs)) found.push_back(card.id.text);
  const size_t count = found.size();
  constexpr size_t kNamed = 5;
  if (found.size() > kNamed) found.resize(kNamed);
  measured(reading, static_cast<double>(count),
           count == 0 ? std::string("no check found damage in any")
                      : cat(join(found, ", "), count > kNamed ? cat(" and ", count - kNamed, " more") : ""));
}

void read_job_failures(const SignalFacts& facts, const SignalPolicy&, Reading& reading) {
  if (!facts.jobs_problem.empty()) return unknown(reading, facts.jobs_problem);
  if (facts.jobs.empty()) return not_applicable(reading, "the daemon has run no job of this cluster");
  uint64_t most = 0;
  std::vector<std::string> failing;
  for (const JobFacts& job : facts.jobs) {
    most = std::max(most, job.failures);
    if (job.failures > 0)
      failing.push_back(cat(job.name, " (", counted(job.failures, "time"), "): ", job.error));
  }
  measured(reading, static_cast<double>(most),
           failing.empty() ? cat("none of ", counted(facts.jobs.size(), "job")) : join(failing, "; "));
}

void read_repository_down(const SignalFacts& facts, const SignalPolicy&, Reading& reading) {
  const ops::RepositoryFacts& known = facts.doctor.repository;
  const std::optional<Error>& problem = known.problem ? known.problem : known.catalogue_problem;
  if (problem) return measured(reading, 1, problem->to_string());
  measured(reading, 0, "the repository can be read");
}

void read_key_custody(const SignalFacts& facts, const SignalPolicy&, Reading& reading) {
  const ops::RepositoryFacts& known = facts.doctor.repository;
  if (!known.marker)
    return unknown(reading,
                   known.problem ? known.problem->to_string() : std::string("the repository was not opened"));
  if (!known.marker->encrypted) return not_applicable(reading, "the repository is not encrypted");
  if (known.key_slots.empty()) return unknown(reading, "the key slots could not be listed");
  measured(reading, static_cast<double>(known.key_slots.size()), counted(known.key_slots.size(), "key slot"));
}

}  // namespace lifeboat::ready
