// `lifeboat wal check`: does WAL really arrive? A marker is written into WAL through the server, the segment
// is ended, and the check succeeds when the repository holds that segment and the marker's record and the
// commit of its transaction are found in it, with every record between undamaged.
//
// The marker is a logical message (beacon.h): no table, nothing to clean up.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "model/lsn.h"
#include "model/wal_name.h"
#include "ops/doctor/finding.h"
#include "ops/session.h"
#include "util/reporter.h"
#include "util/result.h"
#include "util/stop.h"

namespace lifeboat::ops {

enum class SegmentSwitch : uint8_t {
  ask,    // pg_switch_wal(): the segment is finished at once
  leave,  // until it fills by itself, or archive_timeout ends it
};

struct WalCheckRequest {
  RepoLocation where;
  std::string conninfo;
  std::optional<std::string> pgdata;  // lets the diagnosis look at files
  std::string config_path;            // likewise
  std::string pg_bin;
  SegmentSwitch segment_switch = SegmentSwitch::ask;
  int64_t timeout_us = 60'000'000;
};

struct WalCheck {
  std::string segment;          // that holds the end of the marker
  Lsn lsn;                      // just past the marker
  bool arrived = false;         // and was read back
  double seconds = 0;           // from the marker's commit to the segment in the repository
  double verified_seconds = 0;  // more, until its record was found there
  std::optional<Error> failure;
  Findings findings;  // what doctor finds wrong; when it failed
};

// An Error before anything was written (usage, foreign, permission, precondition, no server or repository);
// what goes wrong later is `failure`, with its cause from doctor's diagnosis: timeout (it did not arrive),
// conflict (two contents), damaged (not what was written).
Result<WalCheck> check_wal(const WalCheckRequest& request, Reporter& reporter, StopToken& stop);

}  // namespace lifeboat::ops
