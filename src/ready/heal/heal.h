// Healing: what was detected, and which of the few things that may be done would help (SH1).
//
// Two steps, as with signals: probe() (probe.h) reads what signals do not, and judge_heal() is pure over
// both. A finding cites the signals and facts that it came from. Nothing is done unless its action stands in
// the configuration's list; and then not within the cool-down, nor more often than is allowed: after that a
// person has to look. What may be done never deletes WAL of a server, and never touches a data directory
// but that of a standby that is beyond repair, which is kept aside.
//
// docs/decisions/0022 says what may be healed, and what never.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "ops/heal/trail.h"
#include "ready/heal/probe.h"
#include "ready/signals/facts.h"
#include "ready/signals/signal.h"

namespace lifeboat::ready {

// In the order in which they are carried out.
enum class HealAction : uint8_t {
  none,      // a person has to
  spool,     // free what killed fetchers left
  archiver,  // end a hand-over of ours that hangs, so that the archiver tries again
  rotate,    // archive into another repository
  slot,      // make the receiver's slot again, record the hole
  receiver,  // have the daemon start its receiver again
  backup,    // close a gap of the stored WAL, or begin anew behind it
  standby,   // make a standby that is beyond repair anew, keep the old one
};
std::string_view to_string(HealAction action);
std::optional<HealAction> parse_heal_action(std::string_view text);  // never none
struct HealActionInfo {
  HealAction action;
  std::string_view name;
  std::string_view what;
};
std::vector<HealActionInfo> heal_actions();

// [cluster.NAME.heal]
struct HealPolicy {
  std::set<HealAction> allowed;
  int64_t cooldown_us = 1'800'000'000;  // between two attempts of one action (HealFinding::counts_alone)
  int64_t most_per_day = 3;             // attempts of one action within 24 hours
  int64_t stuck_us = 300'000'000;       // what hangs that long is stuck, what fails that long is broken
  std::string rotate_to;                // URL of the other repository; empty: there is none
};

enum class HealState : uint8_t {
  ready,         // would be done, or will be
  manual,        // nothing of the list helps; `proposal` says what does
  not_allowed,   // is not on the list
  cooling_down,  // until `not_before`
  exhausted,     // was tried as often as allowed
};
std::string_view to_string(HealState state);

struct HealFinding {
  std::string id;                  // stable: "archiver_stuck"
  std::string object;              // "process 4711"
  std::vector<std::string> cites;  // "signal wal_archive_lag: 9 files for 6 min", "pg_stat_archiver"
  Rank rank = Rank::attention;
  std::string found;
  HealAction action = HealAction::none;
  // Cheap, harmless, and the object never the same again: attempts on others do not count against it.
  bool counts_alone = false;
  std::string proposal;  // what would be done, or what a person should do
  HealState state = HealState::manual;
  Timestamp not_before;   // of cooling_down; of exhausted: when it may be tried again
  uint64_t attempts = 0;  // of the action, within a day
};

struct HealFacts {
  const SignalFacts& signals;
  const SignalReport& report;
  const HealProbe& probe;
};

// Everything found, in the order of actions, manual ones last. Pure.
std::vector<HealFinding> judge_heal(const HealFacts& facts, const HealPolicy& policy,
                                    const std::vector<ops::HealRecord>& trail);

// The first that is to be done now and is not in `tried` (ids of findings), or null.
const HealFinding* next_to_do(const std::vector<HealFinding>& findings, const std::set<std::string>& tried);

// What a run comes to: nothing found, or all of it done; something is left; something failed or was tried too
// often.
enum class HealVerdict : uint8_t { well, left, failed };
HealVerdict heal_verdict(const std::vector<HealFinding>& left, const std::vector<ops::HealRecord>& done);

}  // namespace lifeboat::ready
