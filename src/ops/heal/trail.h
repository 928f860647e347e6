// The audit trail of healing: who did what, when, because of what, and what came of it (SH1).
//
// The journal is a file of the state directory, one line of JSON for each event, only ever appended to and
// synced before anything is done: so an action that was cut off counts as an attempt, and cool-downs hold
// while the repository is what is broken. When an action has ended its record goes into the repository as
// evidence of kind "heal", at once or, where the repository does not take it, by the next run that reaches
// it; expiry leaves evidence alone.
//
// Thread rule: one thread. Of several processes one has the journal open to act.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/timestamp.h"
#include "repo/repository.h"
#include "util/files.h"
#include "util/result.h"

namespace lifeboat::ops {

enum class HealOutcome : uint8_t {
  begun,  // and not ended: it runs, or was cut off
  done,
  failed,  // `says` has the error
};
std::string_view to_string(HealOutcome outcome);

struct HealRecord {
  std::string id;                  // "20261120T105625Z-4f2a9c"
  std::string action;              // "archiver"
  std::string object;              // what was acted on
  std::string finding;             // "archiver_stuck"
  std::string saw;                 // what was found, for people
  std::vector<std::string> cites;  // signals and facts that it came from
  Timestamp began;
  Timestamp ended;  // unknown while it has not
  HealOutcome outcome = HealOutcome::begun;
  std::vector<std::string> did;  // what was done, in order
  std::string says;              // what came of it
  std::string user;
  std::string host;
  int64_t pid = 0;
  std::string tool_version;
  bool filed = false;  // it is in the repository
};

nlohmann::ordered_json to_json(const HealRecord& record);
std::optional<HealRecord> parse_heal_record(const std::string& text);

class HealJournal {
 public:
  static std::string path_in(const std::string& state_directory, const std::string& cluster);
  // To read: every record, oldest first; empty when there is no journal. A torn last line is passed over.
  static Result<std::vector<HealRecord>> read(const std::string& path);
  // To act: made when it is not there. `busy` while another process has it; errors of a directory that may
  // not be written: without a journal nothing is done.
  static Result<HealJournal> open(const std::string& path);

  const std::vector<HealRecord>& records() const { return records_; }
  Status begin(const HealRecord& record);  // durable when it returns
  Status end(const HealRecord& record);
  // Files what has ended and is not filed yet; how many. What the repository does not take stays for the next
  // time.
  Result<uint64_t> file_in(const repo::LineageRepo& repo);

 private:
  HealJournal(Fd fd, std::string path, std::vector<HealRecord> records)
      : fd_(std::move(fd)), path_(std::move(path)), records_(std::move(records)) {}
  Status append(const nlohmann::ordered_json& line);

  Fd fd_;  // locked
  std::string path_;
  std::vector<HealRecord> records_;
};

// One that has no journal: it is kept in the repository alone.
Status file_record(const repo::LineageRepo& repo, const HealRecord& record);
// Those of the repository, oldest first.
Result<std::vector<HealRecord>> read_filed(const repo::LineageRepo& repo);
// Both, each once, by time.
std::vector<HealRecord> merge_trails(std::vector<HealRecord> journal, std::vector<HealRecord> filed);

}  // namespace lifeboat::ops
