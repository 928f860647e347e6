// Change summaries from hostile bytes. The first byte picks the form:
//   even  the rest is a summary: what is accepted is written again and read again as the same value, and
//   holds
//         no more blocks than its segment has room for references
//   odd   the rest is the beginning of a WAL segment: whatever is made of it survives being written and read
#include <cstdint>

#include "pg/wal/segment_summary.h"
#include "pg/wal/summary_builder.h"
#include "util/check.h"

namespace lifeboat::pg {
namespace {

void same_again(const SegmentSummary& summary) {
  auto again = decode_summary(encode_summary(summary));
  CHECK(again.has_value() && *again == summary);
}

void run(ByteView input) {
  if (input.empty()) return;
  ByteView bytes = input.subspan(1);
  if (input[0] % 2 == 0) {
    auto summary = decode_summary(bytes);
    if (!summary) return;
    CHECK(summary->changes.changed_blocks() <= summary->segment_size.bytes / 8);
    same_again(*summary);
    return;
  }
  auto header = read_segment_header(bytes);
  if (!header || header->segment_size.bytes > 1 << 20) return;
  SummaryOptions options;
  options.version = find_version(header->major);
  options.segment = SegmentName::containing(header->timeline, header->start, header->segment_size);
  options.segment_size = header->segment_size;
  options.until = header->start + input[0] * uint64_t{64};
  SummaryBuilder builder(options);
  builder.feed(bytes);
  if (auto summary = builder.finish()) same_again(*summary);
}

}  // namespace
}  // namespace lifeboat::pg

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  lifeboat::pg::run({data, size});
  return 0;
}
