#include "ops/scratch/named_database.h"

#include <algorithm>

#include "ops/given_names.h"
#include "ops/wal/backup_catalogue.h"
#include "ops/wal/scan.h"
#include "pg/format/catalogue_rows.h"
#include "pg/wal/heap_changes.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr std::string_view kWhere = "at the target";

// Templates are nobody's to bring back or to ask.
std::vector<std::string> databases_of(const repo::Manifest& manifest) {
  std::vector<std::string> names;
  for (const repo::DatabaseInfo& database : manifest.databases) {
    if (database.name != "template0" && database.name != "template1") names.push_back(database.name);
  }
  return names;
}

bool is_listed(const repo::Manifest& manifest, const std::string& name) {
  return std::ranges::any_of(manifest.databases,
                             [&](const repo::DatabaseInfo& database) { return database.name == name; });
}

// Its list was made a little before the pages were read.
Result<bool> is_in_pages(const BackupCatalogue& backup, const std::string& file, const std::string& name) {
  bool found = false;
  TRY_ASSIGN(bool there, backup.read(file, [&](pg::RowAddress, const pg::PageRow& row) {
    auto entry = pg::read_named_row(row.columns);
    found = found || !entry || entry->name == name;
  }));
  return found || !there;
}

// A row of pg_database was written: a database was made, renamed, or given something else. What VACUUM
// writes in place changes no name.
bool may_name_database(const pg::WalRecord& record, uint32_t file) {
  if (record.rmgr == pg::Rmgr::relmap) {
    ByteReader in(record.main_data);
    return in.u32() == 0;  // of the shared catalogues: pg_database may have another file from here on
  }
  const bool concerned = std::ranges::any_of(record.blocks, [&](const pg::WalBlock& block) {
    return block.relation.database == 0 && block.relation.number == file;
  });
  if (!concerned) return false;
  const pg::RowCounts rows = pg::rows_changed(record);
  return rows.inserted + rows.updated != 0;
}

// That no row of pg_database was written from the backup's start to the target.
Result<bool> is_unchanged(const RestoreSource& source, const RestorePlan& plan, uint32_t file,
                          Reporter& reporter, StopToken& stop) {
  ScanOptions options;
  options.reporter = &reporter;
  options.stop = &stop;
  options.from_is_record = true;
  auto visit = [&](const pg::WalRecord& record) {
    return may_name_database(record, file) ? ScanNext::stop : ScanNext::more;
  };
  auto scanned =
      scan_wal(*source.lineage, plan.reach.path, plan.replay_from, plan.reach.stop, visit, options);
  if (!scanned && scanned.error().kind == ErrorKind::cancelled) return std::move(scanned).error();
  // Recovery has the last word on WAL that cannot be read.
  return scanned && !scanned->stopped && !scanned->damage && scanned->end_of_records >= plan.reach.stop;
}

Result<bool> is_certainly_absent(const RestoreSource& source, const repo::Manifest& manifest,
                                 const RestorePlan& plan, const std::string& name, Reporter& reporter,
                                 StopToken& stop) {
  if (manifest.databases.empty()) return false;
  const BackupCatalogue backup(*source.lineage, manifest);
  TRY_ASSIGN(std::string path, backup.shared_file(pg::kPgDatabase));
  TRY_ASSIGN(bool in_pages, is_in_pages(backup, path, name));
  auto file = parse_u64(base_name(path));
  if (in_pages || !file) return false;
  return is_unchanged(source, plan, static_cast<uint32_t>(*file), reporter, stop);
}

}  // namespace

Result<DatabaseRecord> look_for_database(const RestoreSource& source, const RestorePlan& plan,
                                         const std::string& name, Reporter& reporter, StopToken& stop) {
  auto manifest_read = repo::read_manifest(source.repo(), plan.backup.id);
  // Recovery reads it again, and its word is kept.
  if (!manifest_read) return DatabaseRecord::unknown;
  const repo::Manifest& manifest = *manifest_read;
  if (is_listed(manifest, name)) return DatabaseRecord::in_backup;
  reporter.progress(cat("looking for database ", name), 0, 0, ProgressUnit::items);
  // A file that is lost, or a store that does not answer, says nothing of names: recovery meets it too.
  auto absent = is_certainly_absent(source, manifest, plan, name, reporter, stop);
  if (!absent && absent.error().kind == ErrorKind::cancelled) return std::move(absent).error();
  if (absent && *absent) return no_such_database(name, kWhere, databases_of(manifest));
  reporter.note(NoteLevel::info,
                cat("backup ", plan.backup.id.text, " has no database \"", name,
                    "\" (it has: ", join(databases_of(manifest), ", "),
                    "); it is looked for after recovery, because it may have been made or renamed since"));
  return DatabaseRecord::unknown;
}

Status require_database(pg::PgServer& server, const std::string& name, std::string_view hint) {
  TRY_ASSIGN(pg::PgClient client, server.connect());
  TRY_ASSIGN(pg::Rows rows, client.query("select from pg_catalog.pg_database where datname = $1", {name}));
  if (!rows.empty()) return {};
  TRY_ASSIGN(std::vector<std::string> known, list_databases(client));
  return no_such_database(name, kWhere, std::move(known), hint);
}

}  // namespace lifeboat::ops
