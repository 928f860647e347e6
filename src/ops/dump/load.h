// From a dump in the repository to a new database: made, filled, analysed, counted.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "ops/dump/dump.h"
#include "ops/dump/program.h"
#include "ops/dump/spool.h"
#include "ops/dump/sql_text.h"
#include "pg/client/client.h"
#include "pg/server/pg_bin.h"

namespace lifeboat::ops {

// What a dump is read with.
struct DumpReader {
  repo::LineageRepo repo;
  repo::Manifest manifest;
  const repo::DumpRecord& record() const { return *manifest.dump; }
  // not_found, with what there is.
  Result<const repo::DumpedDatabase*> database(const std::string& name) const;
  Result<std::string> text(const std::string& path, const StopToken& stop) const;
  // Writes a file, or a directory's files, of the tree to a new file or directory `to`.
  Status write_out(const std::string& path, const std::string& to, const StopToken& stop) const;
};

// What pg_dump of a newer major wrote need not be understood by an older server: `unsupported`.
Status refuse_older_server(const pg::PgClient& server, const repo::Card& dump);

struct LoadOptions {
  std::string destination;  // conninfo
  std::string target;       // the new database
  pg::PgBin client;
  std::string spool;
  int jobs = 1;
  bool portable = false;    // without owners and privileges
  bool tablespaces = true;  // the server has those that the dump names
  bool cut_off = false;     // as in DumpRestoreOptions
};

// The comment of a database that is being restored: what has it when nobody restores was left half-way by a
// call that was killed.
inline constexpr std::string_view kHalfRestored = "lifeboat dump restore: not whole";

class Loader {
 public:
  Loader(const DumpReader& dump, const repo::DumpedDatabase& database, LoadOptions options,
         const StopToken& stop)
      : dump_(dump), database_(database), options_(std::move(options)), stop_(stop) {}

  // From template0. Errors: conflict, those of the server.
  Status create();
  // Everything in it, stopping at the first error: through a pipe, or from a spool where that is parallel.
  Status load();
  // Definitions of everything, and nothing that acts on its own (event triggers, subscriptions, publications)
  // or needs rows of tables that stay behind (foreign keys, materialized views); then the rows of the tables
  // that `choose` names, once the definitions are there. Plain SQL has no parts: all of it is loaded.
  using ChooseTables = std::function<Result<std::vector<repo::CountedTable>>()>;
  Status load_tables(const ChooseTables& choose);
  // Of load() into a server that is cut off: refreshes that failed because they need another one, with the
  // server's words.
  const std::vector<std::string>& left_out() const { return left_out_; }
  // Settings and privileges of the database itself, which could have hindered the load.
  Status finish();
  Status analyze();
  // check_failed unless every table has the rows that the dump counted.
  Status compare(RestoredDatabase& restored);
  // What was made is taken away again, with the subscriptions that would forbid it.
  Status drop();

 private:
  // `made`: the database is there, whatever failed behind that.
  Status create_or_not(bool& made);
  // Its comment as it is while it is not whole; without it where the role may not.
  void mark();
  std::string destination(const std::string& database) const;
  Result<pg::PgClient> connect(const std::string& database) const;
  Result<std::vector<SqlStatement>> about_itself() const;
  std::vector<std::string> pg_restore() const;
  Status make_schemas();
  Status load_plain();
  Status load_piped();
  Status load_spooled();
  Status load_cut_off();
  // Each is an ordinary failure unless it is one of a connection.
  Status refresh(const std::vector<std::string>& statements);
  Result<std::string> spool_archive(const Spool& spool);
  const DumpReader& dump_;
  const repo::DumpedDatabase& database_;
  const LoadOptions options_;
  const StopToken& stop_;
  bool marked_ = false;
  std::vector<std::string> left_out_;
};

}  // namespace lifeboat::ops
