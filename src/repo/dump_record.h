// What a logical backup is beside its bytes: a part of its card, and the rest in its manifest.
//
// A dump is a backup in the repository's sense: a card as commit point, a manifest, a tree in packs, under a
// lease, with proofs and retention, in a place of its own (LineageRepo::dumps()). Its tree holds globals.sql
// and for each database a directory named by its oid (docs/format.md "Dumps").
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/lsn.h"
#include "model/timestamp.h"

namespace lifeboat::repo {

enum class DumpFormat : uint8_t {  // pg_dump's --format
  custom,
  directory,
  plain,
};
std::string_view to_string(DumpFormat format);
std::optional<DumpFormat> parse_dump_format(std::string_view text);

// What `dump list` shows.
struct DumpSummary {
  DumpFormat format = DumpFormat::custom;
  std::vector<std::string> databases;
  bool schema_only = false;
  bool portable = false;       // to be restored without owners and privileges
  bool chosen_tables = false;  // by pattern; not the whole database
  // Every database that could be connected to is in it, but perhaps postgres. Unset: made before this was
  // recorded, as `defined` was.
  std::optional<bool> every_database;
  std::optional<uint64_t> defined;  // tables whose definitions are in it
};

// Of all rows of every database; false where that was not recorded.
bool is_whole(const DumpSummary& summary);

// What it is a dump of, for people and for retention, which keeps some of each: "shop", "hr, its schema
// only".
std::vector<std::string> kinds_of(const DumpSummary& summary);

// A table, and what select count(*) said of it in the snapshot that was dumped.
struct CountedTable {
  std::string schema;
  std::string table;
  int64_t rows = 0;
};

// A pattern as it was given, and how many relations it matched.
struct DumpPattern {
  std::string option;  // "table" or "exclude-table"
  std::string pattern;
  uint64_t matched = 0;
};

struct DumpedDatabase {
  Oid oid = 0;
  std::string name;
  std::string encoding;
  std::string snapshot;  // as pg_export_snapshot() named it
  Timestamp taken;       // start of the snapshot's transaction, by the server's clock
  uint64_t bytes = 0;    // plain, of its files in the tree
  uint64_t files = 0;
  double seconds = 0;
  std::vector<CountedTable> tables;  // whose rows are in the dump; empty of a schema-only one
  std::optional<uint64_t> defined;   // as in the summary
};

struct DumpRecord {
  std::string client;  // "pg_dump (PostgreSQL) 15.13 (Debian …)"
  int client_major = 0;
  int jobs = 1;
  bool role_passwords = false;  // globals.sql has them
  std::vector<DumpPattern> patterns;
  std::vector<DumpedDatabase> databases;
};

// To and from JSON; the readers throw json::exception, which manifest.cc turns into `damaged`.
nlohmann::ordered_json dump_summary_json(const DumpSummary& summary);
DumpSummary dump_summary_from(const nlohmann::json& from);
nlohmann::ordered_json dump_record_json(const DumpRecord& record);
DumpRecord dump_record_from(const nlohmann::json& from);

}  // namespace lifeboat::repo
