// Rows of system catalogues as a backup has them, read from the repository. No server is asked.
//
// The pages are from somewhere between the backup's start and its stop: a row that was replaced meanwhile may
// be there twice, or not at all.
//
// Thread rule: immutable; any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "ops/session.h"
#include "pg/format/catalogue_rows.h"
#include "pg/format/version.h"
#include "pg/wal/heap_changes.h"
#include "repo/manifest.h"
#include "util/result.h"

namespace lifeboat::ops {

class BackupCatalogue {
 public:
  // Borrows both.
  BackupCatalogue(const ChosenLineage& lineage, const repo::Manifest& manifest)
      : lineage_(&lineage), manifest_(&manifest) {}

  struct Database {
    std::string directory;                    // in the backup's tree
    Oid tablespace = 0;                       // its default
    uint32_t class_file = 0;                  // relfilenode of pg_class
    std::string file(uint32_t number) const;  // in the backup's tree
  };
  // nullopt: the backup does not have it.
  Result<std::optional<Database>> find(Oid database) const;
  // In the backup's tree: the file of a catalogue that all databases share.
  Result<std::string> shared_file(Oid relation) const;

  using RowSink = std::function<void(pg::RowAddress, const pg::PageRow&)>;
  // The rows of all segments of a relation's main fork. False: it is not there.
  Result<bool> read(const std::string& file, const RowSink& each) const;

 private:
  Result<std::optional<uint32_t>> mapped(const std::string& directory, Oid relation) const;
  const ChosenLineage* lineage_;
  const repo::Manifest* manifest_;
};

}  // namespace lifeboat::ops
