// Signals: the quantities that decide whether recovery will work (M1). One registry says of each where it is
// read, its unit, its thresholds and what to do; the configuration says who owns it and may move the
// thresholds.
//
// Reading is done in two steps: gather_signals() (facts.h) asks server, disks and repository once, and
// evaluate() is pure. A signal that could not be read is `unknown` with the reason, and counts as a warning:
// nothing is ever decided upon old data.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/timestamp.h"
#include "util/result.h"

namespace lifeboat::ready {

enum class Unit : uint8_t { seconds, ratio, count, transactions };
std::string_view to_string(Unit unit);

// Which side of a threshold is the bad one.
enum class Worse : uint8_t { above, below };

enum class Verdict : uint8_t {
  ok,
  not_applicable,  // there is nothing to watch here: a standby that does not archive
  unknown,         // could not be read; counts as a warning
  warning,
  critical,
};
std::string_view to_string(Verdict verdict);
std::optional<Verdict> parse_verdict(std::string_view text);
enum class Rank : uint8_t { fine, attention, critical };
Rank rank_of(Verdict verdict);

struct Thresholds {
  std::optional<double> warning;
  std::optional<double> critical;
};

struct SignalFacts;
struct SignalPolicy;
struct Reading;

struct SignalInfo {
  std::string_view id;      // stable: "backup_age"
  std::string_view what;    // "time since the end of the newest complete backup"
  std::string_view source;  // the view, function or part of the repository that it is read from
  Unit unit = Unit::count;
  Worse worse = Worse::above;
  Thresholds thresholds = {};       // unless the configuration says otherwise
  Thresholds byte_thresholds = {};  // of the second measure, in bytes, for those that have one
  std::string_view action;          // what to do first
  std::string_view metric;          // "lifeboat_backup_age_seconds"
  std::string_view object = {};     // label of its parts: "standby"; empty: it has none
  void (*read)(const SignalFacts& facts, const SignalPolicy& policy, Reading& reading) = nullptr;
};

// In the order in which they are shown.
std::span<const SignalInfo> signals();
const SignalInfo* find_signal(std::string_view id);

// What holds for one signal of one cluster.
struct SignalPolicy {
  bool enabled = true;
  std::string owner;  // never empty where owners are required
  Thresholds thresholds;
  Thresholds byte_thresholds;
  std::optional<int64_t> standbys;  // of replication_lag: how many must stream; unset: not known
};

// [cluster.NAME.signals.ID]
struct SignalOverride {
  std::optional<bool> enabled;
  std::string owner;  // empty: the cluster's
  Thresholds thresholds;
  Thresholds byte_thresholds;
  std::optional<int64_t> standbys;
};
struct SignalSettings {
  std::string owner;                                // of the cluster's signals
  std::map<std::string, SignalOverride> overrides;  // by id
  SignalPolicy policy(const SignalInfo& signal) const;
  // `config` when a signal that is enabled has no owner.
  Status require_owners(std::string_view cluster) const;
};

// How a value moved, from the samples that were kept (history.h).
struct Trend {
  std::optional<double> per_day;                   // change of the value; unset: too few samples
  double span_seconds = 0;                         // that the samples cover
  std::optional<double> reaches_critical_seconds;  // when it goes on like that; of rising values only
};

// One object of a signal: a standby, a file system, a database.
struct SignalPart {
  std::string object;
  double value = 0;
  std::optional<double> bytes;
  Verdict verdict = Verdict::ok;
  std::string note;                       // more about it, may be empty
  std::optional<double> full_in_seconds;  // of file systems: when it goes on like this
};

struct Reading {
  const SignalInfo* signal = nullptr;
  SignalPolicy policy;
  Timestamp time;
  Verdict verdict = Verdict::unknown;
  std::optional<double> value;  // of the worst part
  std::optional<double> bytes;
  std::string found;   // for people; of an unknown one the reason
  std::string action;  // what to do: the registry's, or nearer to what was found
  std::vector<SignalPart> parts;
  Trend trend;
};

enum class ServerRole : uint8_t { unknown, primary, standby };
std::string_view to_string(ServerRole role);

// All signals of one cluster at one moment.
struct SignalReport {
  std::string cluster;
  std::string repository;
  ServerRole role = ServerRole::unknown;
  Timestamp time;
  double seconds = 0;  // that reading took
  std::vector<Reading> readings;
  Rank worst() const;
  std::vector<std::string> ids(Rank rank) const;  // of the readings of that rank
};

// Every enabled signal, in the registry's order. Pure.
SignalReport evaluate(const SignalFacts& facts, const SignalSettings& settings);

// The verdict of a value alone.
Verdict judge(double value, const Thresholds& thresholds, Worse worse);
// The worse of the two by rank; of the same rank the first.
Verdict worse_of(Verdict one, Verdict other);
// "26 h 00 min", "81.2 %", "3"
std::string format_value(double value, Unit unit);

}  // namespace lifeboat::ready
