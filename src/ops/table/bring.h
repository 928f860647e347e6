// Tables, or a database, from one server into another: what `restore --table` and `dump restore --table`
// share once there is a throw-away database that has what was asked for.
//
//   choose    the tables with their partitions; they move to a schema of the new name there, which takes
//   their
//             indexes, constraints, sequences and comments along. What ties them to tables that were not
//             chosen is cut (ties.h)
//   bring     pg_dump from there, pg_restore into the destination, in one transaction; then every row is
//             compared: number of rows and a sum over every row's text, on both sides
//   merge     on request: rows that the original lacks, by its primary key; before it is committed they are
//             looked for by key and compared
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ops/table/roles.h"
#include "ops/table/ties.h"
#include "pg/client/client.h"
#include "pg/server/pg_bin.h"
#include "util/process.h"
#include "util/reporter.h"
#include "util/stop.h"

namespace lifeboat::ops {

enum class TableMerge : uint8_t { none, missing_rows };

struct BroughtTable {
  std::string original;  // schema.table, quoted as SQL needs it
  std::string brought;
  int64_t rows = 0;
  std::optional<int64_t> merged;  // rows that the original lacked and has now
};

struct BringOptions {
  std::string source;                  // conninfo of the database that has them; it is changed
  std::vector<std::string> tables;     // TABLE or SCHEMA.TABLE, as SQL writes them; none: the whole database
  std::string original;                // the database's name, for messages
  std::string destination;             // conninfo of the server that gets them
  std::string into_database;           // there: the database that has the schema made, or that is made
  std::string schema;                  // of tables, at the destination, made
  pg::PgBin client;                    // programs for both servers
  std::string work_directory;          // for files on the way; whoever gives it removes them
  std::string where;                   // "at the target", "in dump …": for messages
  std::vector<std::string> databases;  // that a table may be in instead
  std::string missing_hint;            // where a table may be
  std::string roles_hint;              // a command that makes roles which the destination lacks; empty: none
};

// A note: these roles are not there, so nothing gets its owner. `hint`: as BringOptions::roles_hint.
std::string without_roles(const std::vector<std::string>& missing, std::string_view hint);
// "restored_<time>", where no schema was named.
std::string default_restore_schema();

// The steps, in this order. Thread rule: one thread. Errors as in ops/table/table.h.
class Bringer {
 public:
  // A table of the source that was chosen.
  struct Chosen {
    std::string schema;
    std::string table;
    std::string kind;  // relkind
    bool holds_rows() const { return kind != "p"; }
  };

  Bringer(BringOptions options, Reporter& reporter, const StopToken& stop)
      : options_(std::move(options)), reporter_(reporter), stop_(stop), whole_(options_.tables.empty()) {}
  Status choose();
  // What it made is taken away again when that fails. Errors: check_failed (rows differ).
  Status bring();
  Status merge();
  const std::vector<Chosen>& chosen() const { return chosen_; }
  const std::vector<BroughtTable>& tables() const { return tables_; }
  const std::vector<CutTie>& cut() const { return cut_; }
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  struct Contents {
    std::string others;  // a file with everything but foreign keys
    std::string keys;    // a file with them
    size_t keys_count = 0;
  };
  Result<pg::PgClient> source(pg::NameLookup names) const;
  Result<pg::PgClient> destination(const std::string& database) const;
  Status take(pg::PgClient& client, const std::string& sql, std::initializer_list<pg::Param> parameters);
  Status not_there(pg::PgClient& client, const std::string& name) const;
  Status move_to_schema();
  Status bring_database();
  Status dump();
  Status load(const RolesConcerned& roles);
  Status compare();
  Result<RolesConcerned> roles_concerned();
  std::vector<std::string> owner_options(const RolesConcerned& roles);
  Result<Contents> list_contents(const std::vector<NeedsRole>& needless);
  std::string place_of(const Chosen& one) const;
  std::string dump_file() const;
  Result<ProcessOutcome> run_program(std::vector<std::string> argv) const;
  Status run_checked(std::vector<std::string> argv) const;

  const BringOptions options_;
  Reporter& reporter_;
  const StopToken& stop_;
  const bool whole_;
  std::vector<Chosen> chosen_;
  std::vector<BroughtTable> tables_;
  std::vector<CutTie> cut_;
  std::vector<std::string> notes_;
};

}  // namespace lifeboat::ops
