// What the server's catalogues say about its contents, recorded in the manifest: never a scan of a table.
#pragma once

#include <string>
#include <vector>

#include "pg/client/client.h"
#include "pg/client/facts.h"
#include "repo/manifest.h"

namespace lifeboat::ops {

// Settings that recovery, drills and clones need to know of the source (T32, T44), and where files were.
const std::vector<std::string>& recorded_settings();

struct CatalogRecord {
  std::string bootstrap_role;  // the superuser that initdb made: how a drill connects to its copy
  std::vector<repo::DatabaseInfo> databases;
  std::vector<repo::TableEstimate> tables;  // the largest of each database, at most kMostTables
  std::vector<std::string> extensions;      // "database: name version", without plpgsql
  uint64_t table_count = 0;
  int64_t estimated_rows = 0;
  std::vector<std::string> warnings;  // databases that could not be asked
};
inline constexpr int kMostTables = 10'000;

// Name under which the bootstrap role stands among a manifest's settings; no setting of PostgreSQL's has a
// dot there.
inline constexpr std::string_view kBootstrapRoleSetting = "lifeboat.bootstrap_role";

// Connects to each database in turn; `client` is connected to any of them.
Result<CatalogRecord> read_catalog(pg::PgClient& client, const std::string& conninfo,
                                   const pg::ServerFacts& facts, const StopToken& stop);

}  // namespace lifeboat::ops
