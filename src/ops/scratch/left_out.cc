#include "ops/scratch/left_out.h"

#include <algorithm>
#include <map>
#include <utility>

#include "ops/given_names.h"
#include "ops/wal/backup_catalogue.h"
#include "pg/format/version.h"
#include "pg/wal/wal_events.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr Oid kPgIndex = 2610;
constexpr Oid kPgInherits = 2611;

// The table's name of what SQL calls TABLE or SCHEMA.TABLE, folded to lower case: two tables that differ in
// nothing else are both wanted.
std::string bare_name(std::string_view text) {
  auto given = parse_given_table(text);
  return to_lower(given ? std::string_view(given->table) : text);
}

// pg_index begins with the index and its table, pg_inherits with the child and its parent.
using Pairs = std::multimap<Oid, Oid>;  // by the second

// The backup's catalogues of one database; every version of a row.
struct Catalogues {
  std::vector<pg::ClassRow> relations;
  Pairs indexes;
  Pairs children;
};

Result<Pairs> read_pairs(const BackupCatalogue& backup, const BackupCatalogue::Database& database,
                         const std::vector<pg::ClassRow>& relations, Oid catalogue) {
  Pairs pairs;
  uint32_t file = catalogue;
  for (const pg::ClassRow& row : relations) {
    if (row.oid == catalogue && row.file != 0) file = row.file;
  }
  TRY(backup.read(database.file(file), [&](pg::RowAddress, const pg::PageRow& row) {
    ByteReader in(row.columns);
    const Oid one = in.u32();
    const Oid other = in.u32();
    if (row.made && in.ok()) pairs.emplace(other, one);
  }));
  return pairs;
}

Result<Catalogues> read_catalogues(const BackupCatalogue& backup, const BackupCatalogue::Database& database,
                                   const pg::VersionTraits& version) {
  Catalogues read;
  // Of two files for a catalogue the current row's is the right one: it comes last.
  std::vector<pg::ClassRow> current;
  TRY(backup.read(database.file(database.class_file), [&](pg::RowAddress, const pg::PageRow& row) {
    auto entry = row.made ? pg::read_class_row(row.columns, version) : std::nullopt;
    if (entry) (row.current ? current : read.relations).push_back(std::move(*entry));
  }));
  read.relations.insert(read.relations.end(), current.begin(), current.end());
  TRY_ASSIGN(read.indexes, read_pairs(backup, database, read.relations, kPgIndex));
  TRY_ASSIGN(read.children, read_pairs(backup, database, read.relations, kPgInherits));
  return read;
}

void add_all(std::set<Oid>& wanted, const Pairs& pairs) {
  std::vector<Oid> left(wanted.begin(), wanted.end());
  while (!left.empty()) {
    const Oid one = left.back();
    left.pop_back();
    auto [from, to] = pairs.equal_range(one);
    for (; from != to; ++from) {
      if (wanted.insert(from->second).second) left.push_back(from->second);
    }
  }
}

// With partitions, TOAST and the indexes of them all.
std::set<Oid> wanted_relations(const Catalogues& read, const std::vector<std::string>& tables) {
  std::set<std::string> names;
  for (const std::string& table : tables) names.insert(bare_name(table));
  std::set<Oid> wanted;
  for (const pg::ClassRow& row : read.relations) {
    if (names.contains(to_lower(row.name))) wanted.insert(row.oid);
  }
  add_all(wanted, read.children);
  for (const pg::ClassRow& row : read.relations) {
    if (row.toast != 0 && wanted.contains(row.oid)) wanted.insert(row.toast);
  }
  add_all(wanted, read.indexes);
  return wanted;
}

// Sequences tell a table's next value; of what an extension's access method logs nothing is known.
bool may_be_left_out(const pg::ClassRow& row, const std::set<Oid>& of_known_tables) {
  if (row.oid < pg::kFirstNormalOid || row.file == 0 || row.access_method >= pg::kFirstNormalOid)
    return false;
  if (row.kind == 'i') return of_known_tables.contains(row.oid);
  return row.kind == 'r' || row.kind == 'm' || row.kind == 't';
}

// Of tables that are not catalogues.
std::set<Oid> indexes_of_tables(const Catalogues& read) {
  std::set<Oid> indexes;
  for (const auto& [table, index] : read.indexes) {
    if (table >= pg::kFirstNormalOid) indexes.insert(index);
  }
  return indexes;
}

}  // namespace

size_t LeftOut::Hash::operator()(const pg::RelationLocator& relation) const {
  return std::hash<uint64_t>()((uint64_t{relation.database} << 32 | relation.number) ^
                               uint64_t{relation.tablespace} << 17);
}

Result<std::optional<LeftOut>> LeftOut::choose(const ChosenLineage& lineage, const repo::Manifest& manifest,
                                               const WantedTables& wanted,
                                               const std::vector<std::string>& connected) {
  LeftOut chosen;
  TRY_ASSIGN(chosen.version_, pg::require_version(lineage.record.lineage.major));
  const BackupCatalogue backup(lineage, manifest);
  bool there = false;
  for (const repo::DatabaseInfo& database : manifest.databases) {
    const bool holds_wanted = database.name == wanted.database;
    there = there || holds_wanted;
    if (holds_wanted && wanted.tables.empty()) continue;
    if (!holds_wanted && std::ranges::find(connected, database.name) == connected.end()) {
      chosen.databases_[database.oid];
      continue;
    }
    TRY_ASSIGN(std::optional<BackupCatalogue::Database> files, backup.find(database.oid));
    if (!files) continue;
    TRY_ASSIGN(Catalogues read, read_catalogues(backup, *files, *chosen.version_));
    const std::set<Oid> kept = holds_wanted ? wanted_relations(read, wanted.tables) : std::set<Oid>();
    const std::set<Oid> indexes = indexes_of_tables(read);
    auto locator = [&](const pg::ClassRow& row) {
      return pg::RelationLocator{row.tablespace != 0 ? row.tablespace : files->tablespace, database.oid,
                                 row.file};
    };
    for (const pg::ClassRow& row : read.relations) {
      if (!kept.contains(row.oid) && may_be_left_out(row, indexes)) chosen.files_[locator(row)];
    }
    for (const pg::ClassRow& row : read.relations) {
      // A row that is dead may name a file that a catalogue has by now (VACUUM FULL swaps files).
      if (kept.contains(row.oid) || !may_be_left_out(row, indexes)) chosen.files_.erase(locator(row));
    }
  }
  if (!there) return std::optional<LeftOut>();
  return std::optional(std::move(chosen));
}

LeftOut::File* LeftOut::find(const pg::RelationLocator& relation) {
  if (auto database = databases_.find(relation.database); database != databases_.end())
    return &database->second;
  auto file = files_.find(relation);
  return file == files_.end() ? nullptr : &file->second;
}

bool LeftOut::leaves_out(const pg::WalRecord& record) {
  if (record.blocks.empty()) {
    if (record.rmgr == pg::Rmgr::smgr || record.rmgr == pg::Rmgr::dbase) look_at_what_is_made(record);
    return false;
  }
  File* first = find(record.blocks.front().relation);
  for (const pg::WalBlock& block : record.blocks.subspan(1)) {
    if (block.relation == record.blocks.front().relation ||
        (find(block.relation) != nullptr) == (first != nullptr))
      continue;
    problem_ = cat("the record at ", record.lsn.to_string(), " changes what is wanted and what is not");
    return false;
  }
  if (first == nullptr) return false;
  for (const pg::WalBlock& block : record.blocks) find(block.relation)->used = true;
  ++left_out_;
  return true;
}

// A number that is used again belongs to something else from here on. A copy of files takes along what they
// lack: a database made from another, or moved to another tablespace.
void LeftOut::look_at_what_is_made(const pg::WalRecord& record) {
  const pg::WalEvent event = pg::event_of(record, *version_);
  if (event == pg::WalEvent::relation_create) {
    auto made = pg::read_relation_create(record);
    if (made && made->fork == pg::Fork::main) files_.erase(made->relation);
  } else if (event == pg::WalEvent::database_create) {
    auto made = pg::read_database_create(record, *version_);
    if (!made) return;
    if (made->file_copy && lacks_anything_of(made->source_database))
      problem_ =
          cat("the files of database ", made->source_database, " are copied at ", record.lsn.to_string());
    if (!made->file_copy || made->source_database != made->database) databases_.erase(made->database);
  }
}

bool LeftOut::lacks_anything_of(Oid database) const {
  auto whole = databases_.find(database);
  if (whole != databases_.end()) return whole->second.used;
  return std::ranges::any_of(
      files_, [&](const auto& file) { return file.first.database == database && file.second.used; });
}

Result<bool> LeftOut::lacks(pg::PgClient& client, const std::vector<TableName>& tables) const {
  TRY_ASSIGN(auto database,
             client.value("select oid from pg_catalog.pg_database where datname = current_database()"));
  const Oid here = static_cast<Oid>(parse_u64(database.value_or("")).value_or(0));
  auto whole = databases_.find(here);
  if (whole != databases_.end()) return whole->second.used;
  if (!lacks_anything_of(here)) return false;
  for (const TableName& table : tables) {
    TRY_ASSIGN(
        pg::Rows rows,
        client.query(
            "with recursive t as (select c.oid, c.reltoastrelid from pg_catalog.pg_class c join "
            "pg_catalog.pg_namespace n on n.oid = c.relnamespace where n.nspname = $1 and c.relname = $2), "
            "r as (select oid from t union all select reltoastrelid from t), a as (select oid from r "
            "union all select indexrelid from pg_catalog.pg_index where indrelid in (select oid from r)) "
            "select coalesce(nullif(c.reltablespace, 0), d.dattablespace), "
            "pg_catalog.pg_relation_filenode(c.oid) from pg_catalog.pg_class c, pg_catalog.pg_database d "
            "where c.oid in (select oid from a) and d.datname = current_database() and "
            "pg_catalog.pg_relation_filenode(c.oid) is not null",
            {table.schema, table.table}));
    for (int i = 0; i < rows.size(); ++i) {
      const pg::RelationLocator file{static_cast<Oid>(parse_u64(rows.text(i, 0)).value_or(0)), here,
                                     static_cast<uint32_t>(parse_u64(rows.text(i, 1)).value_or(0))};
      auto known = files_.find(file);
      if (known != files_.end() && known->second.used) return true;
    }
  }
  return false;
}

}  // namespace lifeboat::ops
