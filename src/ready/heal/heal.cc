#include "ready/heal/heal.h"

#include <algorithm>
#include <array>

#include "ready/heal/look.h"
#include "util/check.h"
#include "util/strings.h"

namespace lifeboat::ready {
namespace {

constexpr int64_t kDayUs = 86'400'000'000;

constexpr std::array<HealActionInfo, 7> kActions = {{
    {HealAction::spool, "spool", "remove WAL that killed fetchers left in the spool"},
    {HealAction::archiver, "archiver",
     "end a wal push or a daemon of ours that hangs, so that the archiver tries again"},
    {HealAction::rotate, "rotate", "have archive_command push into the repository that rotate-to names"},
    {HealAction::slot, "slot", "make the slot of wal receive again, and record what is lost"},
    {HealAction::receiver, "receiver", "have the daemon start its wal receive again"},
    {HealAction::backup, "backup",
     "store the missing segment if pg_wal still has it, else take a new backup"},
    {HealAction::standby, "standby",
     "make a standby that is beyond repair anew from the repository, and keep the old one"},
}};

// Attempts of its action within a day, newest last.
std::vector<Timestamp> attempts_of(const HealFinding& finding, const std::vector<ops::HealRecord>& trail,
                                   Timestamp now) {
  std::vector<Timestamp> times;
  for (const ops::HealRecord& record : trail) {
    if (record.action != to_string(finding.action)) continue;
    if (finding.counts_alone && record.object != finding.object) continue;
    // One from the future is of a clock that was set back: it counts as now.
    const Timestamp began = std::min(record.began, now);
    if (now.unix_us - began.unix_us < kDayUs) times.push_back(began);
  }
  std::ranges::sort(times);
  return times;
}

void decide(HealFinding& finding, const HealPolicy& policy, const std::vector<ops::HealRecord>& trail,
            Timestamp now) {
  if (finding.action == HealAction::none) {
    finding.state = HealState::manual;
    return;
  }
  const std::vector<Timestamp> times = attempts_of(finding, trail, now);
  finding.attempts = times.size();
  if (!policy.allowed.contains(finding.action)) {
    finding.state = HealState::not_allowed;
  } else if (times.size() >= static_cast<size_t>(policy.most_per_day)) {
    finding.state = HealState::exhausted;
    finding.not_before = times[times.size() - static_cast<size_t>(policy.most_per_day)].plus_us(kDayUs);
  } else if (!times.empty() && times.back().plus_us(policy.cooldown_us) > now) {
    finding.state = HealState::cooling_down;
    finding.not_before = times.back().plus_us(policy.cooldown_us);
  } else {
    finding.state = HealState::ready;
  }
}

// Actions in their order, what a person has to do last.
int place(const HealFinding& finding) {
  return finding.action == HealAction::none ? 1000 : static_cast<int>(finding.action);
}

}  // namespace

std::vector<HealActionInfo> heal_actions() {
  return {kActions.begin(), kActions.end()};
}

std::string_view to_string(HealAction action) {
  for (const HealActionInfo& one : kActions)
    if (one.action == action) return one.name;
  return "none";
}

std::optional<HealAction> parse_heal_action(std::string_view text) {
  for (const HealActionInfo& one : kActions)
    if (one.name == text) return one.action;
  return std::nullopt;
}

std::string_view to_string(HealState state) {
  switch (state) {
    case HealState::ready:
      return "ready";
    case HealState::manual:
      return "manual";
    case HealState::not_allowed:
      return "not_allowed";
    case HealState::cooling_down:
      return "cooling_down";
    case HealState::exhausted:
      break;
  }
  return "exhausted";
}

const Reading* HealLook::reading(std::string_view signal) const {
  const auto& readings = facts.report.readings;
  auto found = std::ranges::find_if(readings, [&](const Reading& one) { return one.signal->id == signal; });
  return found == readings.end() ? nullptr : &*found;
}

std::string HealLook::cite(std::string_view signal) const {
  const Reading* found = reading(signal);
  return found == nullptr ? cat("signal ", signal, ": disabled")
                          : cat("signal ", signal, ": ", to_string(found->verdict), ", ", found->found);
}

std::string HealLook::cite_check(std::string_view check) const {
  const ops::Finding* found = ops::find(facts.signals.findings, check);
  return found == nullptr ? cat("check ", check) : cat("check ", check, ": ", found->found);
}

bool HealLook::found(std::string_view id) const {
  return std::ranges::any_of(findings, [&](const HealFinding& one) { return one.id == id; });
}

bool HealLook::unfinished(HealAction action) const {
  auto newest = std::find_if(trail.rbegin(), trail.rend(), [&](const ops::HealRecord& record) {
    return record.action == to_string(action);
  });
  return newest != trail.rend() && newest->outcome != ops::HealOutcome::done;
}

HealFinding& HealLook::add(std::string id, std::string object, Rank rank, std::string found) {
  HealFinding& finding = findings.emplace_back();
  finding.id = std::move(id);
  finding.object = std::move(object);
  finding.rank = rank;
  finding.found = std::move(found);
  return finding;
}

std::vector<HealFinding> judge_heal(const HealFacts& facts, const HealPolicy& policy,
                                    const std::vector<ops::HealRecord>& trail) {
  std::vector<HealFinding> findings;
  HealLook look{facts, policy, findings, trail};
  // Those that explain others come first.
  look_at_server(look);
  look_at_daemon(look);
  look_at_repository(look);
  look_at_archiver(look);
  look_at_slot(look);
  look_at_receiver(look);
  look_at_gaps(look);
  look_at_standby(look);
  look_at_spool(look);
  look_at_disks(look);
  look_at_corruption(look);
  for (HealFinding& finding : findings) decide(finding, policy, trail, facts.signals.now);
  std::ranges::stable_sort(findings, {}, place);
  return findings;
}

const HealFinding* next_to_do(const std::vector<HealFinding>& findings, const std::set<std::string>& tried) {
  auto next = std::ranges::find_if(findings, [&](const HealFinding& one) {
    return one.state == HealState::ready && !tried.contains(one.id);
  });
  return next == findings.end() ? nullptr : &*next;
}

HealVerdict heal_verdict(const std::vector<HealFinding>& left, const std::vector<ops::HealRecord>& done) {
  const bool failed =
      std::ranges::any_of(done, [](const auto& one) { return one.outcome != ops::HealOutcome::done; }) ||
      std::ranges::any_of(left, [](const HealFinding& one) { return one.state == HealState::exhausted; });
  if (failed) return HealVerdict::failed;
  return left.empty() ? HealVerdict::well : HealVerdict::left;
}

}  // namespace lifeboat::ready
