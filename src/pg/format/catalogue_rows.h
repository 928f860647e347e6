// Rows of the system catalogues that say which relation is in which file, from bytes.
//
// Only the columns at the beginning of a row are read: they are of fixed size and never null
// (src/include/catalog/pg_class.h, pg_namespace.h, pg_database.h).
//
// Pure; any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "model/lsn.h"
#include "pg/format/version.h"
#include "util/bytes.h"

namespace lifeboat::pg {

// The same in all majors (BKI oids).
inline constexpr Oid kPgClass = 1259;
inline constexpr Oid kPgNamespace = 2615;
inline constexpr Oid kPgDatabase = 1262;
inline constexpr Oid kFirstNormalOid = 16384;  // FirstNormalObjectId

// A row as a heap page holds it.
struct PageRow {
  uint16_t offset = 0;  // line pointer, from 1
  ByteView columns;     // from t_hoff on
  bool made = true;     // false: by a transaction that is known to have been rolled back
  bool current = true;  // false: somebody deleted or replaced it, or is about to
};
// Calls `each` for the rows of a heap page, in order of line pointers. Safe on any bytes: what contradicts
// itself is left out.
void each_page_row(ByteView page, const std::function<void(const PageRow&)>& each);

struct ClassRow {
  Oid oid = 0;
  std::string name;
  Oid schema = 0;
  uint32_t file = 0;   // relfilenode; 0: mapped, or none
  Oid tablespace = 0;  // 0: the database's
  double rows = -1;    // reltuples; -1: never analysed
  Oid toast = 0;       // reltoastrelid
  char persistence = 'p';
  char kind = 'r';
  Oid access_method = 0;  // relam; 0: none
  bool operator==(const ClassRow&) const = default;
};
// nullopt: too short to be one.
std::optional<ClassRow> read_class_row(ByteView columns, const VersionTraits& version);

// Of pg_namespace and pg_database: the oid and the name, which are the first two columns.
struct NamedRow {
  Oid oid = 0;
  std::string name;
};
std::optional<NamedRow> read_named_row(ByteView columns);

// The file of a mapped relation (pg_filenode.map: RelMapFile of src/backend/utils/cache/relmapper.c);
// nullopt: it is not in the map.
std::optional<uint32_t> mapped_file(ByteView map, Oid relation);

}  // namespace lifeboat::pg
