// From a resolved command line to a report of signals: what `status`, `metrics` and `alert` share.
#pragma once

#include "app/command.h"
#include "app/invocation.h"
#include "ready/report/facts.h"
#include "ready/signals/facts.h"
#include "ready/signals/signal.h"

namespace lifeboat::app {

// --owner and --state-dir, for commands that read signals.
extern const OptionGroup kSignalOptions;

// Makes the directory of --state-dir where it is absent. Errors: those of making and writing; the hint says
// what it keeps ("who was told what") and how it comes to be there.
Status need_state_directory(const Invocation& invocation, std::string_view keeps);

// Thresholds and owners of the cluster. `config` when a signal has no owner and the configuration file has a
// section of the cluster, or `required`; else its absence is a warning, and with `judged_later` nothing.
enum class Owners : uint8_t { wanted, required, judged_later };
Result<ready::SignalSettings> signal_settings(const Invocation& invocation, Owners owners);

// watching: by what does so at an interval, which report takes for monitoring.
enum class Readers : uint8_t { once, watching };

// Reads everything now. The history in the state directory gives the trends and gets the new samples; where
// it cannot be written there are none. Errors: those of the settings, usage, cancelled.
Result<ready::SignalReport> read_signals(const Invocation& invocation, Owners owners,
                                         Readers readers = Readers::once);

// The same with what it was evaluated from.
struct SignalsRead {
  Timestamp watched;  // SignalHistory::watched before this reading
  ready::SignalFacts facts;
  ready::SignalSettings settings;
  ready::SignalReport report;
  std::vector<ready::Rehearsal> rehearsals;  // newest first; none where the repository cannot be read
  std::vector<ready::LogicalBackup> dumps;   // complete ones, by time; likewise
  ready::Rates rates;                        // that drills measured; likewise
  std::string metrics_problem;               // why nobody offers the configured metrics; "": somebody does
};
Result<SignalsRead> read_signals_and_facts(const Invocation& invocation, Owners owners,
                                           Readers readers = Readers::once);

// For people: a table, and below it what to do about what is not well.
std::string report_text(const ready::SignalReport& report);

// The schema of a report's properties, to be put between braces.
#define LIFEBOAT_REPORT_PROPERTIES                                                                                                      \
  R"("cluster": {"type": "string"},)"                                                                                                   \
  R"("repository": {"type": "string"},)"                                                                                                \
  R"("role": {"enum": ["unknown", "primary", "standby"]},)"                                                                             \
  R"("time": {"type": "string", "format": "date-time", "description": "when everything was read"},)"                                    \
  R"("seconds": {"type": "number", "description": "that reading took"},)"                                                               \
  R"("verdict": {"enum": ["ok", "warning", "critical"], "description": "the worst"},)"                                                  \
  R"("critical": {"type": "integer", "description": "signals that are critical"},)"                                                     \
  R"("warnings": {"type": "integer", "description": "signals that are a warning or unknown"},)"                                         \
  R"("unknown": {"type": "integer"},)"                                                                                                  \
  R"("signals": {"type": "array", "items": {)"                                                                                          \
  R"("type": "object",)"                                                                                                                \
  R"("required": ["id", "verdict", "value", "unit", "warning", "critical", "found", "action", "owner", "source", "trend", "objects"],)" \
  R"("properties": {)"                                                                                                                  \
  R"("id": {"type": "string"},)"                                                                                                        \
  R"("what": {"type": "string"},)"                                                                                                      \
  R"("verdict": {"enum": ["ok", "not_applicable", "unknown", "warning", "critical"]},)"                                                 \
  R"("value": {"type": ["number", "null"], "description": "of the worst object"},)"                                                     \
  R"("unit": {"enum": ["seconds", "ratio", "count", "transactions"]},)"                                                                 \
  R"("worse": {"enum": ["above", "below"], "description": "the thresholds"},)"                                                          \
  R"("warning": {"type": ["number", "null"], "description": "threshold"},)"                                                             \
  R"("critical": {"type": ["number", "null"], "description": "threshold"},)"                                                            \
  R"("bytes": {"type": ["number", "null"], "description": "a second measure of some signals"},)"                                        \
  R"("warning_bytes": {"type": ["number", "null"]},)"                                                                                   \
  R"("critical_bytes": {"type": ["number", "null"]},)"                                                                                  \
  R"("found": {"type": "string"},)"                                                                                                     \
  R"("action": {"type": "string"},)"                                                                                                    \
  R"("owner": {"type": "string"},)"                                                                                                     \
  R"("source": {"type": "string"},)"                                                                                                    \
  R"("trend": {"type": "object", "properties": {)"                                                                                      \
  R"("per_day": {"type": ["number", "null"], "description": "change of the value"},)"                                                   \
  R"("span_seconds": {"type": "number"},)"                                                                                              \
  R"("critical_in_seconds": {"type": ["number", "null"], "description": "when it goes on like that"}}},)"                               \
  R"("objects": {"type": "array", "items": {"type": "object", "required": ["object", "value", "verdict"], "properties": {)"             \
  R"("object": {"type": "string"},)"                                                                                                    \
  R"("value": {"type": "number"},)"                                                                                                     \
  R"("bytes": {"type": ["number", "null"]},)"                                                                                           \
  R"("verdict": {"type": "string"},)"                                                                                                   \
  R"("found": {"type": "string"},)"                                                                                                     \
  R"("full_in_seconds": {"type": ["number", "null"]}}}})"                                                                               \
  R"(}}})"

}  // namespace lifeboat::app
