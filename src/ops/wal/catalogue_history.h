// Which relation is in which file, and what transactions did to relations, as of any moment of a history:
// from the catalogues as a backup has them and what WAL since then did to them. No server is asked.
//
// pg_class, pg_namespace and pg_database are followed row by row from records of the heap and from page
// images. This is not replay: pages are not rebuilt, rows are remembered by where they are, and what vacuum
// removes stays remembered until something else takes its place. The backup's pages are from somewhere
// between its start and its stop, so its start is where WAL has to be fed from.
//
// Only segments in which rows of these catalogues changed need to be fed (concerns()): statistics that VACUUM
// and ANALYZE write in place change no name. Where the file of a mapped catalogue was rewritten since the
// backup (VACUUM FULL of pg_class itself), later changes are not seen, and names stay unknown.
//
// Thread rule: one thread at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "model/lsn.h"
#include "ops/session.h"
#include "ops/wal/backup_catalogue.h"
#include "pg/format/catalogue_rows.h"
#include "pg/format/version.h"
#include "pg/wal/heap_changes.h"
#include "pg/wal/wal_record.h"
#include "repo/manifest.h"
#include "util/result.h"

namespace lifeboat::ops {

// What a transaction did to the entry of one relation.
struct RelationChange {
  Lsn lsn;
  Oid database = 0;
  std::optional<pg::ClassRow> before;  // absent: it made the relation, or what was there is not known
  std::optional<pg::ClassRow> after;   // absent: it removed it, or what it wrote is not known
  bool made = false;                   // by an insert
  bool removed = false;
};

class CatalogueHistory {
 public:
  // `manifest` may be null: then only what WAL says is known. Borrows `lineage` and `manifest`.
  static Result<CatalogueHistory> open(const ChosenLineage& lineage, const repo::Manifest* manifest);

  // Reads a database's catalogues from the backup; one that it does not have begins empty. Once for each,
  // before records are fed. Errors: those of the repository; damaged.
  Status follow(Oid database);
  // Do changes of rows of this relation matter?
  bool concerns(const pg::RelationLocator& relation) const;
  // What these transactions do is kept: their own ids and those of their subtransactions.
  void watch(uint32_t xid) { watched_.insert(xid); }

  // In the order of WAL, from the backup's start on. Segments in which nothing matters may be left out.
  void record(const pg::WalRecord& record);

  // --- once everything is fed
  std::vector<RelationChange> changes(uint32_t xid) const;
  std::vector<std::string> dropped_schemas(uint32_t xid) const;
  // The relation that was in a file of that database, before `at`.
  std::optional<pg::ClassRow> find_file(Oid database, uint32_t file, Lsn at) const;
  // "": not known.
  std::string schema_name(Oid database, Oid schema, Lsn at) const;
  std::string database_name(Oid database) const;
  // What could not be followed, for people.
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  // Rows of one catalogue by where they are.
  class Table {
   public:
    Bytes* find(pg::RowAddress address);
    void put(pg::RowAddress address, Bytes columns) { rows_[key(address)] = std::move(columns); }

   private:
    static uint64_t key(pg::RowAddress address) { return uint64_t{address.block} << 16 | address.offset; }
    std::unordered_map<uint64_t, Bytes> rows_;
  };
  struct Version {  // of what is in a file
    Lsn lsn;        // 0: the backup
    uint32_t xid = 0;
    pg::ClassRow row;
  };
  struct NameVersion {
    Lsn lsn;
    uint32_t xid = 0;
    std::string name;
  };
  struct Database {
    uint32_t class_file = pg::kPgClass;
    uint32_t schema_file = pg::kPgNamespace;
    Table classes;
    Table schemas;
    std::map<uint32_t, std::vector<Version>> files;
    std::map<Oid, std::vector<NameVersion>> schema_names;
  };

  CatalogueHistory(const ChosenLineage& lineage, const repo::Manifest* manifest,
                   const pg::VersionTraits& version)
      : lineage_(&lineage), version_(&version) {
    if (manifest != nullptr) backup_.emplace(lineage, *manifest);
  }

  Status load(Database& database, const BackupCatalogue::Database& files);
  Status load_shared();
  void learn(Database& database, Lsn lsn, uint32_t xid, const pg::ClassRow& row);

  void class_changed(Database& database, const pg::WalRecord& record, const pg::RowChange& change);
  void schema_changed(Database& database, const pg::WalRecord& record, const pg::RowChange& change);
  void database_changed(const pg::WalRecord& record, const pg::RowChange& change);
  void map_changed(const pg::WalRecord& record);
  void take_image(Table& table, const pg::WalBlock& block);
  // The old row's columns before the change, and the new one's; the table is brought up to date.
  struct Change {
    std::optional<Bytes> before;
    std::optional<Bytes> after;
  };
  Change apply(Table& table, const pg::WalRecord& record, const pg::RowChange& change);
  Table* table_of(const pg::RelationLocator& relation);

  const ChosenLineage* lineage_;
  std::optional<BackupCatalogue> backup_;
  const pg::VersionTraits* version_;
  std::map<Oid, Database> databases_;
  uint32_t database_file_ = pg::kPgDatabase;
  Table database_rows_;
  std::map<Oid, std::string> database_names_;
  std::set<uint32_t> watched_;
  std::set<uint32_t> aborted_;
  std::vector<std::string> notes_;
  std::map<uint32_t, std::vector<RelationChange>> changes_;
  std::map<uint32_t, std::vector<std::string>> dropped_schemas_;
};

}  // namespace lifeboat::ops
