// A standby that cannot come back by itself, and how it is made anew from the repository (SH1).
//
// Beyond repair is only what is certain: the WAL that it needs next is neither on its primary, which says so
// itself, nor in the repository; or it has replayed past the place where its primary's history left its
// timeline. A primary that does not answer, or that is on an older timeline than its standby (which of the
// two is right?), proves nothing.
#pragma once

#include <optional>
#include <string>

#include "ops/session.h"
#include "ops/standby/create.h"
#include "util/reporter.h"
#include "util/stop.h"

namespace lifeboat::ops {

enum class StandbyState : uint8_t {
  streaming,      // its WAL receiver streams
  catching_up,    // what it needs can be had, from the primary or from the repository
  beyond_repair,  // certain
  unclear,        // `why` says what could not be found out
};
std::string_view to_string(StandbyState state);

struct StandbyFacts {
  StandbyState state = StandbyState::unclear;
  std::string why;       // for people
  std::string conninfo;  // of its primary
  std::string slot;      // primary_slot_name, may be empty
  Timeline timeline;     // that it replays
  Lsn known;             // on that timeline, by the same record of its control file
  Lsn replayed;
};

struct StandbyQuestion {
  std::string conninfo;  // of the standby
  std::string primary;   // "": primary_conninfo of the standby
  RepoLocation where;
  const StopToken* stop = nullptr;
};

// Asks the standby, its primary, and the repository's listing. Errors: cancelled; the standby does not
// answer.
Result<StandbyFacts> look_at_standby(const StandbyQuestion& question);

struct RecloneRequest {
  RepoLocation location;
  std::string data_directory;  // of the standby, whose server is stopped
  std::string primary;         // as primary_conninfo will have it
  std::string slot;
  std::string program;  // absolute path of lifeboat, for restore_command
  std::string pg_bin;
  std::string spool;
  int jobs = 1;
  int64_t stream_timeout_ms = 300'000;
};

struct RecloneOutcome {
  std::vector<std::string> kept;  // where the old directory is now
  std::string backup;
  std::optional<Streaming> streaming;
  std::vector<std::string> notes;
};

// Preflight, then the server is stopped, the newest backup restored in its place, and the server started and
// watched until it streams. Port and socket directory stay; other settings of files inside the directory are
// the backup's. Errors: those of create_standby(); before the preflight has passed nothing is touched.
Result<RecloneOutcome> reclone_standby(const RecloneRequest& request, Reporter& reporter, StopToken& stop);

}  // namespace lifeboat::ops
