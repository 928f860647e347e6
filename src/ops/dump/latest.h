// Which dump `latest` is: the newest that has what is asked for.
//
// A dump may be of some databases, of some tables, or of definitions alone. The newest one may therefore lack
// what somebody wants back while an older one has it; and one that failed its last check may not come back at
// all. Where none has all of it, the one that lacks least is taken. Either is said in one line, with the
// dumps that were passed over.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/names.h"
#include "model/timestamp.h"
#include "repo/dump_record.h"

namespace lifeboat::ops {

// What somebody wants of a dump.
struct DumpWish {
  std::vector<std::string> databases = {};  // each whole; none: those that it has
  bool every_database = false;              // all that the server had
  std::vector<std::string> tables = {};     // of databases.front(), which need not be whole then
  bool globals_alone = false;               // which every dump has
  bool sound = false;                       // rather one in which no check found anything wrong
};

// Ascending: how much it is.
enum class DumpLack : uint8_t {
  nothing,
  databases,  // some that the server had
  asked,      // tables that are wanted; or they have no rows of their own, as partitioned ones
  tables,     // some of a database that is wanted whole, or tables that are wanted
  sound,      // its last verification or drill failed
  rows,       // definitions alone
  wanted,     // a database that is wanted
};

struct DumpCandidate {
  BackupId id;
  Timestamp started;
  DumpLack lack = DumpLack::nothing;
  std::string why;  // "schema only", "without database hr"
};
// `record`: of its manifest, needed where tables are wanted.
DumpCandidate judge_dump(const BackupId& id, Timestamp started, const repo::DumpSummary& summary,
                         const DumpWish& wish, const repo::DumpRecord* record = nullptr);

struct LatestDump {
  size_t index = 0;
  std::string note;    // empty: the newest, and it lacks nothing worth a word
  bool doubt = false;  // one failed its last check: it, or a newer one that is passed over
};
// Of one that failed its last check; `why` says what it lacks where that is worse.
void judge_failed(std::string_view problem, DumpCandidate& candidate);
// `candidates`: newest first. nullopt: none has the databases. Pure.
std::optional<LatestDump> choose_latest(const std::vector<DumpCandidate>& candidates);

}  // namespace lifeboat::ops
