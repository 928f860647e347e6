#include "ops/wal/backup_catalogue.h"

#include <utility>
#include <vector>

#include "ops/restore/tree_writer.h"
#include "repo/tree.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr uint64_t kMapLimit = 64 << 10;
constexpr uint64_t kRelationSegmentLimit = 1ull << 30;
// src/include/catalog/pg_tablespace.dat
constexpr Oid kDefaultTablespace = 1663;
constexpr const char* kGlobal = "pgdata/global";

}  // namespace

std::string BackupCatalogue::Database::file(uint32_t number) const {
  return cat(directory, "/", number);
}

Result<std::optional<BackupCatalogue::Database>> BackupCatalogue::find(Oid database) const {
  std::vector<std::pair<std::string, Oid>> places = {{cat("pgdata/base/", database), kDefaultTablespace}};
  for (const repo::TablespaceInfo& tablespace : manifest_->tablespaces) {
    places.emplace_back(cat("pgdata/pg_tblspc/", tablespace.oid, "/PG_", lineage_->record.lineage.major, "_",
                            manifest_->catalog_version, "/", database),
                        tablespace.oid);
  }
  for (auto& [directory, tablespace] : places) {
    auto file = mapped(directory, pg::kPgClass);
    if (!file && file.error().kind == ErrorKind::not_found) continue;
    TRY(file);
    return std::optional(Database{std::move(directory), tablespace, file->value_or(pg::kPgClass)});
  }
  return std::optional<Database>();
}

Result<std::string> BackupCatalogue::shared_file(Oid relation) const {
  auto file = mapped(kGlobal, relation);
  if (!file && file.error().kind == ErrorKind::not_found) return cat(kGlobal, "/", relation);
  TRY(file);
  return cat(kGlobal, "/", file->value_or(relation));
}

Result<std::optional<uint32_t>> BackupCatalogue::mapped(const std::string& directory, Oid relation) const {
  repo::TreeReader tree(lineage_->repo);
  TRY_ASSIGN(repo::Entry map, tree.find(manifest_->root, cat(directory, "/pg_filenode.map")));
  TRY_ASSIGN(Bytes content, read_tree_file(lineage_->repo, map, manifest_->block_size, kMapLimit));
  return pg::mapped_file(content, relation);
}

Result<bool> BackupCatalogue::read(const std::string& file, const RowSink& each) const {
  repo::TreeReader tree(lineage_->repo);
  const uint32_t page_size = manifest_->block_size;
  uint32_t block = 0;
  for (int segment = 0;; ++segment) {
    auto entry = tree.find(manifest_->root, segment == 0 ? file : cat(file, ".", segment));
    if (!entry && entry.error().kind == ErrorKind::not_found) return segment > 0;
    TRY(entry);
    TRY_ASSIGN(Bytes content, read_tree_file(lineage_->repo, *entry, page_size, kRelationSegmentLimit));
    for (size_t at = 0; at + page_size <= content.size(); at += page_size, ++block) {
      pg::each_page_row(ByteView(content).subspan(at, page_size),
                        [&](const pg::PageRow& row) { each({block, row.offset}, row); });
    }
  }
}

}  // namespace lifeboat::ops
