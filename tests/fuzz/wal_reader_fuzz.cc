// WAL from hostile bytes. The first byte picks the version, the second the form:
//   even  the rest is fed as it is (what the CRC lets through is little, but headers and continuations are
//   reached) odd   the rest is cut into record bodies that are wrapped in right headers and CRCs, so that the
//   parsers behind
//         the CRC are reached
// Whatever comes: records lie in what was fed, ascend, and do not depend on how the input was cut into
// chunks.
#include <algorithm>
#include <cstdint>
#include <tuple>
#include <utility>
#include <vector>

#include "pg/wal/wal_events.h"
#include "pg/wal/wal_reader.h"
#include "tests/support/wal_builder.h"
#include "util/check.h"

namespace lifeboat::pg {
namespace {

constexpr uint32_t kSegment = 1 << 20;
constexpr uint32_t kBlock = 1024;
constexpr Lsn kStart{5 * uint64_t{kSegment}};

class Watcher : public WalSink {
 public:
  Watcher(const VersionTraits& version, uint64_t limit) : version_(version), limit_(limit) {}

  void record(const WalRecord& r) override {
    CHECK(r.lsn > last_ && r.end > r.lsn && r.lsn.value < limit_ + 8);
    CHECK(r.main_data.size() <= r.total_length && r.blocks.size() <= kMaxWalBlocks);
    size_t used = r.main_data.size();
    for (const WalBlock& b : r.blocks) used += b.image.size() + b.data.size();
    CHECK(used <= r.total_length);
    last_ = r.lsn;
    seen.emplace_back(r.lsn.value, r.total_length, 0);
    // The first records are enough to reach every event, and the rest of a long input stays fast.
    if (seen.size() <= 64) read_event(r);
  }
  void damage(const WalDamage& d) override {
    CHECK(!d.text.empty());
    // The text of a cut-off record names where input ended, which is the same for any chunks.
    seen.emplace_back(d.lsn.value, 0, 1 + static_cast<int>(d.kind));
  }

  std::vector<std::tuple<uint64_t, uint32_t, int>> seen;
  uint64_t events = 0;  // compared too, so that the event readers are not optimised away

 private:
  void read_event(const WalRecord& r) {
    uint64_t sum = static_cast<uint64_t>(event_of(r, version_));
    auto count = [&sum](const auto& result) { sum += result ? 1 : 0; };
    // Each reader gets each record: they must hold against payloads that are not theirs.
    if (auto end = read_transaction_end(r, version_)) {
      CHECK(end->subxids.size() * 4 + end->dropped.size() * 12 <= r.main_data.size());
      CHECK(end->gid.size() <= r.main_data.size());
    }
    if (auto message = read_logical_message(r)) {
      CHECK(message->prefix.size() + message->content.size() <= r.main_data.size());
    }
    count(read_prepare(r, version_));
    count(read_checkpoint(r));
    count(read_restore_point(r));
    count(read_parameter_change(r));
    count(read_end_of_recovery(r, version_));
    count(read_backup_end(r));
    count(read_overwrite_contrecord(r));
    count(read_relation_create(r));
    count(read_relation_truncate(r));
    count(read_database_create(r, version_));
    count(read_database_drop(r));
    events += sum;
  }

  const VersionTraits& version_;
  uint64_t limit_;
  Lsn last_;
};

Bytes wrap(const VersionTraits& version, ByteView input) {
  testing::WalBuilder wal(version.major, kStart, kSegment, kBlock);
  ByteReader in(input);
  while (in.remaining() >= 4) {
    uint8_t rmgr = in.u8();
    uint8_t info = in.u8();
    size_t length = std::min<size_t>(in.u16(), in.remaining());
    ByteView body = in.bytes(length);
    // A switch would end the segment and make the input very long.
    if (rmgr == 0 && (info & 0xf0) == 0x40) continue;
    wal.add({.rmgr = rmgr, .info = info, .xid = 700, .body = Bytes(body.begin(), body.end())});
  }
  return wal.bytes();
}

auto read(const VersionTraits& version, AfterDamage after_damage, ByteView bytes, size_t chunk) {
  Watcher watcher(version, kStart.value + bytes.size());
  WalReaderOptions options;
  options.version = &version;
  options.segment_size = {kSegment};
  options.block_size = kBlock;
  options.after_damage = after_damage;
  WalReader reader(options, watcher);
  Lsn at = kStart;
  while (!bytes.empty()) {
    size_t take = std::min(chunk, bytes.size());
    reader.feed(at, bytes.first(take));
    at = at + take;
    bytes = bytes.subspan(take);
  }
  reader.finish();
  return std::pair(watcher.seen, watcher.events);
}

void run(ByteView input) {
  if (input.size() < 2) return;
  const VersionTraits& version = supported_versions()[input[0] % supported_versions().size()];
  bool wrapped = input[1] % 2 == 1;
  AfterDamage after_damage = input[1] & 2 ? AfterDamage::stop : AfterDamage::resync;
  size_t chunk = 1 + size_t{input[1]} * 8;
  Bytes made;
  ByteView bytes = input.subspan(2);
  if (wrapped) {
    made = wrap(version, bytes);
    bytes = made;
  }
  auto whole = read(version, after_damage, bytes, SIZE_MAX);
  auto cut = read(version, after_damage, bytes, chunk);
  CHECK(whole == cut);
  if (wrapped) return;
  if (auto end = valid_end(bytes)) {
    auto header = read_segment_header(bytes);
    CHECK(header && end->end >= header->start && end->end <= header->start + header->segment_size.bytes);
  }
}

}  // namespace
}  // namespace lifeboat::pg

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  lifeboat::pg::run({data, size});
  return 0;
}
