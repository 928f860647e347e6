// A record that does nothing, of the same length and in the same place as one whose changes nobody wants.
//
// XLOG_NOOP of the resource manager XLOG: replay looks at its header and goes on (xlog_redo in
// src/backend/access/transam/xlog.c, the same in 13 to 18; pg_waldump prints NOOP). Positions of records and
// the link from each to the one before stay what they were, and so does the transaction id, from which replay
// learns which ids are used.
//
// Pure; any thread.
#pragma once

#include <array>
#include <cstdint>

#include "pg/wal/wal_record.h"
#include "util/bytes.h"

namespace lifeboat::pg {

struct NoOp {
  // What takes the place of as many first bytes of the record: its header with a new CRC, and the length of
  // the rest, which becomes main data that nobody reads. Behind it the record's bytes stay.
  std::array<uint8_t, kWalRecordHeaderSize + 5> bytes;
  size_t size = 0;
  ByteView view() const { return ByteView(bytes).first(size); }
};

// `record`: a whole one that was checked, without page headers, of at least kMinNoOpSize bytes (CHECKed);
// every record that names a block is longer.
inline constexpr size_t kMinNoOpSize = kWalRecordHeaderSize + 2;
NoOp no_op_in_place_of(ByteView record);

}  // namespace lifeboat::pg
