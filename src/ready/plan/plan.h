// From what is demanded and what was measured to a plan (P1-P9, RT1-RT3): method, cadence, delivered RPO and
// RTO with their arithmetic, retention and cost, threats, gaps, and the configuration that implements it.
//
// make_plan() is pure. Two rules govern it. A target is never weakened: what cannot be met is blocked, with a
// draft decision record for its owner. And a number is measured, stated or absent: where something was not
// measured the plan says so and is at best `unproven`.
//
// blocked   a target cannot be met by what is stated and measured, even at the favourable end of the error;
// or a
//           policy contradicts itself
// unproven  nothing contradicts the targets, but evidence is missing: no drill, old facts, an error that
// reaches
//           across the target, a critical gap
// ready     delivered RPO and RTO with their error are within the targets, by drills, without a critical gap
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ready/plan/facts.h"
#include "ready/plan/requirements.h"

namespace lifeboat::ready {

inline constexpr std::string_view kPlanSchema = "lifeboat/backup_plan/1";

enum class PlanStatus : uint8_t { ready, blocked, unproven };
enum class Method : uint8_t {
  dumps,        // logical dumps alone
  archiving,    // physical backups and archived WAL
  streaming,    // physical backups and WAL streamed as it is written
  synchronous,  // the same, and a commit waits until its WAL is stored
  provider,     // what a managed service does, and dumps beside it
};
enum class TargetVerdict : uint8_t { met, missed, unknown };
std::string_view to_string(PlanStatus status);
std::string_view to_string(Method method);
std::string_view to_string(TargetVerdict verdict);

// One addend of a delivered RPO or RTO.
struct Term {
  std::string name;
  double seconds = 0;
  std::string how;  // "200 GB / 100 MB/s"
};

struct Delivered {
  double target_seconds = 0;
  std::optional<double> seconds;  // absent: `why` says why
  double error_seconds = 0;
  TargetVerdict verdict = TargetVerdict::unknown;
  std::string path;  // "restore", "instant restore", "dump"
  std::vector<Term> terms;
  std::string basis;  // "3 drills, the newest of …"
  std::string why;
  // How long growth leaves the target met; absent when there is no growth or no target met.
  std::optional<double> holds_days;
};

struct MethodChoice {
  std::string requirement;
  std::string method;
  std::string reason;
};

struct CadenceOption {
  double every_seconds = 0;
  std::optional<double> seconds;  // RTO just before the next backup is complete
  bool meets = false;
  std::string why;
};
struct Cadence {
  double every_seconds = 0;
  std::string cron;  // UTC
  std::string reason;
  std::vector<CadenceOption> considered;
};

struct RetentionChoice {
  std::optional<double> pitr_days;  // absent: no point-in-time recovery
  double keep_days = 0;             // of backups, or of dumps where there are no backups
  std::optional<double> dump_days;  // of the dumps beside backups
  bool expires = true;              // false: legal hold
  std::string window;               // what the window means
  std::string reason;
};

struct StorageItem {
  std::string name;
  double bytes = 0;
  std::string how;
  bool at_most = false;  // an upper bound: compression or sharing was not measured
};
struct StorageNeed {
  std::vector<StorageItem> items;
  std::optional<double> bytes;  // when retention is in balance; absent: the size is not known
  std::optional<double> bytes_in_a_year;
  std::optional<double> cost_per_month;
  std::optional<double> minimum_charge_per_month;  // for what is deleted before the class's minimum
  std::string currency;
  std::vector<std::string> statements;
};

struct Threat {
  std::string threat;
  std::string answer;
  std::string covered;  // yes, no, unknown
};

struct DecisionRecord {
  std::string title;
  std::string context;
  std::vector<std::string> options;
};

enum class GapWeight : uint8_t { advice, critical, blocking };
std::string_view to_string(GapWeight weight);
struct Gap {
  std::string id;
  GapWeight weight = GapWeight::advice;
  std::string what;
  std::string action;
  std::optional<DecisionRecord> decision;
};

struct QualityCheck {
  std::string claim;
  std::string result;  // pass, fail, open
  std::string evidence;
};

struct InventoryItem {
  std::string tool;
  std::string schedule;
  std::string destination;
  std::string archive_success;
  std::string last_backup;
  std::string last_verified_restore;
  std::string retention;
  std::string encryption;
  std::string second_copy;
};

struct ServerSetting {
  std::string name;
  std::string value;
  std::string now;  // "" when it is not known
  std::string reason;
  bool restart = false;
};

// A key of the configuration file. `value` is TOML.
struct ConfigLine {
  std::string section;
  std::string key;
  std::string value;
};

struct Plan {
  PlanStatus status = PlanStatus::unproven;
  std::vector<std::string> reasons;  // of the status
  Timestamp time;                    // of the facts
  std::string cluster;
  Requirements requirements;
  Profile profile = Profile::production;
  std::string profile_reason;
  Method method = Method::archiving;
  std::vector<MethodChoice> methods;
  std::vector<std::string> refused;  // what was considered and must not be done, and why
  Cadence cadence;
  std::string dump_cron;  // empty: no dumps
  Delivered rpo;
  Delivered rto;
  std::optional<double> full_speed_seconds;  // of an instant restore: when everything is there
  RetentionChoice retention;
  StorageNeed storage;
  std::vector<std::string> security;
  std::vector<Threat> threats;
  std::vector<InventoryItem> inventory;
  std::vector<ServerSetting> settings;
  std::vector<ConfigLine> configuration;
  // What the configuration file says of the cluster once they are set; empty: nothing else than they.
  std::string configuration_text;
  std::vector<std::string> steps;
  std::vector<Gap> gaps;
  std::vector<QualityCheck> quality;
};

Plan make_plan(const Requirements& requirements, const PlanFacts& facts, const Rates& rates);

std::string plan_json(const Plan& plan);
std::string plan_markdown(const Plan& plan);

}  // namespace lifeboat::ready
