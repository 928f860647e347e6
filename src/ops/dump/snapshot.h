// The transaction whose snapshot a database is dumped in, and what is asked in it: which relations patterns
// match, how many rows each table has.
//
// It holds ACCESS SHARE locks on the tables from before pg_dump starts until its end: TRUNCATE is not
// MVCC-safe, so a count that came after one would say 0 of a table that was dumped full.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "pg/client/client.h"
#include "repo/dump_record.h"
#include "util/reporter.h"

namespace lifeboat::ops {

struct SnapshotOptions {
  std::string conninfo;
  std::string database;
  int64_t lock_timeout_ms = 0;  // 0: no limit
  bool in_recovery = false;     // unlogged tables cannot be read then
  const StopToken* stop = nullptr;
};

// Thread rule: one thread at a time.
class DumpSnapshot {
 public:
  // Errors: not_found (database), those of the server.
  static Result<DumpSnapshot> begin(const SnapshotOptions& options);

  // Of the database; `snapshot`, `taken`, oid, name and encoding are filled in.
  const repo::DumpedDatabase& facts() const { return facts_; }
  // Fills in how many relations each pattern matches. Errors: not_found when one matches none.
  Status match(std::vector<repo::DumpPattern>& patterns);
  // How many tables pg_dump dumps the definitions of by these patterns: partitioned and foreign ones too.
  Result<uint64_t> count_definitions(const std::vector<repo::DumpPattern>& patterns);
  // The tables whose rows pg_dump dumps by these patterns, locked. Errors: timeout, permission.
  Result<std::vector<repo::CountedTable>> lock_tables(const std::vector<repo::DumpPattern>& patterns);
  // Counts the rows of each. May take as long as the dump.
  Status count(std::vector<repo::CountedTable>& tables);

 private:
  // What patterns take in and leave out, as array literals of oids; null: everything.
  struct Chosen {
    pg::Param included;
    std::string excluded;
  };
  Result<Chosen> choose(const std::vector<repo::DumpPattern>& patterns);
  DumpSnapshot(pg::PgClient client, SnapshotOptions options)
      : client_(std::move(client)), options_(std::move(options)) {}
  pg::PgClient client_;
  SnapshotOptions options_;
  repo::DumpedDatabase facts_;
};

// "schema"."table"
std::string qualified_name(const repo::CountedTable& table);
// Rows of a table by itself, without those that inherit from it.
Result<int64_t> count_rows(pg::PgClient& client, const repo::CountedTable& table);

}  // namespace lifeboat::ops
