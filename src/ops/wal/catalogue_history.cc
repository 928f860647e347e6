#include "ops/wal/catalogue_history.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "pg/wal/page_image.h"
#include "pg/wal/wal_events.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

// Schemas that every database has.
constexpr std::pair<Oid, const char*> kBuiltInSchemas[] = {
    {11, "pg_catalog"}, {99, "pg_toast"}, {2200, "public"}};

bool same_place(const pg::ClassRow& a, const pg::ClassRow& b) {
  return a.oid == b.oid && a.name == b.name && a.schema == b.schema && a.file == b.file && a.kind == b.kind;
}

// The newest version before `at` that was not rolled back.
template <typename V>
const V* version_at(const std::vector<V>& versions, Lsn at, const std::set<uint32_t>& aborted) {
  for (auto version = versions.rbegin(); version != versions.rend(); ++version) {
    if (version->lsn < at && !aborted.contains(version->xid)) return &*version;
  }
  return nullptr;
}

}  // namespace

// --- reading the backup

Result<CatalogueHistory> CatalogueHistory::open(const ChosenLineage& lineage,
                                                const repo::Manifest* manifest) {
  TRY_ASSIGN(const pg::VersionTraits* version, pg::require_version(lineage.record.lineage.major));
  CatalogueHistory history(lineage, manifest, *version);
  if (manifest == nullptr) return history;
  for (const repo::DatabaseInfo& database : manifest->databases)
    history.database_names_[database.oid] = database.name;
  TRY(history.load_shared());
  return history;
}

Status CatalogueHistory::load_shared() {
  TRY_ASSIGN(std::string file, backup_->shared_file(pg::kPgDatabase));
  database_file_ = static_cast<uint32_t>(parse_u64(base_name(file)).value_or(pg::kPgDatabase));
  TRY(backup_->read(file, [&](pg::RowAddress address, const pg::PageRow& row) {
    database_rows_.put(address, Bytes(row.columns.begin(), row.columns.end()));
  }));
  return {};
}

Status CatalogueHistory::follow(Oid database) {
  if (databases_.contains(database)) return {};
  Database& followed = databases_[database];
  if (!backup_) return {};
  TRY_ASSIGN(std::optional<BackupCatalogue::Database> files, backup_->find(database));
  return files ? load(followed, *files) : Status();
}

Status CatalogueHistory::load(Database& database, const BackupCatalogue::Database& files) {
  database.class_file = files.class_file;
  // Old versions of rows first: the current one has the last word.
  std::vector<pg::ClassRow> current;
  TRY(backup_->read(files.file(database.class_file), [&](pg::RowAddress address, const pg::PageRow& row) {
    database.classes.put(address, Bytes(row.columns.begin(), row.columns.end()));
    auto entry = row.made ? pg::read_class_row(row.columns, *version_) : std::nullopt;
    if (!entry) return;
    if (row.current) {
      current.push_back(std::move(*entry));
    } else {
      learn(database, {}, 0, *entry);
    }
  }));
  for (const pg::ClassRow& entry : current) {
    learn(database, {}, 0, entry);
    if (entry.oid == pg::kPgNamespace && entry.file != 0) database.schema_file = entry.file;
  }
  TRY(backup_->read(files.file(database.schema_file), [&](pg::RowAddress address, const pg::PageRow& row) {
    database.schemas.put(address, Bytes(row.columns.begin(), row.columns.end()));
    auto entry = row.made ? pg::read_named_row(row.columns) : std::nullopt;
    if (entry) database.schema_names[entry->oid].push_back({{}, 0, entry->name});
  }));
  return {};
}

void CatalogueHistory::learn(Database& database, Lsn lsn, uint32_t xid, const pg::ClassRow& row) {
  if (row.file == 0) return;
  std::vector<Version>& versions = database.files[row.file];
  if (!versions.empty() && same_place(versions.back().row, row)) return;
  versions.push_back({lsn, xid, row});
}

// --- following WAL

Bytes* CatalogueHistory::Table::find(pg::RowAddress address) {
  auto found = rows_.find(key(address));
  return found == rows_.end() ? nullptr : &found->second;
}

bool CatalogueHistory::concerns(const pg::RelationLocator& relation) const {
  if (relation.database == 0) return relation.number == database_file_;
  auto database = databases_.find(relation.database);
  if (database == databases_.end()) return false;
  return relation.number == database->second.class_file || relation.number == database->second.schema_file;
}

CatalogueHistory::Table* CatalogueHistory::table_of(const pg::RelationLocator& relation) {
  if (relation.database == 0) return relation.number == database_file_ ? &database_rows_ : nullptr;
  auto database = databases_.find(relation.database);
  if (database == databases_.end()) return nullptr;
  if (relation.number == database->second.class_file) return &database->second.classes;
  return relation.number == database->second.schema_file ? &database->second.schemas : nullptr;
}

void CatalogueHistory::record(const pg::WalRecord& record) {
  if (record.rmgr == pg::Rmgr::xact && pg::event_of(record, *version_) == pg::WalEvent::abort) {
    auto end = pg::read_transaction_end(record, *version_);
    if (!end) return;
    aborted_.insert(end->xid);
    aborted_.insert(end->subxids.begin(), end->subxids.end());
    return;
  }
  if (record.rmgr == pg::Rmgr::relmap) return map_changed(record);
  if (record.blocks.empty()) return;
  auto change = pg::read_row_change(record);
  if (change && concerns(change->relation)) {
    if (change->relation.database == 0) return database_changed(record, *change);
    Database& database = databases_.at(change->relation.database);
    if (change->relation.number == database.class_file) return class_changed(database, record, *change);
    return schema_changed(database, record, *change);
  }
  for (const pg::WalBlock& block : record.blocks) {
    Table* table = block.fork == pg::Fork::main && block.has_image ? table_of(block.relation) : nullptr;
    if (table != nullptr) take_image(*table, block);
  }
}

// xl_relmap_update: dbid, tsid, nbytes, the new map.
void CatalogueHistory::map_changed(const pg::WalRecord& record) {
  ByteReader in(record.main_data);
  auto database = databases_.find(in.u32());
  in.bytes(8);
  if (!in.ok() || database == databases_.end()) return;
  auto file = pg::mapped_file(in.bytes(in.remaining()), pg::kPgClass);
  if (!file || *file == database->second.class_file) return;
  notes_.push_back(cat(
      "pg_class of database ", database_name(database->first), " was rewritten at ", record.lsn.to_string(),
      " (VACUUM FULL): what was dropped or truncated after that is not told apart, and tables made "
      "after it have no name; a new backup ends that"));
}

void CatalogueHistory::take_image(Table& table, const pg::WalBlock& block) {
  if (!block.image_applies) return;
  auto page = pg::restore_page_image(block, lineage_->record.block_size);
  if (!page) return;
  pg::each_page_row(*page, [&](const pg::PageRow& row) {
    table.put({block.block, row.offset}, Bytes(row.columns.begin(), row.columns.end()));
  });
}

CatalogueHistory::Change CatalogueHistory::apply(Table& table, const pg::WalRecord& record,
                                                 const pg::RowChange& change) {
  Change applied;
  bool has_old = change.kind == pg::RowChangeKind::remove || change.kind == pg::RowChangeKind::update;
  // A page image shows the state after the record, and the old row is still in it.
  for (const pg::WalBlock& block : record.blocks) {
    if (block.fork == pg::Fork::main && block.has_image && block.relation == change.relation)
      take_image(table, block);
  }
  if (const Bytes* old = has_old ? table.find(change.old_row) : nullptr) applied.before = *old;
  if (change.kind == pg::RowChangeKind::remove) return applied;
  if (change.imaged) {
    if (const Bytes* made = table.find(change.new_row)) applied.after = *made;
    return applied;
  }
  Bytes columns;
  if (change.prefix != 0 || change.suffix != 0) {
    // Of an old row that is not known the new one cannot be put together.
    if (!applied.before || applied.before->size() < std::max(change.prefix, change.suffix)) return applied;
    columns.assign(applied.before->begin(), applied.before->begin() + change.prefix);
  }
  columns.insert(columns.end(), change.data.begin(), change.data.end());
  if (change.suffix != 0)
    columns.insert(columns.end(), applied.before->end() - change.suffix, applied.before->end());
  table.put(change.new_row, columns);
  applied.after = std::move(columns);
  return applied;
}

void CatalogueHistory::class_changed(Database& database, const pg::WalRecord& record,
                                     const pg::RowChange& change) {
  Change applied = apply(database.classes, record, change);
  RelationChange noted;
  noted.lsn = record.lsn;
  noted.database = change.relation.database;
  if (applied.before) noted.before = pg::read_class_row(*applied.before, *version_);
  if (applied.after) noted.after = pg::read_class_row(*applied.after, *version_);
  if (noted.after && change.kind != pg::RowChangeKind::in_place) {
    learn(database, record.lsn, record.xid, *noted.after);
  }
  if (change.kind == pg::RowChangeKind::in_place || !watched_.contains(record.xid)) return;
  noted.made = change.kind == pg::RowChangeKind::insert;
  noted.removed = change.kind == pg::RowChangeKind::remove;
  changes_[record.xid].push_back(std::move(noted));
}

void CatalogueHistory::schema_changed(Database& database, const pg::WalRecord& record,
                                      const pg::RowChange& change) {
  Change applied = apply(database.schemas, record, change);
  auto after = applied.after ? pg::read_named_row(*applied.after) : std::nullopt;
  if (after) database.schema_names[after->oid].push_back({record.lsn, record.xid, after->name});
  if (change.kind != pg::RowChangeKind::remove || !watched_.contains(record.xid)) return;
  auto before = applied.before ? pg::read_named_row(*applied.before) : std::nullopt;
  if (before) dropped_schemas_[record.xid].push_back(before->name);
}

void CatalogueHistory::database_changed(const pg::WalRecord& record, const pg::RowChange& change) {
  Change applied = apply(database_rows_, record, change);
  auto after = applied.after ? pg::read_named_row(*applied.after) : std::nullopt;
  if (after) database_names_[after->oid] = after->name;
}

// --- answers

std::vector<RelationChange> CatalogueHistory::changes(uint32_t xid) const {
  auto found = changes_.find(xid);
  return found == changes_.end() ? std::vector<RelationChange>() : found->second;
}

std::vector<std::string> CatalogueHistory::dropped_schemas(uint32_t xid) const {
  auto found = dropped_schemas_.find(xid);
  return found == dropped_schemas_.end() ? std::vector<std::string>() : found->second;
}

std::optional<pg::ClassRow> CatalogueHistory::find_file(Oid database, uint32_t file, Lsn at) const {
  auto followed = databases_.find(database);
  if (followed == databases_.end()) return std::nullopt;
  auto versions = followed->second.files.find(file);
  if (versions == followed->second.files.end()) return std::nullopt;
  const Version* version = version_at(versions->second, at, aborted_);
  return version == nullptr ? std::nullopt : std::optional(version->row);
}

std::string CatalogueHistory::schema_name(Oid database, Oid schema, Lsn at) const {
  auto followed = databases_.find(database);
  if (followed != databases_.end()) {
    auto names = followed->second.schema_names.find(schema);
    const NameVersion* name =
        names == followed->second.schema_names.end() ? nullptr : version_at(names->second, at, aborted_);
    if (name != nullptr) return name->name;
  }
  for (auto [oid, name] : kBuiltInSchemas) {
    if (oid == schema) return name;
  }
  return "";
}

std::string CatalogueHistory::database_name(Oid database) const {
  auto name = database_names_.find(database);
  return name == database_names_.end() ? "" : name->second;
}

}  // namespace lifeboat::ops
