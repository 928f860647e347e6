// Logical backups: `lifeboat dump create`, `list`, `show`, `restore`.
//
// A dump is made by PostgreSQL's own pg_dump and pg_dumpall and kept as any backup is (repo/dump_record.h):
// globals always, and each database in one snapshot, in which its rows are counted too. What a restore brings
// back is counted again and compared.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ops/catalogue/proof.h"
#include "ops/dump/latest.h"
#include "ops/session.h"
#include "ops/table/bring.h"
#include "repo/manifest.h"
#include "util/reporter.h"
#include "util/stop.h"

namespace lifeboat::ops {

// --- create
// -----------------------------------------------------------------------------------------------------

enum class RolePasswords : uint8_t { dump, leave_out };

struct DumpOptions {
  RepoLocation location;
  std::string conninfo;
  std::string pg_bin;
  std::vector<std::string> databases;  // none: every one that is no template and allows connections
  repo::DumpFormat format = repo::DumpFormat::custom;
  bool schema_only = false;
  bool portable = false;
  std::vector<std::string> tables;  // pg_dump's patterns
  std::vector<std::string> exclude_tables;
  RolePasswords passwords = RolePasswords::dump;
  std::optional<repo::CompressionOptions> compression;  // none: the repository's
  std::string spool = "/var/tmp";                       // where directory format is written on its way
  int64_t lock_timeout_ms = 0;
  int jobs = 1;
  std::string label;
  std::string tool_version;
};

struct DumpOutcome {
  repo::Card card;
  repo::DumpRecord record;
  std::vector<std::string> warnings;
};

// Errors: not_found (database, a pattern that matches nothing, pg_dump), precondition (not enough
// connections), foreign (server), busy (another dump of the cluster runs), failed (pg_dump, with what it
// said), space, those of the server and the repository. Nothing is published then.
Result<DumpOutcome> create_dump(const DumpOptions& options, Reporter& reporter, StopToken& stop);

// --- list and show
// ----------------------------------------------------------------------------------------------

struct DumpEntry {
  Lineage lineage;
  repo::Card card;
  BackupProofs proofs;
};
struct DumpList {
  std::vector<DumpEntry> dumps;  // by time
  std::vector<Error> problems;   // cards and evidence that could not be read
};
// Errors: not_found (the cluster is not registered).
Result<DumpList> list_dumps(const repo::Repository& repository, const std::string& cluster,
                            bool with_aborted);

// `id` as typed: an id, or "latest", the newest complete one that has what is wished for, or most of it.
// Errors: not_found (the id, any dump, one with these databases).
struct FoundDump {
  repo::LineageRepo repo;  // of dumps
  repo::Card card;
  std::string note;    // of "latest", where that is not simply the newest: which it is, and why
  bool doubt = false;  // as LatestDump
};
void tell_choice(const FoundDump& found, Reporter& reporter);
Result<FoundDump> find_dump(const repo::Repository& repository, const std::string& cluster,
                            const std::string& id, const DumpWish& wish = {});

// With `dump` and its card's in it, else `damaged`.
Result<repo::Manifest> read_dump_manifest(const FoundDump& found);

struct DumpDetails {
  Lineage lineage;
  repo::Manifest manifest;
  BackupProofs proofs;
  std::string location;
  std::string note;  // as FoundDump
  // What pg_restore --list prints, by database; where that was asked for, and not of plain ones.
  std::vector<std::pair<std::string, std::string>> contents;
};
struct ShowDumpOptions {
  std::string id;
  std::string pg_bin;
  bool contents = false;
};
Result<DumpDetails> describe_dump(const repo::Repository& repository, const std::string& cluster,
                                  const ShowDumpOptions& options, const StopToken& stop);

// --- restore
// ----------------------------------------------------------------------------------------------------

enum class DumpGlobals : uint8_t { restore, skip, only };

struct DatabaseChoice {
  std::string name;    // in the dump
  std::string target;  // at the destination; never one that is there
};

struct DumpRestoreOptions {
  RepoLocation location;
  std::string id;
  std::string destination;  // conninfo of the server
  std::string pg_bin;
  std::vector<DatabaseChoice> databases;  // none: all of the dump, under their names
  std::optional<DumpGlobals> globals;     // none: restore, of a portable dump and of tables skip
  bool portable = false;                  // without owners and privileges, whatever the dump says
  std::string spool = "/var/tmp";
  int jobs = 1;
  // The server reaches nobody (a drill's): what would be fetched from elsewhere, into materialized views and
  // statistics of foreign tables, stays away and is noted.
  bool cut_off = false;
};

struct RestoredDatabase {
  std::string name;
  std::string target;
  uint64_t tables = 0;
  int64_t rows = 0;  // counted in it, and equal to what the dump recorded
  double load_seconds = 0;
  double analyze_seconds = 0;
  double count_seconds = 0;
};

struct DumpRestoreOutcome {
  repo::Card card;
  std::string choice;  // FoundDump::note, which the reporter has had
  std::vector<std::string> roles_made;
  std::vector<std::string> roles_there;  // left as they are
  std::vector<RestoredDatabase> databases;
  std::vector<std::string> notes;
  double seconds = 0;
};

// Errors: conflict (a database of that name is there), not_found, usage, failed (pg_restore, at its first
// error), check_failed (counts differ), space (spool). A database that could not be restored whole is dropped
// again; those before it stay.
Result<DumpRestoreOutcome> restore_dump(const DumpRestoreOptions& options, Reporter& reporter,
                                        StopToken& stop);

// Single tables, into a schema of their own beside what is there.
struct DumpTableOptions {
  RepoLocation location;
  std::string id;
  std::string destination;
  std::string pg_bin;
  std::string database;             // of the dump
  std::vector<std::string> tables;  // TABLE or SCHEMA.TABLE, as SQL writes them
  std::string into_database;        // empty: the same name
  std::string schema;               // made there; empty: restored_<time>
  TableMerge merge = TableMerge::none;
  std::string spool = "/var/tmp";
};
struct DumpTableOutcome {
  repo::Card card;
  std::string choice;  // as above
  std::string database;
  std::string schema;
  std::vector<BroughtTable> tables;
  std::vector<CutTie> cut;
  std::vector<std::string> notes;
  double seconds = 0;
};
// By way of a throw-away database on the same server, where only these tables' rows are loaded. They are
// compared with the dump's counts there and, row by row, with what arrives. Never into a table that is there,
// but by a merge that was asked for. Errors: as restore_dump(), and those of restore_tables() (ops/table).
Result<DumpTableOutcome> restore_dump_tables(const DumpTableOptions& options, Reporter& reporter,
                                             StopToken& stop);

// Writes the dump's files below a new directory, for who wants to use pg_restore by hand.
struct ExtractedDump {
  repo::Card card;
  std::string choice;  // as above
  std::vector<std::string> files;
};
Result<ExtractedDump> extract_dump(const RepoLocation& location, const std::string& id,
                                   const std::string& directory, Reporter& reporter, const StopToken& stop);

}  // namespace lifeboat::ops
