// pg_control from hostile bytes, as they are and with the CRC made right for the shape of 13 to 17 and of 18.
#include <cstdint>

#include "codec/codec.h"
#include "model/wal_name.h"
#include "pg/format/control_file.h"
#include "pg/format/page.h"
#include "util/check.h"

namespace lifeboat::pg {
namespace {

void check(ByteView bytes) {
  for (const VersionTraits& version : supported_versions()) {
    auto control = parse_control_file(bytes, version.major);
    if (control) CHECK(control->major == version.major && valid_page_size(control->block_size));
  }
  auto control = parse_control_file(bytes);
  if (!control) {
    CHECK(!control.error().message.empty());
    return;
  }
  CHECK(SegmentSize::valid(control->wal_segment_size));
  CHECK(!to_string(control->state).empty() && !to_string(control->wal_level).empty());
}

}  // namespace
}  // namespace lifeboat::pg

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lifeboat;
  pg::check({data, size});
  Bytes bytes(data, data + size);
  if (bytes.size() < pg::kControlFileMinimum) return 0;
  for (size_t offset : {size_t{288}, size_t{292}}) {
    store_le(bytes.data() + offset, codec::crc32c(0xffffffff, ByteView(bytes).first(offset)) ^ 0xffffffff);
    pg::check(bytes);
  }
  return 0;
}
