// The schema of a database as pg_dump sees it, in a snapshot that somebody holds.
#pragma once

#include <string>
#include <vector>

#include "ops/diff/schema_text.h"
#include "pg/client/client.h"
#include "pg/server/pg_bin.h"
#include "util/stop.h"

namespace lifeboat::ops {

struct SchemaDumpOptions {
  pg::PgBin client;      // not older than the server; the same for scripts that are to be compared
  std::string conninfo;  // of the database
  // The whole database, with its own settings, comment and privileges; or these tables with what belongs to
  // them, quoted, with their schema. With no table at all nothing is asked.
  bool whole = true;
  std::vector<std::string> tables;
  bool subscriptions = true;  // only superusers may dump them
};
// `client` holds the snapshot. What pg_dump warns of goes to `notes`. Errors: those of the server and of
// pg_dump (it takes a lock on each table for a moment, and waits a while for those that somebody holds),
// unsupported (more objects than are held, more tables than a command line takes), cancelled.
Result<SchemaText::Objects> dump_schema(pg::PgClient& client, const SchemaDumpOptions& options,
                                        std::vector<std::string>& notes, const StopToken& stop);

}  // namespace lifeboat::ops
