#include "pg/wal/no_op.h"

#include <algorithm>

#include "codec/codec.h"
#include "util/check.h"

namespace lifeboat::pg {

namespace {

// src/include/catalog/pg_control.h, src/include/access/xlogrecord.h.
constexpr uint8_t kXlogNoOp = 0x20;
constexpr uint8_t kIdDataShort = 255;
constexpr uint8_t kIdDataLong = 254;
constexpr size_t kInfoOffset = 16;
constexpr size_t kRmgrOffset = 17;
constexpr size_t kCrcOffset = 20;
constexpr size_t kMostShort = 255;

}  // namespace

NoOp no_op_in_place_of(ByteView record) {
  CHECK(record.size() >= kMinNoOpSize);
  NoOp made;
  std::copy_n(record.begin(), kWalRecordHeaderSize, made.bytes.begin());
  made.bytes[kInfoOffset] = kXlogNoOp;
  made.bytes[kRmgrOffset] = static_cast<uint8_t>(Rmgr::xlog);
  uint8_t* rest = made.bytes.data() + kWalRecordHeaderSize;
  if (record.size() - kMinNoOpSize <= kMostShort) {
    made.size = kMinNoOpSize;
    rest[0] = kIdDataShort;
    rest[1] = static_cast<uint8_t>(record.size() - made.size);
  } else {
    made.size = made.bytes.size();
    rest[0] = kIdDataLong;
    store_le(rest + 1, static_cast<uint32_t>(record.size() - made.size));
  }
  uint32_t crc = codec::crc32c(0xffffffff, made.view().subspan(kWalRecordHeaderSize));
  crc = codec::crc32c(crc, record.subspan(made.size));
  crc = codec::crc32c(crc, made.view().first(kCrcOffset)) ^ 0xffffffff;
  store_le(made.bytes.data() + kCrcOffset, crc);
  return made;
}

}  // namespace lifeboat::pg
