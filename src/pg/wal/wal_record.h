// One WAL record, taken apart as far as every record is alike (src/include/access/xlogrecord.h).
#pragma once

#include <cstdint>
#include <span>

#include "model/lsn.h"
#include "pg/format/version.h"
#include "util/bytes.h"

namespace lifeboat::pg {

// Resource managers, the same numbers in 13 to 18 (src/include/access/rmgrlist.h). 128 and up belong to
// extensions.
enum class Rmgr : uint8_t {
  xlog = 0,
  xact = 1,
  smgr = 2,
  clog = 3,
  dbase = 4,
  tblspc = 5,
  multixact = 6,
  relmap = 7,
  standby = 8,
  heap2 = 9,
  heap = 10,
  btree = 11,
  hash = 12,
  gin = 13,
  gist = 14,
  seq = 15,
  spgist = 16,
  brin = 17,
  commit_ts = 18,
  replorigin = 19,
  generic = 20,
  logicalmsg = 21,
};

// RelFileLocator (RelFileNode before 16).
struct RelationLocator {
  Oid tablespace = 0;
  Oid database = 0;     // 0: shared
  uint32_t number = 0;  // relfilenode
  auto operator<=>(const RelationLocator&) const = default;
};

enum class Fork : uint8_t { main = 0, fsm = 1, vm = 2, init = 3 };

enum class ImageCompression : uint8_t { none, pglz, lz4, zstd };

struct WalBlock {
  uint8_t id = 0;
  Fork fork = Fork::main;
  RelationLocator relation;
  uint32_t block = 0;
  bool will_init = false;  // replay rebuilds the page from nothing
  bool has_image = false;
  bool image_applies = false;  // replay restores the image (else it serves consistency checks only)
  ImageCompression compression = ImageCompression::none;
  uint16_t hole_offset = 0;
  uint16_t hole_length = 0;
  ByteView image;  // as stored: compressed, without its hole
  ByteView data;
};

// Views point into the reader's input or its buffer: valid until the sink returns.
struct WalRecord {
  Lsn lsn;   // where its header begins
  Lsn end;   // just past it, 8-byte aligned as PostgreSQL's EndRecPtr; after an xlog switch the segment's end
  Lsn prev;  // xl_prev
  Timeline timeline;          // of the page on which it begins
  uint32_t total_length = 0;  // xl_tot_len
  uint32_t xid = 0;
  Rmgr rmgr = Rmgr::xlog;
  uint8_t info = 0;           // xl_info; the upper four bits belong to the resource manager
  uint16_t origin = 0;        // replication origin, 0: none
  uint32_t toplevel_xid = 0;  // 14 on, only with wal_level = logical, first record of a subtransaction
  ByteView bytes;             // all of it, its header too, without page headers
  ByteView main_data;
  std::span<const WalBlock> blocks;

  uint8_t operation() const { return info & 0xf0; }
};

inline constexpr size_t kWalRecordHeaderSize = 24;  // SizeOfXLogRecord
inline constexpr size_t kMaxWalBlocks = 33;         // XLR_MAX_BLOCK_ID + 1
inline constexpr uint32_t kMaxWalRecordSize = 1020u
                                              << 20;  // XLogRecordMaxSize, enforced by servers from 16 on

}  // namespace lifeboat::pg
