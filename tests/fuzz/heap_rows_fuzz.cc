// Rows of heap pages and records from hostile bytes. The first byte picks the form:
//   0 mod 3  the rest is a heap page, whose rows are read as those of a catalogue
//   1 mod 3  the rest is what PostgreSQL's compression made: a page or nothing comes out
//   2 mod 3  the rest is a heap record: its main data, and behind that the data of its block
#include <cstdint>

#include "pg/format/catalogue_rows.h"
#include "pg/wal/heap_changes.h"
#include "pg/wal/page_image.h"
#include "util/check.h"

namespace lifeboat::pg {
namespace {

constexpr size_t kPage = 8192;

void read_page(ByteView page) {
  each_page_row(page, [&](const PageRow& row) {
    CHECK(row.columns.size() <= page.size());
    for (const VersionTraits& version : supported_versions()) read_class_row(row.columns, version);
    read_named_row(row.columns);
  });
  mapped_file(page, kPgClass);
}

void read_record(ByteView bytes) {
  if (bytes.size() < 2) return;
  size_t main_size = bytes[1] < bytes.size() - 2 ? bytes[1] : bytes.size() - 2;
  WalBlock block;
  block.data = bytes.subspan(2 + main_size);
  WalRecord record;
  record.rmgr = (bytes[0] & 1) != 0 ? Rmgr::heap2 : Rmgr::heap;
  record.info = bytes[0] & 0xf0;
  record.main_data = bytes.subspan(2, main_size);
  record.blocks = {&block, 1};
  auto change = read_row_change(record);
  CHECK(!change || change->data.size() <= block.data.size());
  rows_changed(record);
}

void run(ByteView input) {
  if (input.empty()) return;
  ByteView bytes = input.subspan(1);
  switch (input[0] % 3) {
    case 0:
      return read_page(bytes);
    case 1: {
      auto page = pglz_decompress(bytes, kPage);
      CHECK(!page || page->size() == kPage);
      return;
    }
    default:
      return read_record(bytes);
  }
}

}  // namespace
}  // namespace lifeboat::pg

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  lifeboat::pg::run({data, size});
  return 0;
}
