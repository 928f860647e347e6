// What signals were, from one small file of the state directory: for trends and for the time until a disk is
// full. Never for verdicts about the present: those come from what was read now.
//
// Samples of the last two hours are five minutes apart at least, older ones an hour, and what is older than
// eight days is dropped: at most some hundred samples of each value, however often it is read.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ready/signals/signal.h"
#include "util/result.h"

namespace lifeboat::ready {

struct Sample {
  Timestamp time;
  double value = 0;
};

class SignalHistory {
 public:
  // Adds what was read, and thins. Signals that have no value leave their samples as they are.
  void add(const SignalReport& report);
  // Fills in trends of readings and parts from the samples and what was read now. A file system that will be
  // full within a day is at least a warning.
  void apply(SignalReport& report) const;
  const std::vector<Sample>* samples(const std::string& key) const;
  // When something that watches last read them: the daemon, alert check or metrics; unset: nothing ever did.
  Timestamp watched;

  std::string encode() const;
  static Result<SignalHistory> decode(std::string_view object, std::string_view text);

 private:
  std::map<std::string, std::vector<Sample>> samples_;  // "storage_used", "storage_used:/srv"; ascending
};

// The change per day of a straight line through the samples (least squares); unset for fewer than three, or
// when they cover less than ten minutes.
Trend trend_of(const std::vector<Sample>& samples);

// "<directory>/signals-<cluster>.json"
std::string history_path(const std::string& directory, const std::string& cluster);
// An empty one when there is none, or when it cannot be understood.
SignalHistory read_history(const std::string& path);

}  // namespace lifeboat::ready
