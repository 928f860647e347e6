// What heap records did to single rows: where the row is, and the bytes of a new one.
//
// A logged row is the header that replay needs and its data, of which an update leaves out what the old
// version on the same page begins or ends with; where the record has an image of the page, it has no row
// (src/backend/access/heap/heapam.c, log_heap_insert, log_heap_update; the same in 13 to 18). Rows of COPY
// (multi-insert) are left out: whoever looks at catalogues meets none.
//
// Views point into the record. Pure; any thread.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>

#include "pg/wal/segment_summary.h"
#include "pg/wal/wal_record.h"
#include "util/bytes.h"

namespace lifeboat::pg {

struct RowAddress {
  uint32_t block = 0;
  uint16_t offset = 0;  // line pointer, from 1
  auto operator<=>(const RowAddress&) const = default;
};

enum class RowChangeKind : uint8_t {
  insert,
  remove,
  update,
  in_place,  // overwritten outside of transactions
};

struct RowChange {
  RowChangeKind kind = RowChangeKind::insert;
  RelationLocator relation;
  RowAddress old_row;   // of remove and update
  RowAddress new_row;   // of insert, update and in_place
  bool imaged = false;  // the new row is in the image of its page, and `data` is empty
  // The row's columns, from t_hoff on, without what they share with the old row.
  ByteView data;
  uint16_t prefix = 0;  // bytes of the old row's columns before `data`
  uint16_t suffix = 0;  // and behind it
};

// nullopt: the record changes no single row, or contradicts itself.
std::optional<RowChange> read_row_change(const WalRecord& record);

// How many rows the record changed, those of COPY too.
RowCounts rows_changed(const WalRecord& record);

}  // namespace lifeboat::pg
