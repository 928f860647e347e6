// What one backup consists of: the manifest (everything a restore needs beside the packs) and the card (what
// `list` shows, a few kB, and the commit point: docs/format.md "Commit").
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/lsn.h"
#include "model/names.h"
#include "model/wal_name.h"
#include "repo/dump_record.h"
#include "repo/tree.h"

namespace lifeboat::repo {

enum class BackupState : uint8_t {
  complete,
  damaged,  // kept, but pages stayed broken
  aborted,  // never became a backup; the card says why
};
std::string_view to_string(BackupState state);

// A PostgreSQL setting as the server reported it.
struct Setting {
  std::string name;
  std::string value;
};

struct TablespaceInfo {
  Oid oid = 0;
  std::string name;
  std::string location;  // absolute path, or "pg_tblspc/<oid>" when in place
  bool in_place = false;
  uint64_t bytes = 0;
};

struct DatabaseInfo {
  Oid oid = 0;
  std::string name;
  uint64_t bytes = 0;  // pg_database_size
  uint64_t relations = 0;
  int64_t estimated_rows = 0;  // sum of reltuples; never a scan
};

// reltuples of the larger tables at backup time: what a drill compares its exact counts with.
struct TableEstimate {
  std::string database;
  std::string schema;
  std::string table;
  int64_t reltuples = -1;  // -1: never analysed
  int64_t relpages = 0;
  int64_t inserted = 0;  // pg_stat_all_tables counters
  int64_t updated = 0;
  int64_t deleted = 0;
};

// A configuration file from outside the data directory (T10); its content is in the tree below "config/".
struct ExternalFile {
  std::string path;     // on the source host
  std::string entry;    // name below "config/"
  std::string setting;  // config_file, hba_file, ident_file, or empty for an included file
};

struct BrokenPage {
  std::string path;  // in the tree
  uint64_t block = 0;
  std::string problem;
};

// What a backup did in one directory of relation files, or with one relation.
struct ChangeCount {
  std::string
      path;  // in the tree, a relation without its segment number: "pgdata/base/5", "pgdata/base/5/16384"
  std::string name;  // the database, or database.schema.relation; empty: not known
  uint64_t files = 0;
  uint64_t plain_bytes = 0;
  uint64_t read_bytes = 0;
  uint64_t new_bytes = 0;  // plain, that no earlier backup had, or that were carried forward
};

struct BackupTotals {
  uint64_t files = 0;
  uint64_t directories = 0;
  uint64_t plain_bytes = 0;   // of everything the backup restores
  uint64_t read_bytes = 0;    // that this run read
  uint64_t stored_bytes = 0;  // that this run added to the repository
  uint64_t pages_checked = 0;
  double seconds = 0;  // from command to commit
};

// The catalogue record (I4). Everything in a card stands in the manifest too.
struct Card {
  BackupId id;
  BackupState state = BackupState::complete;
  BackupType type = BackupType::full;
  std::string reason;                 // of an aborted or damaged one; why everything was read
  std::optional<BackupId> reference;  // the backup that an incremental one took over from
  std::vector<BackupId> continued;    // attempts whose blocks it took over, newest first
  std::string label;
  Timestamp started;  // backup start on the source server
  Timestamp stopped;
  Lsn start_lsn;
  Lsn stop_lsn;
  Timeline timeline;
  int server_version_num = 0;
  bool from_standby = false;
  bool data_checksums = false;
  bool encrypted = false;
  uint32_t key_id = 0;
  std::string compression;
  std::string host;  // where the backup ran
  std::string tool_version;
  uint64_t databases = 0;
  uint64_t tables = 0;
  int64_t estimated_rows = 0;
  uint64_t broken_pages = 0;
  BackupTotals totals;
  std::optional<DumpSummary> dump;  // it is one, below LineageRepo::dumps()
};

struct Manifest {
  Card card;
  uint64_t lease_sequence = 0;  // the lease it was made under
  // Directory with "pgdata" and "config". Every tablespace is the directory pgdata/pg_tblspc/<oid>, also
  // those that are symbolic links on the server; `tablespaces` says which.
  NodeRef root;
  std::optional<NodeRef> usage;  // repo/pack_usage.h
  uint32_t block_size = 8192;
  SegmentSize segment_size;
  uint32_t catalog_version = 0;
  Timeline start_timeline;
  std::string backup_label;  // byte for byte from the stop call (T02)
  std::string tablespace_map;
  std::string data_directory;  // on the source host
  std::string owner;           // of the data directory, by name
  std::string group;
  std::vector<TablespaceInfo> tablespaces;
  std::vector<DatabaseInfo> databases;
  std::vector<TableEstimate> tables;
  std::vector<ExternalFile> external_files;
  std::vector<Setting> settings;  // those that recovery and drills need (T32), and where they live
  std::vector<std::string> extensions;
  std::vector<BrokenPage> broken_pages;          // the first 1,000
  std::vector<ChangeCount> changed_directories;  // of relations, with their databases; by path
  std::vector<ChangeCount> changed_relations;    // those of which most is new, at most kMostChanged
  std::optional<DumpRecord> dump;
};
inline constexpr size_t kMostChanged = 50;

std::string encode_card(const Card& card);
Result<Card> decode_card(std::string_view object, ByteView plain);
std::string encode_manifest(const Manifest& manifest);
Result<Manifest> decode_manifest(std::string_view object, ByteView plain);

// Objects: "manifests/<id>", then "cards/<id>". Writing a card is the commit; `conflict` when somebody
// declared the attempt dead first.
Status write_manifest(const LineageRepo& repo, const Manifest& manifest);
Status write_card(const LineageRepo& repo, const Card& card);
Result<Manifest> read_manifest(const LineageRepo& repo, const BackupId& id);
Result<Card> read_card(const LineageRepo& repo, const BackupId& id);

// All cards of a lineage in order of time, aborted ones included; those whose backup is tombstoned too. One
// card is a few kB and is read whole.
Result<std::vector<Card>> read_cards(const LineageRepo& repo);

}  // namespace lifeboat::repo
