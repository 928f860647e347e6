// The primary of a cluster, connected to and recognised: what writes into its WAL begins here (mark, wal
// check, beacons).
#pragma once

#include <memory>
#include <string>

#include "ops/session.h"
#include "pg/client/client.h"
#include "pg/client/facts.h"
#include "util/result.h"
#include "util/stop.h"

namespace lifeboat::ops {

struct WalWriter {
  std::unique_ptr<repo::Repository> repository;
  ChosenLineage lineage;
  pg::PgClient client;
  pg::ServerFacts facts;  // with archive_mode, archive_command and archive_library
};

// Errors: foreign (not this cluster's server), precondition (a standby: it cannot write), those of the
// repository and of PgClient.
Result<WalWriter> open_writer(const RepoLocation& where, const std::string& conninfo, const StopToken& stop);

}  // namespace lifeboat::ops
